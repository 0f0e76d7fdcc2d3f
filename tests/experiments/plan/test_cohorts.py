from __future__ import annotations

import itertools

import pytest

from experiments.plan.cohorts import form_cohorts
from experiments.rundir.status import State, Status
from tests.experiments.cli import expansion

METHODS = ["vanilla", "kd", "at", "fitnet", "rkd"]
PAIRS = ["resnet14 -> resnet8", "resnet20 -> resnet8"]


def waiting(epochs=None, **changes) -> list[Status]:
    """A status per run of a matrix; ``epochs``: how far each run is."""
    changes = {"methods": METHODS, "trials": 1, "recipe__epochs": 100, **changes}
    specs = list({e.spec.id: e.spec for e in expansion(**changes).entries}.values())
    ahead = epochs or [0] * len(specs)
    return [Status(s, State.TODO, epoch=epoch) for s, epoch in zip(specs, ahead, strict=True)]


def methods(groups) -> list[list[str]]:
    return [[status.spec.method for status in group] for group in groups]


def every_run_once(groups, statuses) -> bool:
    ids = [status.spec.id for group in groups for status in group]
    return sorted(ids) == sorted(status.spec.id for status in statuses)


def test_one_teacher_and_trial_is_one_cohort_and_the_baseline_joins():
    statuses = waiting()
    groups = form_cohorts(statuses)
    assert len(groups) == 1
    assert set(methods(groups)[0]) == set(METHODS)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"trials": 3}, 3),
        ({"methods": [{"name": "kd", "sweep": {"dataset.subset": [16, 32], "ce": [0.5, 1]}}]}, 2),
        ({"methods": [{"name": "kd", "sweep": {"recipe.epochs": [9, 8], "recipe.lr": [1, 2]}}]}, 2),
        ({"pairs": PAIRS}, 2),
        ({"pairs": PAIRS, "trials": 2}, 4),
        ({"pairs": ["resnet14 -> resnet8", "resnet14 -> resnet20"]}, 1),
        ({"methods": ["vanilla"], "trials": 2}, 2),
    ],
)
def test_groups(changes, count):
    statuses = waiting(**changes)
    groups = form_cohorts(statuses)
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
    other = Status(first.spec.model_copy(update={"recipe": recipe}), State.TODO)
    assert len(form_cohorts([first, other])) == (1 if together else 2)


def test_another_data_set_is_another_cohort():
    whole, part = waiting(methods=["kd"]), waiting(methods=["kd"], dataset__subset=32)
    assert len(form_cohorts([*whole, *part])) == 2
    alone = waiting(methods=["vanilla"], dataset__subset=32)
    assert len(form_cohorts([*whole, *alone])) == 2


@pytest.mark.parametrize("epochs", list(itertools.product([0, 1, 2, 3, 60], repeat=2)))
def test_more_than_one_epoch_apart_is_another_cohort(epochs):
    statuses = waiting(epochs=epochs, methods=["kd", "at"])
    for group in form_cohorts(statuses):
        positions = [status.epoch for status in group]
        assert max(positions) - min(positions) <= 1


def test_equally_far_runs_stay_together():
    assert len(form_cohorts(waiting(epochs=[17] * 5))) == 1


def test_a_baseline_far_ahead_stands_alone():
    groups = form_cohorts(waiting(epochs=[50, 0, 0, 0, 0]))
    assert sorted(map(len, groups)) == [1, 4]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9, None])
def test_sizes_are_bounded_and_balanced(size):
    statuses = waiting()
    groups = form_cohorts(statuses, size)
    lengths = [len(group) for group in groups]
    assert every_run_once(groups, statuses)
    assert max(lengths) <= (size or 5)
    assert max(lengths) - min(lengths) <= 1
    assert len(groups) == -(-5 // (size or 5))


def test_nothing_to_do():
    assert form_cohorts([]) == []


# ---- cost ----------------------------------------------------------------------------------------


def trials(count: int) -> list[Status]:
    """Runs of one method that may all stand in one cohort."""
    (only,) = waiting(methods=["kd"])
    names = [only.spec.model_copy(update={"student": f"net-{i}"}) for i in range(count)]
    return [Status(spec, State.TODO) for spec in names]


def number(status: Status) -> int:
    return int(status.spec.student.removeprefix("net-"))


@pytest.mark.parametrize(
    ("costs", "size", "sums"),
    [
        ([8, 1, 1, 1, 1, 4], 3, [10, 6]),  # never more than three, even where four are cheap
        ([5, 5, 5, 5], 2, [10, 10]),
        ([1, 2, 3, 4, 5, 6], 3, [11, 10]),
        ([9, 1, 1], 2, [9, 2]),
        ([4, 3, 2, 1], 1, [4, 3, 2, 1]),
        ([1, 2, 3], None, [6]),
    ],
    ids=str,
)
def test_parts_are_balanced_by_cost(costs, size, sums):
    statuses = trials(len(costs))
    groups = form_cohorts(statuses, size, lambda status: costs[number(status)])
    assert every_run_once(groups, statuses)
    assert all(len(group) <= (size or len(costs)) for group in groups)
    found = [sum(costs[number(status)] for status in group) for group in groups]
    assert sorted(found, reverse=True) == sums


def test_as_few_parts_as_the_size_allows_whatever_they_cost():
    statuses = trials(16)
    groups = form_cohorts(statuses, 8, lambda status: 1000.0 if number(status) == 0 else 1.0)
    assert [len(group) for group in groups] == [8, 8]


@pytest.mark.parametrize(
    ("costs", "size", "parts"),
    [
        ([1] * 7, 3, [[0, 3, 6], [1, 4], [2, 5]]),
        ([3, 1, 3, 1, 2, 2, 2], 3, [[0, 6], [1, 2, 3], [4, 5]]),
        ([1, 2, 3, 4], 2, [[0, 3], [1, 2]]),
    ],
    ids=str,
)
def test_the_same_runs_are_always_cut_alike(costs, size, parts):
    """Equal costs decide nothing by chance, and inside a part the order stays."""
    groups = form_cohorts(trials(len(costs)), size, lambda status: costs[number(status)])
    assert [[number(status) for status in group] for group in groups] == parts


def test_costs_do_not_mix_what_must_stay_apart():
    statuses = waiting(pairs=PAIRS, trials=2)
    groups = form_cohorts(statuses, 3, lambda status: float(status.spec.trial + 1))
    assert every_run_once(groups, statuses)
    for group in groups:
        assert len({status.spec.trial for status in group}) == 1
        assert len({status.spec.teacher.run for status in group if status.spec.teacher}) <= 1
