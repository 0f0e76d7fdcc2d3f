"""SLURM's commands: what they print, understood; what they complain about, in one line."""

from __future__ import annotations

import pytest

from experiments import job_states, slurm
from experiments.cluster import sbatch, site
from experiments.matrix.slurm_options import SlurmOptions
from experiments.slurm import Queued, SlurmError


def send(fake, folder, tasks: int = 2, name: str = "kd-test", after: str = "") -> str:
    folder.mkdir(exist_ok=True)
    about = {
        "options": SlurmOptions(),
        "minutes": 5,
        "after": [after] if after else [],
        "code": folder,
    }
    return sbatch.send(folder, name=name, tasks=tasks, **about).job


def printing(monkeypatch, text: str) -> None:
    """Whatever is called prints this."""
    monkeypatch.setattr(slurm, "call", lambda *command: text)


# ---- calling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("sbatch: error: no such partition", "no such partition"),
        ("sbatch: error: a\nsbatch: error: b\n\n", "a; b"),
        ("squeue: fatal: no config", "no config"),
        ("same\nsame\n", "same"),
        ("  plain  ", "plain"),
        ("", "no message"),
        ("\n\n", "no message"),
    ],
)
def test_a_complaint_in_one_line(text, line):
    assert slurm.one_line(text) == line


def test_a_refusal_is_the_commands_own_words(fake):
    fake.refuse("squeue", "slurm_load_jobs error: Socket timed out\nsqueue: error: try later")
    with pytest.raises(SlurmError, match=r"^squeue: slurm_load_jobs error: Socket timed out; try"):
        slurm.mine()


VARIABLES = {
    "SQUEUE_PARTITION": "urgent",
    "SQUEUE_FORMAT": "%i",
    "SACCT_FORMAT": "jobid",
    "SACCTMGR_X": "1",
    "SINFO_FORMAT": "%N",
    "SCANCEL_STATE": "RUNNING",
    "SCONTROL_ALL": "1",
    "SBATCH_CLUSTERS": "there",
    "SLURM_CLUSTERS": "there",
    "SLURM_TIME_FORMAT": "relative",
    "SLURM_BITSTR_LEN": "2",
    "SLURM_WORKING_CLUSTER": "there:h:1:2",
}
KEPT = {"SLURM_CONF": "/etc/a/slurm.conf", "SLURM_JWT": "x", "MY_SLURM_THING": "1"}


def test_variables_of_the_user_change_no_answer(fake, tmp_path, monkeypatch):
    """But where the controller is, and how to speak to it, is kept; and so is all else."""
    for name, value in {**VARIABLES, **KEPT}.items():
        monkeypatch.setenv(name, value)
    (fake.bin / "squeue").write_text("#!/bin/sh\nenv | sed 's/^/1|/'\n")
    seen = {line.partition("|")[2].partition("=")[0] for line in slurm.call("squeue").splitlines()}
    assert not seen & set(VARIABLES)
    assert set(KEPT) <= seen


@pytest.mark.parametrize("command", ["squeue", "sacct", "scontrol", "sinfo", "sacctmgr"])
def test_greetings_among_the_answers_are_passed_over(fake, tmp_path, command):
    """Of a module, or a site's wrapper, on standard output."""
    job = send(fake, tmp_path)
    expected = (slurm.queue([job]), slurm.accounted([job]), slurm.named("kd-test"), slurm.mine())
    limits = site.of(SlurmOptions(partition="short"))
    path = fake.bin / command
    real = path.rename(fake.bin / f"real-{command}")
    greeting = "echo 'Welcome to the cluster'; echo '| a | b |'; echo 7; echo"
    path.write_text(f'#!/bin/sh\n{greeting}\n{real.as_posix()!r} "$@"\n{greeting}\n')
    path.chmod(0o755)
    slurm.config.cache_clear()
    found = (slurm.queue([job]), slurm.accounted([job]), slurm.named("kd-test"), slurm.mine())
    assert found == expected
    assert site.of(SlurmOptions(partition="short")) == limits
    assert slurm.cluster() == "fake"


def test_a_greeting_is_no_job(fake):
    (fake.bin / "squeue").write_text("#!/bin/sh\necho Welcome\n")
    (fake.bin / "sacct").write_text("#!/bin/sh\necho Welcome\n")
    assert slurm.named("kd-wanted") is None
    assert slurm.mine() == 0
    assert not slurm.has_ended("7")


def test_a_failing_account_is_no_proof_that_nothing_was_sent(fake):
    fake.refuse("sacct", "sacct: error: Problem talking to the database: Connection refused")
    with pytest.raises(SlurmError, match="Problem talking"):
        slurm.named("kd-wanted")
    with pytest.raises(SlurmError, match="Problem talking"):
        slurm.accounted(["7"])


def test_no_answer(fake, monkeypatch):
    fake.set(slow={"squeue": 5})
    monkeypatch.setattr(slurm, "TIMEOUT", 0.3)
    with pytest.raises(SlurmError, match=r"^squeue: no answer within 0\.3 seconds$"):
        slurm.mine()


