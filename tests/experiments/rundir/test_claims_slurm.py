"""Claims held by SLURM jobs: when SLURM proves their holders dead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from experiments.cluster import sbatch
from experiments.matrix.slurm_options import SlurmOptions
from experiments.rundir import claims
from tests.experiments.rundir.test_claims import by_another, grow_old


def send(fake, folder: Path, tasks: int = 1) -> str:
    """Submit an array to the fake SLURM; returns its id."""
    about = {"options": SlurmOptions(), "minutes": 5, "code": folder}
    folder.mkdir(exist_ok=True)
    return sbatch.send(folder, name="kd-x", tasks=tasks, **about).job


def inside(fake, monkeypatch, task: str) -> None:
    """Make this process a task of SLURM."""
    fake.move(task, "RUNNING", "n1")
    for name, value in fake.environment(task).items():
        monkeypatch.setenv(name, value)


def by_task(fake, directory: Path, task: str, cluster: str = "fake") -> Path:
    """The claim of a live task on another machine."""
    env = fake.environment(task)
    job = {"cluster": cluster, "job": env["SLURM_JOB_ID"], "task": task, "restart": 0}
    return by_another(directory, slurm=job)


@pytest.fixture
def run(tmp_path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_a_claim_names_its_task(fake, tmp_path, run, monkeypatch):
    job = send(fake, tmp_path / "a", tasks=3)
    inside(fake, monkeypatch, f"{job}_2")
    claim = claims.take(run)
    assert claims.job_of(claim.path) == f"{job}_2"
    assert claims._holder(claim.path)["slurm"] == {
        "cluster": "fake",
        "job": fake.environment(f"{job}_2")["SLURM_JOB_ID"],
        "task": f"{job}_2",
        "restart": 0,
    }


def test_a_job_without_an_array_has_its_id_only(run, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    assert claims.job_of(claims.take(run).path) == "77"


def test_outside_slurm_a_claim_names_no_job(fake, run):
    assert claims.job_of(claims.take(run).path) is None
    assert claims.job_of(run / "claim-0099") is None


def test_a_requeued_job_takes_its_own_claim_over_at_once(fake, tmp_path, run, monkeypatch):
    task = f"{send(fake, tmp_path / 'a')}_0"
    by_task(fake, run, task)
    inside(fake, monkeypatch, task)
    assert claims.take(run) is None  # the same start: held by a sibling process
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert claims.take(run).number == 4
    assert fake.calls("squeue") == []


@pytest.mark.parametrize(
    ("state", "taken"),
    [
        ("PENDING", False),
        ("RUNNING", False),
        ("COMPLETING", False),
        ("SUSPENDED", False),
        ("COMPLETED", True),
        ("NODE_FAIL", True),
        ("CANCELLED", True),
        ("purged", True),
    ],
)
@pytest.mark.parametrize("where", ["in a job", "at the login node"])
def test_another_job_is_dead_when_squeue_says_it_ended(
    fake, tmp_path, run, monkeypatch, where, state, taken
):
    task = f"{send(fake, tmp_path / 'a')}_0"
    by_task(fake, run, task)
    fake.move(task, "COMPLETED" if state == "purged" else state)
    if state == "purged":
        fake.purge(task.partition("_")[0])
    if where == "in a job":
        inside(fake, monkeypatch, f"{send(fake, tmp_path / 'b')}_0")
    claim = claims.take(run)
    assert (claim is not None) == taken


def test_while_slurm_does_not_answer_nothing_is_proven(fake, tmp_path, run):
    task = f"{send(fake, tmp_path / 'a')}_0"
    path = by_task(fake, run, task)
    fake.move(task, "COMPLETED")
    fake.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    assert claims.take(run) is None
    grow_old(path)
    assert claims.take(run).number == 4


@pytest.mark.parametrize("where", ["in a job", "at the login node", "without SLURM", "no answer"])
def test_a_job_of_another_cluster_is_not_proven_dead(fake, tmp_path, run, monkeypatch, where):
    task = f"{send(fake, tmp_path / 'a')}_0"
    path = by_task(fake, run, task, cluster="fake" if where == "without SLURM" else "other")
    fake.move(task, "COMPLETED")
    if where == "in a job":
        inside(fake, monkeypatch, f"{send(fake, tmp_path / 'b')}_0")
    elif where == "without SLURM":
        monkeypatch.setenv("PATH", str(tmp_path))
    elif where == "no answer":
        fake.refuse("scontrol", "slurm_load_ctl_conf error: Unable to contact slurm controller")
    assert claims.take(run) is None
    grow_old(path)
    assert claims.take(run).number == 4


def test_a_missing_job_of_another_user_may_be_hidden(fake, tmp_path, run, monkeypatch):
    task = f"{send(fake, tmp_path / 'a')}_0"
    by_task(fake, run, task)
    fake.purge(task.partition("_")[0])
    monkeypatch.setattr(os, "getuid", lambda: 4321)
    assert claims.take(run) is None


def test_a_claim_that_vanishes_meanwhile_is_taken_by_another_process(run, monkeypatch):
    by_another(run)
    is_alive = claims.is_alive

    def vanish(path: Path) -> bool:
        alive = is_alive(path)
        path.unlink()
        return alive

    monkeypatch.setattr(claims, "is_alive", vanish)
    assert claims.take(run) is None
    assert claims.job_of(run / "claim-0003") is None
