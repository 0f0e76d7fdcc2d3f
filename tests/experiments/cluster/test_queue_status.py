"""What SLURM's queue adds to what the disk says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import slurm
from experiments.cluster import queue_status, sbatch, submitted
from experiments.cluster.queue_status import UNKNOWN, QueueState
from experiments.matrix.slurm_options import SlurmOptions
from experiments.rundir import claims
from experiments.rundir.status import STATES, State, Status
from tests.experiments import tiny

SPEC = tiny.spec("vanilla")
DONE, RUNNING, PENDING, TODO, LOST = STATES[:5]
UNTOUCHED = [DONE, State.BLOCKED, State.FAILED, State.STALE, State.UNSUPPORTED]


def hint(state: str, reason: str = "why", task: str = "100_0") -> QueueState:
    return QueueState(task, state, reason, Path("log"), slurm.user())


def claim(runs: Path, task: str | None) -> None:
    """Somebody works on the run: a task of SLURM's, or (None) a process of another machine."""
    directory = SPEC.directory(runs)
    directory.mkdir(parents=True)
    job = {"cluster": "fake", "job": "1", "task": task, "restart": 0} if task else None
    holder = {"host": "elsewhere", "pid": 1, "started": "5", "slurm": job}
    (directory / "claim-0001").write_text(json.dumps(holder))


def merged(runs: Path, status: Status, given: QueueState | None) -> Status:
    found = queue_status.merge({SPEC.id: status}, {SPEC.id: given} if given else {}, runs)
    return found[SPEC.id]


# ---- the table of the disk's word and the hint's -------------------------------------------------


@pytest.mark.parametrize("queued", ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "", None])
@pytest.mark.parametrize("state", UNTOUCHED)
def test_what_the_disk_has_settled_no_hint_changes(tmp_path, state, queued):
    status = Status(SPEC, state, "as the disk says", epoch=2)
    assert merged(tmp_path, status, None if queued is None else hint(queued)) == status


@pytest.mark.parametrize("state", [TODO, LOST])
@pytest.mark.parametrize(
    ("given", "state_now", "detail"),
    [
        (hint("PENDING", "Priority"), PENDING, "job 100_0: Priority"),
        (hint("RUNNING", "n1"), RUNNING, "job 100_0 on n1"),
        (hint("COMPLETING", "n1"), RUNNING, "job 100_0 on n1"),
        (hint("SUSPENDED", "n1"), RUNNING, "job 100_0 on n1"),
        (hint("", "TIMEOUT"), LOST, "job 100_0 ended: TIMEOUT"),
        (hint("", UNKNOWN), LOST, "job 100_0 ended: no longer known to SLURM"),
    ],
    ids=["pending", "running", "completing", "suspended", "timeout", "unknown"],
)
def test_what_is_to_do_is_as_its_task_is(tmp_path, state, given, state_now, detail):
    found = merged(tmp_path, Status(SPEC, state, "its teacher …", epoch=1), given)
    assert (found.state, found.detail, found.epoch) == (state_now, detail, 1)


@pytest.mark.parametrize("state", [*UNTOUCHED, TODO, LOST, RUNNING])
def test_without_a_hint_the_disk_speaks(tmp_path, state):
    status = Status(SPEC, state, "so it is")
    assert merged(tmp_path, status, None) is status


@pytest.mark.parametrize(
    ("holder", "queued", "expected"),
    [
        # the claim's heart beats still, but its job is known to have ended
        ("100_0", "", LOST),
        # requeued: it will take its own claim over
        ("100_0", "PENDING", PENDING),
        ("100_0", "RUNNING", RUNNING),
        ("100_0", "COMPLETING", RUNNING),
        # somebody else has it: an older array's task, another cluster's, a `run` elsewhere
        ("99_0", "", RUNNING),
        ("99_0", "PENDING", RUNNING),
        ("100_1", "", RUNNING),
        (None, "", RUNNING),
        (None, "PENDING", RUNNING),
        (None, "RUNNING", RUNNING),
    ],
)
def test_a_claimed_run_is_running_unless_its_own_job_is_not(tmp_path, holder, queued, expected):
    claim(tmp_path, holder)
    status = Status(SPEC, RUNNING, epoch=1, seconds_left=50.0)
    found = merged(tmp_path, status, hint(queued))
    assert found.state == expected
    assert found.epoch == 1
    if expected == RUNNING:
        assert found == status