def test_no_slurm_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not slurm.is_here()
    with pytest.raises(SlurmError, match=r"sbatch: not found\. Is this the login node.*use `run`"):
        slurm.require()
    with pytest.raises(SlurmError, match="squeue: not found"):
        slurm.mine()


def test_slurm_is_here(fake):
    assert slurm.is_here()
    slurm.require()


# ---- the cluster ---------------------------------------------------------------------------------


def test_the_configuration_is_asked_for_once(fake):
    fake.set(config={"MaxArraySize": 20})
    assert [slurm.max_array_size(), slurm.max_array_size()] == [20, 20]
    assert slurm.config()["ClusterName"] == "fake"
    assert fake.calls("scontrol") == [["scontrol", "show", "config"]]


# ---- jobs ----------------------------------------------------------------------------------------


def test_the_queue_of_some_arrays(fake, tmp_path):
    first, second = (send(fake, tmp_path, name=name) for name in ("kd-a", "kd-b"))
    other = send(fake, tmp_path)
    fake.move(f"{first}_1", "RUNNING", "n3")
    fake.move(f"{second}_0", "COMPLETED")
    assert slurm.queue([first, second, first]) == {
        f"{first}_0": Queued("PENDING", "Priority", "kd-a"),
        f"{first}_1": Queued("RUNNING", "n3", "kd-a"),
        f"{second}_1": Queued("PENDING", "Priority", "kd-b"),
    }
    assert slurm.mine() == 5
    assert other not in slurm.queue([first])


def test_nothing_is_asked_about_no_jobs(fake):
    assert (slurm.queue([]), slurm.accounted([])) == ({}, {})
    assert fake.calls() == []


@pytest.mark.parametrize("jobs", [["7"], ["7", "8"]])
def test_forgotten_jobs_are_not_in_the_queue(fake, jobs):
    assert slurm.queue(jobs) == {}


def test_every_state_of_slurm_is_over_or_waits_or_runs():
    """Those of `man squeue` (22.05), and later ones."""
    manual = (
        "BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE FAILED NODE_FAIL "
        "OUT_OF_MEMORY PENDING PREEMPTED RUNNING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED "
        "RESIZING REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED SUSPENDED TIMEOUT"
    )
    assert set(manual.split()) <= set(job_states.STATES)
    for state in (*manual.split(), "LAUNCH_FAILED", "OF_A_LATER_SLURM"):
        kinds = (slurm.is_over(state), slurm.is_waiting(state), slurm.is_running(state))
        assert kinds.count(True) == 1, state


@pytest.mark.parametrize(
    ("state", "over", "waits"),
    [
        ("CANCELLED by 1000", True, False),
        ("CANCELLED+", True, False),  # cut by sacct
        ("PREEMPTED", True, False),
        ("LAUNCH_FAILED", True, False),
        ("SPECIAL_EXIT", False, True),
        ("RESV_DEL_HOLD", False, True),
        ("COMPLETING", False, False),
        ("COMPLETI+", False, False),
        ("STAGE_OUT", False, False),
        ("OF_A_LATER_SLURM", False, False),
        ("", False, False),
    ],
)
def test_what_a_state_means(state, over, waits):
    assert (slurm.is_over(state), slurm.is_waiting(state)) == (over, waits)


@pytest.mark.parametrize("state", slurm.ENDED)
def test_what_has_ended_is_not_in_the_queue_though_squeue_shows_it(monkeypatch, state):
    printing(monkeypatch, f"7|0|{state}|kd-a|n1\n7|1|PENDING|kd-a|(Resources)\n")
    assert slurm.queue(["7"]) == {"7_1": Queued("PENDING", "Resources", "kd-a")}


def test_reasons_may_hold_anything(monkeypatch):
    printing(monkeypatch, "7|0|PENDING|kd-a|(Nodes required for job are DOWN|DRAINED)\n")
    assert slurm.queue(["7"])["7_0"].reason == "Nodes required for job are DOWN|DRAINED"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (["7_0|COMPLETED", "7_1|TIMEOUT"], {"7_0": "COMPLETED", "7_1": "TIMEOUT"}),
        (["7_0|CANCELLED by 1000"], {"7_0": "CANCELLED by 1000"}),
        (["7_[0-1]|CANCELLED"], {"7_0": "CANCELLED", "7_1": "CANCELLED"}),
        (["7_[0-1,5]|PENDING"], {"7_0": "PENDING", "7_1": "PENDING", "7_5": "PENDING"}),
        (["7_[3,4-5%2]|PENDING"], {"7_3": "PENDING", "7_4": "PENDING", "7_5": "PENDING"}),
        (["9|COMPLETED"], {"9": "COMPLETED"}),
        ([], {}),
    ],
    ids=range(7),
)
def test_how_jobs_ended(monkeypatch, table, expected):
    printing(
        monkeypatch, "".join(f"{row}|1:9|0:0|n3|Unknown|2026-01-01T00:00:00|a\n" for row in table)
    )
    ends = slurm.accounted(["7", "9"])
    assert {job: (end.name, end.state) for job, end in ends.items()} == {
        job: ("a", state) for job, state in expected.items()
    }
    for end in ends.values():
        assert (end.exit_code, end.signal, end.node) == (1, 9, "n3")
        assert (end.start, end.end) == ("Unknown", "2026-01-01T00:00:00")


