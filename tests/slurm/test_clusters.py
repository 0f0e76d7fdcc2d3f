"""Two real clusters with the same accounts: jobs for one, sent and looked after from the other."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments import slurm
from experiments.cluster import submitted
from tests.slurm import dev_cluster
from tests.slurm.dev_cluster import DevCluster
from tests.slurm.test_submit import call, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two() -> Iterator[DevCluster]:
    if "KD_FAULTS" not in os.environ:
        pytest.skip("starts two clusters: KD_FAULTS=1; cluster/test_clusters.py has a stand-in")
    if reason := dev_cluster.missing():
        pytest.skip(reason)
    with dev_cluster.running(clusters=2) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def here(two: DevCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The controller of dev is this shell's."""
    monkeypatch.setenv("SLURM_CONF", two.env["SLURM_CONF"])
    for remembered in (slurm.config, slurm.others):
        remembered.cache_clear()
    yield
    for remembered in (slurm.config, slurm.others):
        remembered.cache_clear()


def queued(cluster: str) -> list[str]:
    command = ("squeue", "-M", cluster, "-h", "-r", "-t", "PD,R", "-o", "%F_%K")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    ("variables", "flags"),
    [
        ({"SLURM_CLUSTERS": "dev2"}, ()),
        ({"SBATCH_CLUSTERS": "dev2"}, ()),
        ({}, ("--sbatch", "clusters=dev2")),
        ({}, ("--sbatch", "M=dev2")),
        ({}, ("--sbatch", "clusters=dev2", "--sbatch", "parsable")),
    ],
    ids=["variable", "sbatch's variable", "option", "short option", "parsable"],
)
def test_each_job_is_sent_once_and_found_and_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], flags: tuple[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    matrix = write(tmp_path, methods=["vanilla", "kd"], trials=1)
    held = ("--yes", "--no-timing", "--sbatch", "hold", *flags)
    sent = call("submit", matrix, *held)
    assert sent.code == 0, sent.out + sent.err
    jobs = submitted.load(tmp_path / "runs")
    assert {job.cluster for job in jobs} == {"dev2"}
    tasks = {f"{job.job}_{i}" for job in jobs for i in range(len(job.tasks))}
    assert set(queued("dev2")) == tasks
    assert "nothing to send" in call("submit", matrix, *held).out
    assert f"{len([r for j in jobs for ids in j.tasks for r in ids])} pending" in (
        call("status", matrix).out
    )
    cancelled = call("cancel", matrix, "--yes")
    assert cancelled.code == 0, cancelled.err
    assert (queued("dev"), queued("dev2")) == ([], [])


def test_the_results_come_from_the_other_cluster(tmp_path: Path) -> None:
    matrix = write(tmp_path, methods=["vanilla"], trials=1)
    sent = call("submit", matrix, "--yes", "--no-timing", "--wait", "--sbatch", "clusters=dev2,dev")
    assert sent.code == 0, sent.out + sent.err
    assert "1 done" in sent.out
    (job,) = submitted.load(tmp_path / "runs")
    assert job.cluster in ("dev", "dev2")
