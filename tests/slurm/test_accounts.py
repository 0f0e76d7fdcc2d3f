"""Which ends in SLURM's accounts prove a fault, on rows as sacct 22.05.8 prints them."""

from __future__ import annotations

import math

import pytest

from tests.slurm.accounts import Hit, Start, expanded, proof, shown, starts

TABLE = """\
slurm_load: some site's greeting
7_0|kd-a-1|NODE_FAIL|1:0|n1|1000|990|980
7_0|kd-a-1|COMPLETED|0:0|n2|1040|1010|1000
7_1|kd-a-1|CANCELLED by 0|0:15|n1|1010|990|980
7_2|kd-a-1|FAILED|4:0|n1|1020|990|980
7_3|kd-a-1|FAILED|0:9|n1|1020|990|980
7_4|kd-a-1|RUNNING|0:0|n1|Unknown|1015|980
7_[5-6]|kd-a-1|CANCELLED by 0|0:0|None assigned|1011|None|980
8_0|kd-b-1|NODE_FAIL|1:0|n1|1000|990|980
"""
KILLED = ("FAILED", "OUT_OF_MEMORY")


def test_rows_are_read_and_those_of_other_matrices_left_out() -> None:
    found = starts(TABLE, "kd-a-")
    assert [start.task for start in found] == ["7_0", "7_0", "7_1", "7_2", "7_3", "7_4", "7_[5-6]"]
    assert found[2] == Start("7_1", "kd-a-1", "CANCELLED", "0:15", "n1", 1010.0, 990.0, 980.0)
    assert found[5].ended == math.inf
    assert len(starts(TABLE)) == 8


@pytest.mark.parametrize(
    ("hit", "state"),
    [
        (Hit("7_0", ("NODE_FAIL",), 995), "NODE_FAIL"),
        (Hit("7_0", ("NODE_FAIL",), 995, "n1"), "NODE_FAIL"),
        (Hit("7_0", ("NODE_FAIL",), 1000.7), "NODE_FAIL"),  # in the second that the end is given in
        (Hit("7_1", ("CANCELLED",), 1009), "CANCELLED"),
        (Hit("7_3", KILLED, 1019), "FAILED"),
        (Hit("7_6", ("CANCELLED",), 1009), "CANCELLED"),  # it had never started
    ],
)
def test_an_end_of_the_task_itself_proves_it(hit: Hit, state: str) -> None:
    one = proof(hit, starts(TABLE))
    assert one is not None and one.state == state


@pytest.mark.parametrize(
    ("hit", "why"),
    [
        (Hit("7_0", KILLED, 995), "it ended in another way"),
        (Hit("7_0", ("NODE_FAIL",), 1002), "that was before"),
        (Hit("7_0", ("NODE_FAIL",), 995, "n2"), "that was another node"),
        (Hit("7_4", KILLED, 1019), "it has not ended; two others failed"),
        (Hit("7_7", ("CANCELLED",), 1009), "it is unknown"),
        (Hit("70_1", ("CANCELLED",), 1009), "another array's"),
    ],
)
def test_other_ends_prove_nothing(hit: Hit, why: str) -> None:
    assert proof(hit, starts(TABLE)) is None, why


def test_what_is_shown_is_counted() -> None:
    hits = [Hit("7_0", ("NODE_FAIL",), 995), Hit("8_0", ("NODE_FAIL",), 995), Hit("7_4", KILLED, 0)]
    assert shown(hits, starts(TABLE)) == {"NODE_FAIL": 2}


@pytest.mark.parametrize(
    ("task", "tasks"),
    [
        ("7_[0-2,5%3]", ["7_0", "7_1", "7_2", "7_5"]),
        ("7_[4]", ["7_4"]),
        ("7_4", []),
        ("7", []),
    ],
)
def test_waiting_tasks_in_one_row(task: str, tasks: list[str]) -> None:
    assert expanded(task) == tasks


def test_what_ran_between_two_looks() -> None:
    first, second, *_ = starts(TABLE, "kd-a-")
    assert first.overlaps(985, 992) and first.overlaps(998, 1005)
    assert not first.overlaps(1003, 1006) and not second.overlaps(1003, 1006)
    (waited,) = [start for start in starts(TABLE) if start.task == "7_[5-6]"]
    assert not waited.overlaps(985, 1020)
    assert waited.was_sent(975, 985) and not waited.was_sent(985, 1020)
    assert (waited.indices, first.indices) == (["5", "6"], ["0"])