def test_a_claim_that_went_meanwhile_is_nobodys(tmp_path):
    assert merged(tmp_path, Status(SPEC, RUNNING), hint("")).state == RUNNING


# ---- gathering -----------------------------------------------------------------------------------


def statuses(count: int, state: str = TODO) -> list[Status]:
    specs = [SPEC.model_copy(update={"trial": trial}) for trial in range(count)]
    return [Status(spec, state) for spec in specs]


def send(fake, runs: Path, groups: list[list[Status]], **more) -> submitted.SubmittedArray:
    """An array of these runs, as `submission.send` leaves it."""
    specs = [[status.spec for status in group] for group in groups]
    entry = submitted.new(
        runs, "matrix.yaml", [[spec.id for spec in task] for task in specs], **more
    )
    entry.folder.mkdir(parents=True)
    entry.write()
    about = {"options": SlurmOptions(), "minutes": 5, "after": None, "code": Path("/code")}
    job = sbatch.send(entry.folder, name=entry.name, tasks=len(groups), **about).job
    return entry.with_job(job)


def states(found: dict[str, QueueState], of: list[Status]) -> list[tuple[str, str, str] | None]:
    known = [found.get(status.spec.id) for status in of]
    return [hint and (hint.task, hint.state, hint.reason) for hint in known]


def test_each_run_has_its_tasks_state(fake, tmp_path):
    a, b, c, _ = runs = statuses(4)
    send(fake, tmp_path, [[a, b], [c]])
    fake.move("100_1", "RUNNING", "n7")
    found = queue_status.query(tmp_path, runs)
    assert states(found, runs) == [
        ("100_0", "PENDING", "Priority"),
        ("100_0", "PENDING", "Priority"),
        ("100_1", "RUNNING", "n7"),
        None,
    ]
    assert found[a.spec.id].log == found[b.spec.id].log


def test_accounting_says_how_what_left_the_queue_ended(fake, tmp_path):
    runs = statuses(3)
    send(fake, tmp_path, [[run] for run in runs])
    fake.move("100_0", "TIMEOUT")
    fake.move("100_1", "NODE_FAIL")
    fake.move("100_2", "CANCELLED by 1000")
    fake.purge("100")
    found = [state and state[1:] for state in states(queue_status.query(tmp_path, runs), runs)]
    assert found == [("", "TIMEOUT"), ("", "NODE_FAIL"), ("", "CANCELLED by 1000")]


def test_without_accounting_it_is_known_at_least_that_it_ended(fake, tmp_path):
    runs = statuses(1)
    send(fake, tmp_path, [runs])
    fake.move("100_0", "FAILED")
    fake.set(accounting=False)
    assert states(queue_status.query(tmp_path, runs), runs) == [("100_0", "", UNKNOWN)]


def test_the_latest_array_speaks(fake, tmp_path):
    a, b = runs = statuses(2)
    send(fake, tmp_path, [[a], [b]])
    fake.move("100", "TIMEOUT")
    send(fake, tmp_path, [[b]])
    assert states(queue_status.query(tmp_path, runs), runs) == [
        ("100_0", "", "TIMEOUT"),
        ("103_0", "PENDING", "Priority"),
    ]


