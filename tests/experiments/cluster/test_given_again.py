"""A controller that lost its latest jobs gives their numbers out again, and nodes refuse them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.cluster import given_again
from experiments.cluster.submitted import SubmittedArray
from experiments.commands import follow
from tests.experiments.sending import FIRST

HELD = "launch failed requeued held"


def array(name: str, job: str | None, time: float, cluster: str | None = None) -> SubmittedArray:
    return SubmittedArray(Path(name), name, "m", "ada", time, (("r",),), job=job, cluster=cluster)


@pytest.mark.parametrize(
    ("before", "is_again"),
    [
        (array("a", "7", 0.0), True),
        (array("a", "9", 0.0), True),
        (array("a", "6", 0.0), False),
        (array("a", None, 0.0), False),
        (array("a", "7", -2 * given_again.RECENT), False),
        (array("a", "7", 20.0), False),  # sent later
        (array("a", "7", 0.0, "dev2"), False),
        (array("b", "7", 10.0), False),  # itself
    ],
)
def test_a_number_that_is_not_above_an_earlier_one(before: SubmittedArray, is_again: bool) -> None:
    sent = array("b", "7", 10.0)
    assert given_again.given_again([sent], [before, sent]) == [sent] * is_again


@pytest.mark.parametrize("flags", [(), ("--wait",)], ids=["submit", "wait"])
def test_what_a_node_refuses_of_a_number_given_again_is_released(fake, place, monkeypatch, flags):
    place.call("submit", "--yes", "--no-timing", "--methods", "vanilla")
    with fake.state() as content:  # the controller dies and has saved none of it
        content["jobs"].clear()
        content["next"] = int(FIRST)
    looks = []

    def refuse(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 1:
            fake.move(f"{FIRST}_0", "PENDING", HELD)
        elif len(looks) == 2:
            assert ["scontrol", "release", f"{FIRST}_0"] in fake.calls("scontrol")
            fake.move(FIRST, "CANCELLED")

    monkeypatch.setattr(given_again, "wait", refuse)
    monkeypatch.setattr(follow, "time", SimpleNamespace(sleep=refuse))
    called = place.call("submit", "--yes", "--no-timing", "--methods", "vanilla", *flags)
    assert f"released {FIRST}_0: SLURM held it because" in called.out
    assert ("SLURM gives out numbers again (100)" in called.out) is (not flags)
    assert sum(looks) == pytest.approx(given_again.WATCHED) or flags


def test_nobody_waits_where_numbers_rise(fake, place, monkeypatch):
    monkeypatch.setattr(given_again, "wait", lambda _: pytest.fail("waited"))
    for method in ("vanilla", "kd"):
        called = place.call("submit", "--yes", "--no-timing", "--methods", method)
        assert called.code == 0 and "again" not in called.out
