"""What SLURM's queue adds to what the disk says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import slurm
from experiments.cluster import queue_status, sbatch, submitted
from experiments.cluster.questions import SILENT, UNKNOWN, Answers, QueueState, Task
from experiments.matrix.slurm_options import SlurmOptions
from experiments.rundir import claims
from experiments.rundir.status import STATES, State, Status
from tests.experiments import tiny

SPEC = tiny.spec("vanilla")
DONE, RUNNING, PENDING, TODO, LOST = STATES[:5]
LATEST, EARLIER = "100_0", "90_0"
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


def merged(status: Status, given: QueueState | None) -> Status:
    found = queue_status.merge({SPEC.id: status}, {SPEC.id: given} if given else {})
    return found[SPEC.id]


# ---- the table of the disk's word and the hint's -------------------------------------------------


@pytest.mark.parametrize("queued", ["PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "", None])
@pytest.mark.parametrize("state", UNTOUCHED)
def test_what_the_disk_has_settled_no_hint_changes(state, queued):
    status = Status(SPEC, state, "as the disk says", epoch=2)
    assert merged(status, None if queued is None else hint(queued)) == status


@pytest.mark.parametrize("state", [TODO, LOST])
@pytest.mark.parametrize(
    ("given", "state_now", "detail"),
    [
        (hint("PENDING", "Priority"), PENDING, "job 100_0: Priority"),
        (hint("RUNNING", "n1"), RUNNING, "job 100_0 on n1"),
        (hint("COMPLETING", "n1"), RUNNING, "job 100_0 on n1, COMPLETING: it is ending"),
        (
            hint("STAGE_OUT", "n1"),
            RUNNING,
            "job 100_0 on n1, STAGE_OUT: its files are being copied back",
        ),
        (hint("CONFIGURING", "n1"), PENDING, "job 100_0: CONFIGURING: its nodes are being started"),
        (hint("", "TIMEOUT"), LOST, "job 100_0 ended: TIMEOUT"),
        (hint("", UNKNOWN), LOST, "job 100_0 ended: no longer known to SLURM"),
    ],
    ids=["pending", "running", "completing", "staging", "configuring", "timeout", "unknown"],
)
def test_what_is_to_do_is_as_its_task_is(state, given, state_now, detail):
    found = merged(Status(SPEC, state, "its teacher …", epoch=1), given)
    assert (found.state, found.detail, found.epoch) == (state_now, detail, 1)


@pytest.mark.parametrize("state", [*UNTOUCHED, TODO, LOST, RUNNING])
def test_without_a_hint_the_disk_speaks(state):
    status = Status(SPEC, state, "so it is")
    assert merged(status, None) is status


def said(**states: str) -> Answers:
    """latest="PENDING": what SLURM says of the tasks; "" is known to be over, None is silence."""
    tasks = {"latest": LATEST, "earlier": EARLIER}
    queued, ends, silent = {}, {}, {}
    for name, state in states.items():
        address = ("fake", tasks[name])
        if state == SILENT:
            silent["fake"] = "squeue: no answer"
        elif state:
            queued[address] = slurm.Queued(state, "n1", "kd")
        else:
            ends[address] = slurm.Ended("kd", "FAILED", 3)
    asked = frozenset(("fake", tasks[name].partition("_")[0]) for name in states)
    return Answers(asked, queued, ends, silent)


def task(name: str, user: str | None = None) -> Task:
    return Task("fake", name, user or slurm.user(), "kd", Path("log"))


@pytest.mark.parametrize(
    ("holder", "states", "expected", "job"),
    [
        # the claim's heart beats still, but its job is known to have ended
        (LATEST, {"latest": ""}, LOST, LATEST),
        # requeued: it will take its own claim over
        (LATEST, {"latest": "PENDING"}, PENDING, LATEST),
        (LATEST, {"latest": "REQUEUE_HOLD"}, PENDING, LATEST),
        (LATEST, {"latest": "RUNNING"}, RUNNING, None),
        (LATEST, {"latest": "COMPLETING"}, RUNNING, None),
        (LATEST, {"latest": "SUSPENDED"}, RUNNING, LATEST),
        # the claim is an earlier job's: the later one may have died before it could take it over
        (EARLIER, {"latest": "", "earlier": ""}, LOST, LATEST),
        (EARLIER, {"latest": "PENDING", "earlier": ""}, PENDING, LATEST),
        (EARLIER, {"latest": "RUNNING", "earlier": ""}, RUNNING, LATEST),
        (EARLIER, {"latest": "", "earlier": "RUNNING"}, RUNNING, None),
        (EARLIER, {"latest": "", "earlier": "PENDING"}, PENDING, EARLIER),
        (EARLIER, {"latest": SILENT, "earlier": SILENT}, RUNNING, None),
        # somebody else has it: another cluster's, another person's, a `run` elsewhere
        (EARLIER, {"latest": ""}, RUNNING, None),
        (None, {"latest": ""}, RUNNING, None),
        (None, {"latest": "PENDING"}, RUNNING, None),
        (None, {"latest": "RUNNING"}, RUNNING, None),
    ],
)
def test_a_claimed_run_is_running_unless_its_own_job_is_not(holder, states, expected, job):
    """Of the job that the claim names SLURM is asked, not only of the latest."""
    status = Status(SPEC, RUNNING, epoch=1, seconds_left=50.0)
    claimed = task(holder) if holder else None
    given = queue_status.decide(task(LATEST), claimed, said(**states))
    found = merged(status, given)
    assert (found.state, found.epoch) == (expected, 1)
    if job is None:
        assert found == status
    else:
        assert f"job {job}" in found.detail


def test_a_job_that_only_the_claim_names_is_enough():
    given = queue_status.decide(None, task(EARLIER), said(earlier=""))
    found = merged(Status(SPEC, RUNNING, seconds_left=5.0), given)
    assert (found.state, found.detail) == (LOST, f"job {EARLIER} ended: FAILED, exit code 3")
    assert found.seconds_left is None


@pytest.mark.parametrize("end", [None, "PENDING", "RUNNING", "SUSPENDED"])
def test_accounts_that_know_no_end_prove_none(end):
    """A job that neither the queue nor the accounts' ends know is only no longer known."""
    ends = {("fake", LATEST): slurm.Ended("kd", end)} if end else {}
    given = queue_status.decide(task(LATEST), None, Answers(frozenset(), {}, ends))
    assert given is not None and (given.state, given.reason) == ("", UNKNOWN)