@pytest.mark.parametrize("purged", [False, True])
def test_an_id_that_was_given_a_second_time_is_another_job(fake, tmp_path, purged):
    """A controller that lost its last seconds counts from where it was."""
    runs = statuses(1)
    send(fake, tmp_path, [runs])
    fake.set(jobs=[], next=100)
    send(fake, tmp_path / "somebody else's", [statuses(1)])
    fake.move("100_0", "TIMEOUT" if purged else "RUNNING", "n1")
    assert states(queue_status.query(tmp_path, runs), runs) == [("100_0", "", UNKNOWN)]


def test_a_token_without_an_id_says_nothing(fake, tmp_path):
    (run,) = statuses(1)
    send(fake, tmp_path, [[run]])
    entry = submitted.new(tmp_path, "matrix.yaml", [[run.spec.id]])
    entry.folder.mkdir()
    entry.write()
    assert states(queue_status.query(tmp_path, [run]), [run]) == [("100_0", "PENDING", "Priority")]


@pytest.mark.parametrize("arrays", [1, 2, 8])
def test_one_question_to_the_queue_and_one_to_the_accounts_whatever_is_there(
    fake, tmp_path, arrays
):
    runs = statuses(2 * arrays)
    for i in range(arrays):
        send(fake, tmp_path, [[runs[2 * i]], [runs[2 * i + 1]]])
    ended = [f"{job['id']}_1" for job in fake.jobs]
    for task in ended:
        fake.move(task, "TIMEOUT")
    before = len(fake.calls())
    found = queue_status.query(tmp_path, runs)
    assert [call[0] for call in fake.calls()[before:]] == ["squeue", "sacct"]
    assert [h.state for h in found.values()] == ["PENDING", ""] * arrays


def test_nothing_is_asked_where_nothing_ended_or_nothing_is_open(fake, tmp_path):
    runs = statuses(2)
    send(fake, tmp_path, [runs])
    before = len(fake.calls())
    queue_status.query(tmp_path, runs)
    assert [call[0] for call in fake.calls()[before:]] == ["squeue"]
    assert queue_status.query(tmp_path, statuses(2, DONE)) == {}
    assert queue_status.query(tmp_path / "other runs", runs) == {}
    assert len(fake.calls()) == before + 1


@pytest.mark.parametrize(
    ("end", "accounting", "expected"),
    [(None, True, None), ("FAILED", False, None), ("FAILED", True, ("100_0", "", "FAILED"))],
    ids=["hidden", "nobody knows", "accounts know"],
)
def test_not_to_see_another_persons_job_says_nothing(fake, tmp_path, end, accounting, expected):
    fake.set(user="ada", hidden=["ada"], accounting=accounting)
    runs = statuses(1)
    replace(send(fake, tmp_path, [runs]), user="ada").write()
    if end:
        fake.move("100_0", end)
    else:
        fake.set(accounting=False)
    assert states(queue_status.query(tmp_path, runs), runs) == [expected]


def test_another_persons_job_that_is_shown_is_believed(fake, tmp_path):
    fake.set(user="ada")
    runs = statuses(1)
    replace(send(fake, tmp_path, [runs]), user="ada").write()
    assert states(queue_status.query(tmp_path, runs), runs) == [("100_0", "PENDING", "Priority")]


def test_a_queue_that_does_not_answer_is_an_error_and_not_an_empty_one(fake, tmp_path):
    runs = statuses(1)
    send(fake, tmp_path, [runs])
    fake.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    with pytest.raises(slurm.SlurmError, match=r"^squeue: .*Unable to contact slurm controller$"):
        queue_status.query(tmp_path, runs)


def test_without_slurm_the_disk_speaks_alone(fake, tmp_path, monkeypatch):
    runs = statuses(1)
    send(fake, tmp_path, [runs])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert queue_status.query(tmp_path, runs) == {}


def test_the_job_of_a_claim(tmp_path):
    claim(tmp_path, "100_3")
    found = claims.newest(SPEC.directory(tmp_path))
    assert found is not None
    assert claims.job_of(found) == "100_3"
