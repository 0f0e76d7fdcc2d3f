"""Two people send from one runs directory, on a cluster that hides other people's jobs."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from experiments import slurm
from experiments.cluster import cleanup, queue_status, recovery, submitted
from experiments.cluster.submitted import SubmittedArray
from experiments.rundir.status import State
from tests.experiments import sending
from tests.experiments.sending import FIRST, Killed

pytestmark = pytest.mark.usefixtures("fake")


@pytest.fixture
def theirs(fake, place, monkeypatch) -> SubmittedArray:
    """Alice's accepted array without an id: her submit was killed after sbatch."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(SubmittedArray, "with_job", killed)
        sending.send(place)
    (token,) = place.sent
    token = replace(token, user="alice", time=token.time - 60)
    token.write()
    with fake.state() as state:
        state["jobs"][0]["user"] = "alice"
    fake.set(hidden=["alice"], unaccounted=["alice"])
    return token


def killed(*_, **__):
    raise Killed


def held(place) -> int:
    statuses = recovery.held_back(place.runs, queue_status.survey(place.plan())[0])
    return sum("alice's submit" in status.detail for status in statuses.values())


def test_another_persons_array_is_left_alone_and_said(place, theirs):
    assert recovery.recover(place.runs) == []
    (line,) = recovery.left_alone(place.runs)
    at = time.strftime("%H:%M", time.localtime(theirs.time))
    assert line.startswith("alice's submit of ")
    assert f"{at} has no job id yet: only alice can find out, by another submit; " in line
    assert place.sent == [theirs]
    assert not recovery.is_due(place.runs)


def test_its_runs_are_not_sent_a_second_time_by_submit(fake, place, theirs):
    sent = place.call("submit", "--yes", "--no-timing")
    assert sent.code == 0, sent.err
    assert "alice's submit of" in sent.out
    runs = [run for entry in place.sent if entry.job for ids in entry.tasks for run in ids]
    assert not set(runs) & {run for ids in theirs.tasks for run in ids}
    assert theirs in place.sent


def test_after_an_hour_without_a_sign_they_are(place, theirs):
    assert held(place) == 3
    replace(theirs, time=theirs.time - recovery.HOLD_SECONDS).write()
    assert held(place) == 0
    assert place.sent[0].folder.exists()


def test_but_not_while_the_queue_shows_the_job(fake, place, theirs):
    fake.set(hidden=[], unaccounted=[])
    replace(theirs, time=theirs.time - recovery.HOLD_SECONDS).write()
    assert held(place) == 3
    fake.move(FIRST, "CANCELLED")
    assert held(place) == 0


def test_clean_leaves_what_it_cannot_see(place, theirs):
    assert theirs.folder not in cleanup.left_over(place.plan())
    theirs.with_job(FIRST)  # alice's next submit
    assert theirs.folder not in cleanup.left_over(place.plan())


def test_what_is_hidden_is_not_lost(place, theirs):
    theirs.with_job(FIRST)
    statuses, _ = queue_status.survey(place.plan())
    assert State.LOST not in {status.state for status in statuses.values()}


@pytest.mark.parametrize(
    ("user", "me", "mine"),
    [
        ("alice", "alice", True),
        ("alice", "bob", False),
        ("{uid}", "alice", True),  # from a container without names
        ("alice", "{uid}", True),  # within one: the files' owner decides
    ],
)
def test_who_sent_an_array(tmp_path, monkeypatch, user, me, mine):
    uid = str(os.getuid())
    monkeypatch.setattr(slurm, "user", lambda: me.format(uid=uid))
    entry = replace(submitted.new(tmp_path, "m.yaml", [["a"]]), user=user.format(uid=uid))
    entry.folder.mkdir(parents=True)
    assert entry.is_mine is mine


def test_a_silent_queue_drops_nothing(fake, place, theirs):
    """Also one's own: not to be heard of is not to have never been submitted."""
    replace(theirs, user=slurm.user()).write()
    fake.refuse("sacct", "sacct: error: Problem talking to the database: Connection refused")
    with pytest.raises(slurm.SlurmError, match="Problem talking to the database"):
        recovery.recover(place.runs)
    assert len(place.sent) == 1