def test_the_controller_remembers_what_the_accounts_do_not_know_yet():
    known = {("fake", LATEST): slurm.Queued("OUT_OF_MEMORY", "n1", "kd")}
    answers = Answers(frozenset(), known, {}, {}, {"fake": "sacct: no"})
    given = queue_status.decide(task(LATEST), None, answers)
    assert given is not None and (given.state, given.reason) == ("", "OUT_OF_MEMORY")
    other = {("fake", LATEST): slurm.Queued("OUT_OF_MEMORY", "n1", "somebody else's")}
    given = queue_status.decide(task(LATEST), None, Answers(frozenset(), other))
    assert given is not None and (given.state, given.reason) == ("", UNKNOWN)


def test_accounts_speak_where_the_queue_is_silent():
    answers = said(latest="")
    silent = replace(answers, silent={"fake": "squeue: no answer"})
    given = queue_status.decide(task(LATEST), None, silent)
    assert given is not None and (given.state, given.reason) == ("", "FAILED, exit code 3")
    given = queue_status.decide(task(LATEST), None, said(latest=SILENT))
    found = merged(Status(SPEC, TODO, epoch=1), given)
    assert (found.state, found.epoch) == (State.UNKNOWN, 1)
    assert found.detail == f"SLURM does not answer; it was last sent as job {LATEST}"


def test_why_a_lost_run_was_blocked_is_told():
    given = queue_status.decide(task(LATEST), None, said(latest=""))
    found = merged(Status(SPEC, TODO, "…", blocked="its data changed"), given)
    assert found.detail == f"job {LATEST} ended: FAILED, exit code 3; blocked: its data changed"


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
    about = {"options": SlurmOptions(), "minutes": 5, "code": Path("/code")}
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
    assert states(queue_status.query(tmp_path, runs), runs) == [("100_0", "", "FAILED")]
    fake.purge("100")
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


def test_accounts_that_do_not_answer_leave_out_how_it_ended(fake, tmp_path):
    """They are needed for what the controller has forgotten."""
    runs = statuses(2)
    send(fake, tmp_path, [[run] for run in runs])
    fake.move("100_0", "TIMEOUT")
    fake.refuse("sacct", "sacct: error: Problem talking to the database: Connection refused")
    found = queue_status.query(tmp_path, runs)
    assert states(found, runs) == [("100_0", "", "TIMEOUT"), ("100_1", "PENDING", "Priority")]
    fake.purge("100")
    with pytest.raises(slurm.SlurmError, match=r"^sacct: Problem talking to the database"):
        queue_status.query(tmp_path, runs)


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
