"""Sent exactly once: the token around sbatch, and one submitter at a time."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from experiments import slurm
from experiments.cluster import arrays, queue_status, recovery, sbatch, submission, submitted
from experiments.cluster.arrays import Limits
from experiments.cluster.submitted import SubmittedArray
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix.slurm_options import SlurmOptions
from experiments.rundir import claims, processes
from experiments.slurm import SlurmError
from tests.experiments import sending
from tests.experiments.sending import FIRST, SECOND, TEACHER_TASK, Killed, Place, settings, titles


def folders(place: Place) -> list[str]:
    return [path.name for path in (place.runs / ".slurm").iterdir() if path.is_dir()]


# ---- the token -----------------------------------------------------------------------------------


def test_the_token_is_on_disk_before_sbatch_is_called_and_the_id_after(fake, place, monkeypatch):
    seen = []

    def watched(folder, **parameters):
        (entry,) = [sent for sent in place.sent if sent.folder == folder]
        seen.append((entry.job, len(list(folder.glob("task-*.json"))) == len(entry.tasks)))
        return complete(folder, **parameters)

    complete = sbatch.send
    monkeypatch.setattr(sbatch, "send", watched)
    sending.send(place)
    assert seen == [(None, True), (None, True)]
    assert [sent.job for sent in place.sent] == [FIRST, SECOND]


def test_of_a_refused_submission_nothing_is_left(fake, place):
    fake.refuse("sbatch", "sbatch: error: invalid partition specified: x")
    with pytest.raises(SlurmError) as raised:
        sending.send(place)
    assert str(raised.value) == "sbatch: invalid partition specified: x (nothing was submitted)"
    assert folders(place) == []
    assert fake.jobs == []


def test_without_an_answer_the_next_submit_finds_out(fake, place, monkeypatch):
    fake.refuse("sbatch", "sbatch: error: Batch job submission failed: Socket timed out")
    with pytest.raises(SlurmError, match="it may have been accepted"):
        sending.send(place)
    (token,) = place.sent
    assert token.job is None
    monkeypatch.setattr(recovery, "ANSWER_SECONDS", -1.0)
    assert recovery.recover(place.runs) == [f"{token.name}: was never submitted"]


def test_what_was_sent_before_a_refusal_is_said_and_kept(fake, place):
    fake.refuse("sbatch", "sbatch: error: Invalid account", after=1)
    with pytest.raises(SlurmError) as raised:
        sending.send(place)
    assert str(raised.value) == (
        f"sbatch: Invalid account (submitted before that: {FIRST}; submit again for the rest)"
    )
    (kept,) = place.sent
    assert (kept.job, folders(place)) == (FIRST, [kept.name])
    fake.set(refuse={"sbatch": [99, ""]})
    sending.send(place)
    assert titles(fake) == ["0-2", f"0-1 after {TEACHER_TASK}"]


def killed(*_, **__):
    raise Killed


def test_killed_before_sbatch_nothing_was_sent_and_nothing_stays(fake, place, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sbatch, "send", killed)
        sending.send(place)
    (token,) = place.sent
    assert token.job is None
    monkeypatch.setattr(recovery, "ANSWER_SECONDS", -1.0)
    assert recovery.recover(place.runs) == [f"{token.name}: was never submitted"]
    assert folders(place) == []
    assert recovery.recover(place.runs) == []


def test_killed_between_sbatch_and_its_id_the_job_is_adopted(fake, place, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(SubmittedArray, "with_job", killed)
        sending.send(place)
    assert titles(fake) == ["0-2"]
    (token,) = place.sent
    assert recovery.recover(place.runs) == [f"{token.name}: adopted as job {FIRST}"]
    assert [sent.job for sent in place.sent] == [FIRST]
    sending.send(place)
    assert titles(fake) == ["0-2", f"0-1 after {TEACHER_TASK}"]


def test_a_job_that_came_and_went_meanwhile_is_adopted_too(fake, place, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(SubmittedArray, "with_job", killed)
        sending.send(place)
    fake.move(FIRST, "COMPLETED")
    fake.purge(FIRST)
    recovery.recover(place.runs)
    assert [sent.job for sent in place.sent] == [FIRST]


def test_an_sbatch_that_is_still_on_its_way_is_waited_for(fake, place, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sbatch, "send", killed)
        sending.send(place)
    (token,) = place.sent

    def arrives(_):
        about = {"options": SlurmOptions(), "minutes": 5, "code": CHECKOUT}
        sbatch.send(token.folder, name=token.name, tasks=3, **about)

    monkeypatch.setattr(recovery, "time", SimpleNamespace(sleep=arrives, time=time.time))
    assert recovery.recover(place.runs) == [f"{token.name}: adopted as job {FIRST}"]


def test_a_queue_that_does_not_answer_decides_nothing(fake, place, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(SubmittedArray, "with_job", killed)
        sending.send(place)
    fake.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    with pytest.raises(SlurmError, match="Unable to contact"):
        recovery.recover(place.runs)
    assert len(place.sent) == 1


# ---- one at a time -------------------------------------------------------------------------------


def test_the_second_submitter_waits_and_then_sees_what_the_first_sent(fake, place):
    notes, ends = [], []

    def second():
        with submission.submit_lock(place.runs, notes.append):
            ends.append(len(place.sent))

    with submission.submit_lock(place.runs, notes.append) as claim:
        thread = threading.Thread(target=second)
        thread.start()
        while not notes:
            time.sleep(0.01)
        plan, chosen = place.plan(), settings()
        view = arrays.plan_submission(
            plan, *queue_status.survey(plan), chosen, Limits(10, None, None)
        )
        submission.send(plan, view, chosen, claim, lambda line: None)
        assert ends == []
    thread.join(30)
    assert ends == [2]
    assert len(notes) == 1
    assert re.fullmatch(
        rf"another submit \(pid {os.getpid()} of \w+ on {socket.gethostname()}, since "
        r"\d\d:\d\d:\d\d, last sign of life \d+ s ago\) is working on these runs; waiting for it … "
        r"\(if it died: 10 minutes after its last sign of life\)",
        notes[0],
    )


@pytest.mark.parametrize(
    ("holder", "words"),
    [
        (
            {"host": "login2:n:boot", "pid": 7, "started": "5", "time": 1.7e9},
            rf" \(pid 7 of {slurm.user()} on login2, since \d\d:\d\d:\d\d, last sign of life 2\d",
        ),
        (
            {"host": "login2", "pid": 7},
            r" \(pid 7 of \w+ on login2, last sign of life 2\d\d s ago\)",
        ),
        ({"host": "login2", "pid": 7, "time": 1e300}, r" \(pid 7 of \w+ on login2, last"),
        ({}, r" \(pid \? of \w+ on an unknown machine, last"),
    ],
    ids=["known", "of an earlier version", "odd time", "cut"],
)
def test_a_submitter_that_died_elsewhere_is_named(place, monkeypatch, holder, words):
    folder = place.runs / submitted.FOLDER
    folder.mkdir(parents=True)
    (folder / "claim-0001").write_text(json.dumps(holder))
    past = time.time() - 250
    os.utime(folder / "claim-0001", (past, past))
    monkeypatch.setattr(submission, "WAIT_SECONDS", -1.0)
    told = pytest.raises(InputError, match=f"another submit{words}.*still holds the lock")
    with told, submission.submit_lock(place.runs, print):
        pass


def test_patience_has_an_end(place, monkeypatch):
    monkeypatch.setattr(submission, "WAIT_SECONDS", -1.0)
    with (
        submission.submit_lock(place.runs, print),
        pytest.raises(InputError, match=r"another submit \(pid .*\) still holds the lock"),
        submission.submit_lock(place.runs, print),
    ):
        pass


def test_a_killed_submitter_is_in_nobodys_way(place):
    folder = place.runs / submitted.FOLDER
    folder.mkdir(parents=True)
    holder = {"host": processes.host(), "pid": 2**22 + 1, "started": "5", "slurm": None}
    (folder / "claim-0001").write_text(json.dumps(holder))
    with submission.submit_lock(place.runs, print) as claim:
        assert claim.number == 2


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt])
def test_the_lock_is_let_go_whatever_happens(place, error):
    for _ in range(2):
        with pytest.raises(error), submission.submit_lock(place.runs, print):
            raise error


def test_who_was_thought_dead_sends_no_more(fake, place):
    """Suspended for long, it wakes: another submit has taken over."""
    plan, chosen = place.plan(), settings()
    with submission.submit_lock(place.runs, print) as sleeper:
        view = arrays.plan_submission(
            plan, *queue_status.survey(plan), chosen, Limits(10, None, None)
        )
        past = time.time() - claims.STALE_SECONDS - 60
        os.utime(sleeper.path, (past, past))
        taken_over = pytest.raises(InputError, match="another submit has taken over")
        with submission.submit_lock(place.runs, print), taken_over:
            submission.send(plan, view, chosen, sleeper, print)
    assert fake.jobs == []
