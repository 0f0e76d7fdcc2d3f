"""A worker that was stopped for long and goes on: meanwhile others had reason to think it dead."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from experiments.rundir import claims
from experiments.rundir.layout import WEIGHTS
from experiments.rundir.outcome import Outcome
from experiments.train import trainer
from experiments.train.cohort import Member
from experiments.train.distributed import ProcessGroup
from experiments.train.learner import Learner
from experiments.train.predictions import Collector, Rows
from experiments.worker import worker
from experiments.worker.job import Job
from results import records
from tests.experiments import tiny

FORK = multiprocessing.get_context("fork")
SPEC = tiny.spec("vanilla")
STEP = 8  # of 18; the claim of an epoch's end has been checked by then


def stop_here(folder: Path) -> None:
    """In the child: train, and stop as by SIGSTOP in the middle of an epoch."""
    torch.set_num_threads(1)
    take_step = Learner.take_step

    def stopping(self: Learner, *arguments: object) -> None:
        take_step(self, *arguments)  # type: ignore[arg-type]
        if self.steps_taken == STEP:
            os.kill(os.getpid(), signal.SIGSTOP)

    Learner.take_step = stopping  # type: ignore[method-assign]
    sys.stdout = (folder / "log").open("w")
    code = worker.work(folder / "job.json", as_json=False)
    sys.stdout.close()
    os._exit(code)


@pytest.fixture
def zombie(tmp_path: Path):
    """A worker that holds its run's claim, which is stale, and is stopped."""
    if torch.cuda.is_available():
        pytest.skip("a process that has seen a GPU cannot be forked")
    Job((SPEC,), tmp_path / "runs", tmp_path, {}, None, ()).write(tmp_path / "job.json")
    process = FORK.Process(target=stop_here, args=(tmp_path,))
    process.start()
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    past = time.time() - claims.STALE_SECONDS - 60
    os.utime(claims.newest(SPEC.directory(tmp_path / "runs")), (past, past))
    yield process.pid
    if process.exitcode is None:
        process.kill()


def go_on(pid: int) -> int:
    """Wake it; its exit code."""
    os.kill(pid, signal.SIGCONT)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def finish(runs: Path) -> None:
    assert trainer.train(tiny.cohort(runs, ("vanilla",))) == {SPEC.id: Outcome.DONE}


def taken_over(runs: Path) -> None:
    assert claims.take(SPEC.directory(runs)) is not None


def begun_anew(runs: Path) -> None:
    """Finished, its result deleted, and begun again: the claims' numbers begin at 1, too."""
    finish(runs)
    (SPEC.directory(runs) / records.RESULT).unlink()
    claim = claims.take(SPEC.directory(runs))
    assert claim is not None and claim.number == 1


def set_aside(runs: Path) -> None:
    """Its directory renamed, as by --redo-stale, and another begun there."""
    directory = SPEC.directory(runs)
    directory.rename(directory.with_name(f"{directory.name}.stale-1"))
    directory.mkdir()
    claim = claims.take(directory)
    assert claim is not None and claim.number == 1


def removed(runs: Path) -> None:
    """All of it deleted by somebody."""
    for path in SPEC.directory(runs).iterdir():
        path.unlink()


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("meanwhile", [finish, taken_over, begun_anew, set_aside, removed])
def test_it_saves_nothing_publishes_nothing_and_says_why(
    zombie: int, tmp_path: Path, meanwhile: Callable[[Path], None]
):
    runs = tmp_path / "runs"
    meanwhile(runs)
    before = contents(SPEC.directory(runs))
    assert go_on(zombie) == 0
    assert contents(SPEC.directory(runs)) == before
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last == f"{SPEC}: held: another process took over {SPEC.directory(runs)}"


def test_it_goes_on_where_nobody_took_over(zombie: int, tmp_path: Path):
    assert go_on(zombie) == 0
    whole = tmp_path / "whole"
    finish(whole)
    tiny.assert_same_weights(*(tiny.weights(r, "vanilla") for r in (tmp_path / "runs", whole)))


# ---- between the last step and the result --------------------------------------------------------


def during_the_last_test(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    gathered = Collector.gathered

    def acting(self: Collector, group: ProcessGroup) -> Rows:
        monkeypatch.setattr(Collector, "gathered", gathered)
        action()
        return gathered(self, group)

    monkeypatch.setattr(Collector, "gathered", acting)


def test_a_claim_lost_during_the_last_test_publishes_nothing(tmp_path: Path, monkeypatch):
    directory = SPEC.directory(tmp_path)

    def take_over() -> None:
        past = time.time() - claims.STALE_SECONDS - 60
        os.utime(claims.newest(directory), (past, past))
        assert claims.take(directory) is not None

    during_the_last_test(monkeypatch, take_over)
    assert trainer.train(tiny.cohort(tmp_path, ("vanilla",))) == {SPEC.id: Outcome.HELD}
    left = {path.name for path in directory.iterdir()}
    assert not left & {records.RESULT, WEIGHTS, records.PREDICTIONS}


def test_weights_of_a_result_that_is_there_are_not_replaced(tmp_path: Path, monkeypatch):
    """Another process published after the claim was looked at for the last time."""
    finish(tmp_path / "other")
    source, directory = (SPEC.directory(tmp_path / name) for name in ("other", "runs"))
    published: dict[str, bytes] = {}

    def publish_first() -> None:
        shutil.copytree(source, directory, dirs_exist_ok=True)
        (directory / WEIGHTS).write_bytes(b"as another device computes them")
        published.update(contents(directory))

    monkeypatch.setattr(Member, "check_claim", lambda self: None)
    during_the_last_test(monkeypatch, publish_first)
    assert trainer.train(tiny.cohort(tmp_path / "runs", ("vanilla",))) == {SPEC.id: Outcome.DONE}
    assert (directory / WEIGHTS).read_bytes() == published[WEIGHTS]
    assert (directory / records.RESULT).read_bytes() == published[records.RESULT]
