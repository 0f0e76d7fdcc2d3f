"""A run that makes progress keeps its claim, whatever it is doing; one that hangs does not."""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datasets import waiting
from experiments.rundir import claims
from experiments.rundir.outcome import Outcome
from experiments.train import checkpoint, networks, result, trainer
from experiments.train.waits import Waits
from tests.experiments import tiny

WORK = 20.0  # seconds that each piece of work takes
METHODS = ("vanilla", "kd", "at", "dkd")
RECIPE = tiny.RECIPE.model_copy(update={"epochs": 1})


class Watch:
    """A clock that only work moves, and when each claim showed a sign of life by it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.signs: dict[Path, list[float]] = {}
        self.until: dict[Path, float] = {}  # the last look at each, before a write
        fake = {name: getattr(time, name) for name in ("time", "localtime", "strftime")}
        patch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: self.now, **fake))
        names = {name: getattr(os, name) for name in dir(os) if not name.startswith("__")}
        patch.setattr(claims, "os", SimpleNamespace(**{**names, "utime": self._touched}))
        self.patch = patch

    def _touched(self, path: Path, *_: Any, **__: Any) -> None:
        self.signs[path].append(self.now)

    def slow(self, place: object, name: str, seconds: float = WORK) -> None:
        """Let something take so long."""
        action = getattr(place, name)

        @functools.wraps(action)
        def slowly(*arguments: Any, **named: Any) -> Any:
            self.now += seconds
            return action(*arguments, **named)

        self.patch.setattr(place, name, slowly)

    @property
    def longest(self) -> float:
        """Seconds without a sign of life of any claim while it was held."""
        seen = ([*signs, self.until[path]] for path, signs in self.signs.items())
        return max(b - a for signs in seen for a, b in itertools.pairwise(signs))


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch(monkeypatch)
    take, held = claims.take, claims.Claim.is_held

    def taken(directory: Path) -> claims.Claim | None:
        claim = take(directory)
        assert claim is not None
        watch.signs[claim.path] = [watch.now]
        return claim

    def looked_at(claim: claims.Claim) -> bool:
        """The end of what is measured: the last look, before a save."""
        if held(claim):
            watch.until[claim.path] = watch.now
        return held(claim)

    monkeypatch.setattr(claims, "take", taken)
    monkeypatch.setattr(claims.Claim, "is_held", looked_at)
    return watch


def cohort(runs: Path, methods: tuple[str, ...] = METHODS) -> Any:
    made = tiny.cohort(runs, methods, RECIPE)
    made.data.test_batches = functools.partial(made.data.test_batches, batch_size=8)
    return made


SLOW: dict[str, tuple[object, str]] = {
    "networks are built": (networks, "student"),
    "methods are built": (networks, "method"),
    "steps, compiling": (trainer.Learner, "take_step"),
    "the teacher": (trainer, "teacher_outputs"),
    "batches of a test": (networks, "_scores"),
    "saves": (checkpoint, "_write"),
    "starts are logged": (checkpoint, "resume"),
    "weights are written": (result, "save_weights"),
    "predictions are written": (result, "_write_predictions"),
    "the record is made": (result, "record"),
}


@pytest.mark.parametrize("what", ["networks are built", "steps, compiling", "batches of a test"])
def test_no_claim_is_older_than_two_beats_while(watch: Watch, tmp_path: Path, what: str):
    watch.slow(*SLOW[what])
    assert set(trainer.train(cohort(tmp_path)).values()) == {Outcome.DONE}
    assert watch.longest <= 2 * claims.BEAT_SECONDS


def test_all_of_it_together(watch: Watch, tmp_path: Path):
    """Two pieces of work without a sign between them would be seen."""
    for place, name in SLOW.values():
        watch.slow(place, name, WORK / 2)
    assert set(trainer.train(cohort(tmp_path)).values()) == {Outcome.DONE}
    assert watch.longest <= 2 * claims.BEAT_SECONDS


def test_members_that_wait_for_the_slowest_beat_too(watch: Watch, tmp_path: Path):
    ahead = cohort(tmp_path, ("kd",))
    ahead.stop = tiny.stop_after(1)
    trainer.train(ahead)
    watch.signs.clear()
    watch.slow(trainer.Learner, "take_step")
    assert set(trainer.train(cohort(tmp_path, ("kd", "at"))).values()) == {Outcome.DONE}
    assert watch.longest <= 2 * claims.BEAT_SECONDS


def test_a_test_that_a_killed_run_repeats_beats(watch: Watch, tmp_path: Path):
    killed = cohort(tmp_path, ("kd",))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer.Cohort, "finish", _killed)
        trainer.train(killed)
    claims.remove_all(killed.specs[0].directory(tmp_path))
    watch.signs.clear()
    watch.slow(networks, "_scores")
    assert set(trainer.train(cohort(tmp_path, ("kd",))).values()) == {Outcome.DONE}
    assert watch.longest <= 2 * claims.BEAT_SECONDS


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


# ---- what hangs ----------------------------------------------------------------------------------


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[float]]:
    """Wait for a decoder under a clock of its own; when the wait ended, and its beats."""

    def run(progress: Callable[[float], object]) -> list[float]:
        now, beats = [0.0], []
        monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: now[0]))
        waits = Waits(lambda: False, trainer.Cohort.group, lambda: beats.append(now[0]))
        asked = waiting.Patience(lambda: progress(now[0]), waits)
        while now[0] < 4 * waiting.BLOCKED_SECONDS:
            now[0] += 30.0
            asked.ask()
        return beats

    return run  # type: ignore[return-value]


def test_a_decoder_that_hangs_ends_the_run_and_its_beats(patience):
    with pytest.raises(waiting.Blocked):
        patience(lambda now: 0)
    with pytest.raises(waiting.Blocked):
        patience(lambda now: min(now, 300.0))


def test_slow_input_that_goes_on_beats_on(patience):
    beats = patience(lambda now: now // 300)  # a file in five minutes
    assert beats[-1] >= 4 * waiting.BLOCKED_SECONDS
    assert max(b - a for a, b in itertools.pairwise(beats)) <= 30


def test_nothing_beats_while_nothing_is_done(tmp_path: Path, monkeypatch):
    """No thread and no timer: a holder that stands still for an hour looks as old as that."""
    claim = claims.take(tmp_path)
    past = time.time() - 3600
    os.utime(claim.path, (past, past))
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.0)
    time.sleep(0.2)
    assert not claims.is_alive(claim.path)