@pytest.mark.parametrize(
    ("codes", "exit_code", "killed"),
    [
        ("9:0|0:9", 9, 9),  # what srun says of a task that was killed
        ("9:0|9:0", 9, 0),  # a line of --setup that ended so
        ("0:9|0:0", 0, 9),
        ("137:0|0:0", 137, 0),
        ("0:0|0:9", 0, 0),  # it ended well in spite of a step
        ("1:0|", 1, 0),
    ],
)
def test_the_signal_that_killed_a_job_or_its_step(monkeypatch, codes, exit_code, killed):
    printing(monkeypatch, f"7_0|FAILED|{codes}|n3|Unknown|Unknown|a\n")
    (end,) = slurm.accounted(["7"]).values()
    assert (end.exit_code, end.signal) == (exit_code, killed)


def test_a_job_is_found_by_its_name_in_the_queue_or_in_the_accounts(fake, tmp_path):
    send(fake, tmp_path, name="kd-other")
    job = send(fake, tmp_path, name="kd-wanted")
    assert slurm.named("kd-wanted") == job
    assert fake.calls("sacct") == []
    fake.move(job, "COMPLETED")
    fake.purge(job)
    assert slurm.named("kd-wanted") == job
    assert slurm.named("kd-nobody") is None
    fake.set(accounting=False)
    assert slurm.named("kd-wanted") is None


def test_an_end_is_only_believed_where_slurm_says_so(fake, tmp_path):
    job = send(fake, tmp_path)
    raw = fake.environment(f"{job}_0")["SLURM_JOB_ID"]
    for state in ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED"):
        fake.move(raw, state)
        assert not slurm.has_ended(raw)
        assert slurm.state_of(raw) == state
    fake.move(raw, "NODE_FAIL")
    assert slurm.has_ended(raw)
    fake.purge(job)
    assert slurm.has_ended(raw)
    assert slurm.state_of(raw) == ""
    fake.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    assert not slurm.has_ended(raw)


def test_cancel(fake, tmp_path):
    job = send(fake, tmp_path, tasks=3)
    slurm.cancel([f"{job}_0", f"{job}_2", "99999_1"])
    assert fake.queue == {f"{job}_1": "PENDING"}


def test_many_tasks_are_cancelled_some_at_a_time(fake):
    slurm.cancel([f"7_{i}" for i in range(450)])
    assert [len(call) - 1 for call in fake.calls("scancel")] == [200, 200, 50]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scancel: error: Kill job error on job id 7: Invalid job id specified", None),
        ("scancel: error: Access/permission denied", r"^scancel: Access/permission denied$"),
    ],
    ids=["gone", "denied"],
)
def test_what_cannot_be_cancelled(fake, text, said):
    fake.refuse("scancel", text)
    if said is None:
        slurm.cancel(["7_0"])
    else:
        with pytest.raises(SlurmError, match=said):
            slurm.cancel(["7_0"])


def test_requeue(fake, tmp_path):
    job = send(fake, tmp_path, tasks=1)
    raw = fake.environment(f"{job}_0")["SLURM_JOB_ID"]
    fake.move(raw, "RUNNING")
    slurm.requeue(raw)
    assert fake.queue == {f"{job}_0": "PENDING"}
    assert fake.environment(f"{job}_0")["SLURM_RESTART_COUNT"] == "1"
    with pytest.raises(SlurmError, match=r"^scontrol: Invalid job id specified for job 77$"):
        slurm.requeue("77")


def test_the_user_is_known_where_no_name_is(monkeypatch):
    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(slurm.pwd, "getpwuid", unknown)
    assert slurm.user().isdigit()


# ---- the fake itself does as SLURM 22.05 does ----------------------------------------------------


@pytest.mark.parametrize(
    ("end", "purged", "queued"),
    [
        (None, False, ["Dependency"] * 2),
        ("RUNNING", False, ["Dependency"] * 2),
        ("COMPLETED", False, ["Priority"] * 2),
        ("FAILED", False, []),  # sbatch says all is well, and the array vanishes
        ("TIMEOUT", False, []),
        ("FAILED", True, ["Priority"] * 2),  # nobody remembers: the students run
    ],
    ids=str,
)
def test_what_becomes_of_a_dependency(fake, tmp_path, end, purged, queued):
    teacher = send(fake, tmp_path, tasks=1)
    if end:
        fake.move(teacher, end)
    if purged:
        fake.purge(teacher)
    job = send(fake, tmp_path, after=f"{teacher}_0")
    assert [task.reason for task in slurm.queue([job]).values()] == queued
