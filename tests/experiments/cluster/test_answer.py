"""What sbatch answers: understood, refused, or unclear; never a made-up job id."""

from __future__ import annotations

import subprocess
import time
from subprocess import CompletedProcess

import pytest

from experiments import slurm
from experiments.cluster import recovery
from experiments.cluster.answer import Sent, UnclearError, understood
from experiments.slurm import SlurmError
from tests.experiments import sending
from tests.experiments.sending import FIRST, titles


def ended(out: str = "", err: str = "", code: int = 0) -> CompletedProcess[str]:
    return CompletedProcess(["sbatch"], code, out, err)


@pytest.mark.parametrize(
    ("out", "sent"),
    [
        ("Submitted batch job 12\n", Sent("12")),
        ("Submitted batch job 12 on cluster x\n", Sent("12", "x")),
        ("Submitted batch job 12 on cluster big-one.2.\n", Sent("12", "big-one.2")),
        ("12\n", Sent("12")),
        ("12;x\n", Sent("12", "x")),
        ("  12;x  \n", Sent("12", "x")),
        ("12", Sent("12")),
        ("Welcome to job 7!\n\nSubmitted batch job 12\n3 modules loaded\n", Sent("12")),
        ("You have 2 mails\n2026\n12;x\nGoodbye\n", Sent("12", "x")),
        ("2026\nSubmitted batch job 12\n", Sent("12")),
        ("sbatch: Submitted batch job 12\nSubmitted batch job 12\n", Sent("12")),
    ],
    ids=range(11),
)
def test_answers_that_are_understood(out, sent):
    assert understood(ended(out)) == sent


@pytest.mark.parametrize(
    "done",
    [
        ended(""),
        ended("\n \n"),
        ended("Welcome to the cluster, job 7 is done\n"),
        ended("2026\n12\n"),  # which of them?
        ended("Submitted batch job 12\nSubmitted batch job 13\n"),
        ended("Submitted batch job abc\n"),
        ended("12a\n"),
        ended("", "", 1),
        ended("", "", -9),
        ended("", "sbatch: error: Batch job submission failed: Socket timed out on send/recv", 1),
        ended("", "sbatch: error: Batch job submission failed: Zero Bytes were transmitted", 1),
        ended("", "sbatch: error: Unable to contact slurm controller (connect failure)", 1),
        ended("", "sbatch: error: Batch job submission failed: Unspecified error", 1),
    ],
    ids=range(13),
)
def test_answers_that_are_unclear(done):
    with pytest.raises(UnclearError, match=r"^sbatch: .*"):
        understood(done)


def test_a_wrapper_that_fails_after_sbatch_has_sent_the_job():
    assert understood(ended("Submitted batch job 12\n", "hook: cannot log", 1)) == Sent("12")


@pytest.mark.parametrize(
    ("done", "line"),
    [
        (ended("", "sbatch: error: invalid partition", 1), "sbatch: invalid partition"),
        (ended("", "Welcome\nsbatch: error: no account\n", 1), "sbatch: no account"),
        (ended("please name an account\n", "", 1), "sbatch: please name an account"),
        (ended("12\n", "sbatch: error: no", 1), "sbatch: no"),
    ],
    ids=range(4),
)
def test_a_refusal(done, line):
    with pytest.raises(SlurmError) as raised:
        understood(done)
    assert not isinstance(raised.value, UnclearError)
    assert str(raised.value) == line


# ---- what becomes of the array -------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["{job}\n", "{job};fake\n", "hello\n{job};fake\nbye\n"])
def test_all_is_well_with_any_answer_that_names_the_job(fake, place, answer):
    fake.set(answer=answer, banner="\nGoodbye, come again\n")
    first, _ = sending.send(place)
    assert first.job == FIRST
    assert sending.send(place) == []
    assert set(fake.queue.values()) == {"PENDING"}
    assert len(fake.jobs) == 2


@pytest.mark.parametrize("answer", ["", "Welcome\n", "7\n8\n"])
def test_a_job_that_was_accepted_without_an_answer_is_found_by_the_next_submit(fake, place, answer):
    fake.set(answer=answer)
    with pytest.raises(SlurmError, match=r"it may have been accepted: submit again to find out"):
        sending.send(place)
    (token,) = place.sent
    assert token.job is None
    fake.set(answer="Submitted batch job {job}\n", banner="Welcome\nkd|x\n")
    assert recovery.recover(place.runs) == [f"{token.name}: adopted as job {FIRST}"]
    sending.send(place)
    assert len(titles(fake)) == 2


def test_an_sbatch_that_hangs_is_ended_with_its_children_and_is_unclear(fake, place, monkeypatch):
    """A site's wrapper that waits for the real command."""
    mark = f"{time.time_ns()}"
    (fake.bin / "sbatch").write_text(f"#!/bin/sh\nsleep 60.{mark} & wait\n")
    monkeypatch.setattr(slurm, "TIMEOUT", 0.3)
    begin = time.monotonic()
    with pytest.raises(SlurmError, match=r"^sbatch: no answer within 0\.3 seconds \(it may have"):
        sending.send(place)
    assert time.monotonic() - begin < 10
    assert place.sent[0].job is None
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert f"sleep 60.{mark}" not in running


def test_an_sbatch_that_hangs_after_it_was_heard_is_adopted(fake, place, monkeypatch):
    fake.set(slow={"sbatch": 30})
    with monkeypatch.context() as patch, pytest.raises(SlurmError, match="no answer within"):
        patch.setattr(slurm, "TIMEOUT", 1.5)
        sending.send(place)
    (token,) = place.sent
    assert recovery.recover(place.runs) == [f"{token.name}: adopted as job {FIRST}"]
    assert len(fake.jobs) == 1
