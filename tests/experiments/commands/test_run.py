"""`run` beside other processes that train runs of the same matrix."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from experiments.local import queue as local_queue
from experiments.local.progress import Progress
from experiments.plan import jobs
from experiments.rundir import claims
from tests.experiments import cli
from tests.experiments.sending import Place


class Queue:
    """Trains in this process; after each of its first rounds an event happens elsewhere."""

    def __init__(self, *events) -> None:
        self.events, self.rounds = list(events), []

    def __call__(self, waiting: list[jobs.Task], devices: Sequence[str], show: Progress) -> bool:
        self.rounds.append([spec.method for task in waiting for spec in task.job.specs])
        finished = cli.run_inline(waiting, list(devices), show)
        if self.events:
            self.events.pop(0)()
        return finished


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path).write(trials=1, recipe__epochs=1)


def held(place: Place) -> claims.Claim:
    """The teacher's run, which is being trained elsewhere."""
    claim = claims.take(place.directory(place.teacher))
    assert claim is not None
    return claim


def run(place: Place, monkeypatch, *events) -> tuple[Queue, cli.Called]:
    queue = Queue(*events)
    monkeypatch.setattr(local_queue, "run", queue)
    return queue, cli.command("run", place.matrix, "--device", "cpu")


def test_what_another_process_left_is_trained_by_the_same_command(place, monkeypatch):
    claim = held(place)
    queue, said = run(place, monkeypatch, claim.release)
    assert said.code == 0
    assert queue.rounds == [["vanilla"], ["vanilla", "kd", "fitnet"]]
    assert cli.command("status", place.matrix).out.startswith(f"{place.matrix}: 4 runs: 4 done")


def test_what_another_process_trained_is_taught_from(place, monkeypatch):
    claim = held(place)

    def train() -> None:
        claim.release()
        assert cli.command("run", place.matrix, "--device", "cpu", "--quiet").code == 0

    monkeypatch.setattr(local_queue, "run", queue := Queue(train))
    said = cli.command("run", place.matrix, "--device", "cpu")
    assert said.code == 0 and len(queue.rounds) == 2  # of both commands


def test_what_is_still_held_is_said(place, monkeypatch):
    held(place)
    queue, said = run(place, monkeypatch)
    assert said.code == 1 and queue.rounds == [["vanilla"]]
    assert (
        "resnet14 -> resnet8, KD, trial 0: to do: its teacher is being trained elsewhere\n"
        in said.out
    )


def test_a_run_that_was_tried_is_not_tried_again(place, monkeypatch):
    """A queue whose workers die at once: everything stays to do."""
    rounds = []
    monkeypatch.setattr(local_queue, "run", lambda waiting, *_: not rounds.append(len(waiting)))
    said = cli.command("run", place.matrix, "--device", "cpu")
    assert said.code == 1 and len(rounds) == 1
    assert said.out.count("to do: not trained") == 4
