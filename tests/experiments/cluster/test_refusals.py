"""A limit that sbatch alone knows: as much is sent as it admits."""

from __future__ import annotations

import pytest

from experiments.cluster import refusals
from experiments.slurm import SlurmError
from tests.experiments import sending
from tests.experiments.sending import titles


def submit(place, *flags):
    return place.call("submit", "--yes", "--no-timing", "--cohort-size", "1", *flags)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, ["0-0"]),
        (2, ["0-0", "0-0"]),
        (3, ["0-2"]),
        (4, ["0-2", "0-0 after 100_0"]),
        (6, ["0-2", "0-1 after 100_0", "0-0 after 100_0"]),
        (7, ["0-2", "0-3 after 100_0"]),
    ],
)
def test_less_is_sent_where_slurm_refuses_more(fake, place, limit, expected):
    fake.set(limit=limit)
    said = submit(place)
    assert (said.code, said.err) == (0, "")
    assert titles(fake) == expected
    assert len(place.sent) == len(expected)  # nothing is left of what was refused
    hint = f"`--max-jobs {limit}` keeps to that. The next submit sends the rest"
    assert (hint in said.out) == (limit < 7)
    assert ("(QOSMaxSubmitJobPerUserLimit)" in said.out) == (limit < 7)


def test_the_next_submit_sends_the_rest(fake, place):
    fake.set(limit=3)
    submit(place)
    fake.set(limit=None)
    submit(place)
    assert titles(fake) == ["0-2", "0-3 after 100_0"]


def test_where_nothing_is_admitted_sbatchs_reason_is_said(fake, place):
    fake.set(limit=0)
    said = submit(place)
    assert said.code == 2
    assert said.err == "error: sbatch: QOSMaxSubmitJobPerUserLimit (nothing was submitted)\n"
    assert place.sent == []


def test_an_array_that_is_too_large_goes_in_pieces(fake, place):
    fake.set(config={"MaxArraySize": 2})
    place.write(slurm={"max_array_size": 500})
    assert submit(place).code == 0
    assert [title.split()[0] for title in titles(fake)] == ["0-0", "0-0", "0-0", "0-1", "0-1"]


@pytest.mark.parametrize(
    "message",
    [
        "sbatch: QOSMaxSubmitJobPerUserLimit; Batch job submission failed: Job violates x",
        "sbatch: AssocMaxSubmitJobLimit; Batch job submission failed",
        "sbatch: AssocGrpSubmitJobsLimit",
        "sbatch: QOSGrpSubmitJobsLimit",
        "sbatch: MaxSubmitJobsPerAccountLimit",
        "sbatch: Batch job submission failed: Job violates accounting/QOS policy "
        "(job submit limit, user's size and/or time limits)",
    ],
)
def test_limits_by_slurms_names(place, message):
    array = sending.first_array(place)
    assert len(array.jobs) == 3
    tried = []

    def refuse(part):
        tried.append(len(part.jobs))
        raise SlurmError(message)

    with pytest.raises(refusals.LimitReached) as raised:
        list(refusals.in_pieces(array, refuse))
    assert tried == [3, 1]
    assert raised.value.limit in message


def test_another_refusal_is_not_tried_again(place):
    tried = []

    def refuse(part):
        tried.append(part)
        raise SlurmError("sbatch: Invalid account")

    with pytest.raises(SlurmError, match=r"^sbatch: Invalid account$"):
        list(refusals.in_pieces(sending.first_array(place), refuse))
    assert len(tried) == 1
