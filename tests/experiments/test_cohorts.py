from __future__ import annotations

import itertools

import pytest

from experiments.census import TODO, Status
from experiments.cohorts import cohorts
from tests.experiments.cli import expansion

METHODS = ["vanilla", "kd", "at", "fitnet", "rkd"]
PAIRS = ["resnet14 -> resnet8", "resnet20 -> resnet8"]


def waiting(epochs=None, **changes) -> list[Status]:
    """A status per run of a matrix; ``epochs``: how far each run is."""
    changes = {"methods": METHODS, "trials": 1, "recipe__epochs": 100, **changes}
    specs = list({e.spec.id: e.spec for e in expansion(**changes).entries}.values())
    ahead = epochs or [0] * len(specs)
    return [Status(s, TODO, epoch=epoch) for s, epoch in zip(specs, ahead, strict=True)]


def methods(groups) -> list[list[str]]:
    return [[status.spec.method for status in group] for group in groups]


def every_run_once(groups, statuses) -> bool:
    ids = [status.spec.id for group in groups for status in group]
    return sorted(ids) == sorted(status.spec.id for status in statuses)


def test_one_teacher_and_trial_is_one_cohort_and_the_baseline_joins():
    statuses = waiting()
    groups = cohorts(statuses)
    assert len(groups) == 1
    assert set(methods(groups)[0]) == set(METHODS)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"trials": 3}, 3),
        ({"pairs": PAIRS}, 2),
        ({"pairs": PAIRS, "trials": 2}, 4),
        ({"pairs": ["resnet14 -> resnet8", "resnet14 -> resnet20"]}, 1),
        ({"methods": ["vanilla"], "trials": 2}, 2),
    ],
)
def test_groups(changes, count):
    statuses = waiting(**changes)
    groups = cohorts(statuses)
    assert len(groups) == count
    assert every_run_once(groups, statuses)
    for group in groups:
        assert len({status.spec.trial for status in group}) == 1
        assert len({status.spec.teacher.run for status in group if status.spec.teacher}) <= 1


@pytest.mark.parametrize(
    ("changes", "together"),
    [
        ({"epochs": 50}, False),
        ({"batch_size": 16}, False),
        ({"precision": "bf16"}, False),
        ({"channels_last": True}, False),
        ({"compile": True}, False),
        ({"tf32": True}, False),
        ({"threads": 2}, False),
        ({"deterministic": True}, False),
        ({"lr": 0.01}, True),
        ({"momentum": 0.5}, True),
        ({"eval_every": 5}, True),
        ({"schedule": "step", "milestones": (5,)}, True),
    ],
    ids=str,
)
def test_what_shares_batches_agrees_in_numerics(changes, together):
    first, *_ = waiting(methods=["kd"])
    recipe = first.spec.recipe.model_copy(update=changes)
    other = Status(first.spec.model_copy(update={"recipe": recipe}), TODO)
    assert len(cohorts([first, other])) == (1 if together else 2)


def test_another_data_set_is_another_cohort():
    whole, part = waiting(methods=["kd"]), waiting(methods=["kd"], dataset__subset=32)
    assert len(cohorts([*whole, *part])) == 2
    alone = waiting(methods=["vanilla"], dataset__subset=32)
    assert len(cohorts([*whole, *alone])) == 2


@pytest.mark.parametrize("epochs", list(itertools.product([0, 1, 2, 3, 60], repeat=2)))
def test_more_than_one_epoch_apart_is_another_cohort(epochs):
    statuses = waiting(epochs=epochs, methods=["kd", "at"])
    for group in cohorts(statuses):
        positions = [status.epoch for status in group]
        assert max(positions) - min(positions) <= 1


def test_equally_far_runs_stay_together():
    assert len(cohorts(waiting(epochs=[17] * 5))) == 1


def test_a_baseline_far_ahead_stands_alone():
    groups = cohorts(waiting(epochs=[50, 0, 0, 0, 0]))
    assert sorted(map(len, groups)) == [1, 4]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9, None])
def test_sizes_are_bounded_and_balanced(size):
    statuses = waiting()
    groups = cohorts(statuses, size)
    lengths = [len(group) for group in groups]
    assert every_run_once(groups, statuses)
    assert max(lengths) <= (size or 5)
    assert max(lengths) - min(lengths) <= 1
    assert len(groups) == -(-5 // (size or 5))


def test_nothing_to_do():
    assert cohorts([]) == []
