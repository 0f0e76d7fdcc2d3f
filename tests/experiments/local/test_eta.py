"""The time left stays near the truth, whatever is known in advance. Events here are made up."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import pytest

from experiments.local.eta import Eta, Work

METHODS = {"alone": 0.3, "kd": 0.5, "at": 0.6, "rkd": 0.7, "crd": 1.4, "gk": 2.0}  # s per epoch
TEACHER, EPOCHS, TRIALS, WORKERS = 1.5, 15, 3, 2
START_UP = 4.0  # seconds of a worker before its first step: imports, data, the teacher's test
Known = Callable[[float, int], float | None]  # a true cost, a number -> what is predicted

TELLINGS: dict[str, Known] = {
    "exact": lambda cost, i: cost,
    "all too small": lambda cost, i: cost / 2.6,
    "all equal": lambda cost, i: 0.6,
    "half unknown": lambda cost, i: cost if i % 2 else None,
    "nothing": lambda cost, i: None,
}
# The largest error, as a part of the whole time, after a tenth and after half of it.
BOUNDS = {
    "exact": (0.12, 0.12),
    "all too small": (0.12, 0.12),
    "all equal": (0.5, 0.12),  # until the first students report, the teacher stands for them
    "half unknown": (0.12, 0.12),
    "nothing": (0.5, 0.12),
}


def events(reports_seconds: bool) -> tuple[list[tuple[float, str, float | None]], float]:
    """(time, run, its seconds) of every epoch's end, in order, and when all is done.

    The teacher comes first and alone; then each trial's runs are two cohorts, which train side by
    side. A cohort's runs end an epoch together.
    """
    teacher_done = START_UP + TEACHER * EPOCHS
    made = [(START_UP + TEACHER * (e + 1), "teacher", TEACHER) for e in range(EPOCHS)]
    cohorts = [
        [f"{method} {trial}" for method in part]
        for trial in range(TRIALS)
        for part in (list(METHODS)[::2], list(METHODS)[1::2])
    ]
    free = [teacher_done] * WORKERS
    for cohort in cohorts:
        start = heapq.heappop(free) + START_UP
        step = sum(METHODS[run.split()[0]] for run in cohort)
        for epoch in range(EPOCHS):
            now = start + step * (epoch + 1)
            made += [(now, run, METHODS[run.split()[0]]) for run in cohort]
        heapq.heappush(free, start + step * EPOCHS)
    ordered = [(t, run, s if reports_seconds else None) for t, run, s in sorted(made)]
    return ordered, max(free)


def works(known: Known) -> dict[str, Work]:
    made = {"teacher": Work(EPOCHS, "teacher", known(TEACHER, 1), first=True)}
    for i, (method, cost) in enumerate(METHODS.items()):
        for trial in range(TRIALS):
            made[f"{method} {trial}"] = Work(EPOCHS, method, known(cost, i))
    return made


def errors(known: Known, reports_seconds: bool = True) -> tuple[list[tuple[float, float]], float]:
    """(time, error of the time left) at every event, as parts of the whole time."""
    told, end = events(reports_seconds)
    eta, seen = Eta(works(known), WORKERS, 0.0), []
    for now, run, seconds in told:
        eta.epochs(run, 1, now, seconds)
        left = eta.seconds_left(now)
        assert left is not None
        seen.append((now / end, abs(left - (end - now)) / end))
    return seen, end


@pytest.mark.parametrize("telling", TELLINGS)
def test_the_time_left_stays_near_the_truth(telling):
    seen, _ = errors(TELLINGS[telling])
    early, late = BOUNDS[telling]
    assert max(error for when, error in seen if when >= 0.1) <= early
    assert max(error for when, error in seen if when >= 0.5) <= late


def test_without_the_runs_own_seconds_predictions_still_weigh():
    """As `submit --wait` sees it: only numbers of epochs."""
    seen, _ = errors(TELLINGS["exact"], reports_seconds=False)
    assert max(error for when, error in seen if when >= 0.1) <= 0.2


def test_it_does_not_jump():
    """From one event to the next it changes by at most a tenth of the whole, plus what passed.

    Once each kind of run has reported, that is: at a quarter of the time.
    """
    told, end = events(True)
    eta, before, then = Eta(works(TELLINGS["all equal"]), WORKERS, 0.0), None, 0.0
    for now, run, seconds in told:
        eta.epochs(run, 1, now, seconds)
        left = eta.seconds_left(now)
        assert left is not None
        if before is not None and now > 0.25 * end:
            assert abs(left - (before - (now - then))) <= 0.1 * end, now
        before, then = left, now


def test_it_counts_down_between_events():
    eta = Eta({"a": Work(10, "a", 2.0)}, 1, now=100.0)
    assert [eta.seconds_left(t) for t in (100.0, 105.0, 500.0)] == [20.0, 15.0, 0.0]


def test_nothing_is_known_at_first_and_nothing_is_left_at_last():
    eta = Eta({"a": Work(2, "a")}, 1, now=0.0)
    assert (eta.seconds_left(0.0), eta.fraction()) == (None, 0.0)
    eta.epochs("a", 1, 5.0)
    assert (eta.seconds_left(5.0), eta.fraction()) == (5.0, 0.5)
    eta.ended("a", 9.0)
    assert (eta.seconds_left(9.0), eta.fraction()) == (0.0, 1.0)


def test_a_failed_run_takes_its_epochs_along():
    eta = Eta({"a": Work(10, "a", 2.0), "b": Work(10, "b", 2.0)}, 1, now=0.0)
    eta.ended("a", 0.0)
    assert eta.seconds_left(0.0) is not None
    assert eta.fraction() == 0.0
    eta.epochs("b", 5, 10.0, 10.0)
    assert eta.fraction() == 0.5
