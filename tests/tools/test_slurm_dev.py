"""tools/slurm_dev.sh: its refusals anywhere; what its cluster promises, where that one is up.

Beside other tests on the same cluster: nothing here enters its queue or changes it. What starts
and kills daemons does so in a cluster of its own.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "slurm_dev.sh"
BASH = shutil.which("bash") or "/bin/bash"
OWN = ("SLURM_DEV_", "SLURM_CONF")  # what the caller's cluster left in the environment
Result = subprocess.CompletedProcess[str]


def slurm_dev(*words: str, **variables: str) -> Result:
    """The script with the variables named, and none of the caller's that it reads."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    return subprocess.run(
        [BASH, str(SCRIPT), *words],
        env={**plain, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )


def refusal(result: Result) -> str:
    """The one line said by a call that changed nothing."""
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return line


# Without a cluster


@pytest.mark.parametrize("words", [(), ("begin",), ("",)])
def test_the_verbs_are_named_where_none_is_given(words: tuple[str, ...]) -> None:
    line = refusal(slurm_dev(*words))
    for verb in ("install", "start", "stop", "status", "env", "kill-node", "start-node"):
        assert f" {verb}" in line


def test_missing_packages_are_said_in_a_line(short_folder: Path) -> None:
    nothing = str(short_folder)
    line = refusal(slurm_dev("start", PATH=nothing, SLURM_DEV_DIR=nothing))
    assert "apt-get install -y slurm-wlm munge slurmdbd mariadb-server" in line
    assert not list(short_folder.iterdir())


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("/tmp/" + "x" * 60, "too long"),
        ("/tmp/with space", "plain characters"),
        ("relative", "absolute"),
        ("/tmp/$(id)", "plain characters"),
    ],
)
def test_a_directory_unfit_for_sockets_is_refused(folder: str, reason: str) -> None:
    assert reason in refusal(slurm_dev("start", SLURM_DEV_DIR=folder))
    assert not Path(folder).exists()


def test_without_a_cluster_there_is_nothing_to_export(short_folder: Path) -> None:
    result = slurm_dev("env", SLURM_DEV_DIR=str(short_folder))
    assert (result.returncode, result.stdout) == (1, "")
    assert f"no cluster in {short_folder}" in result.stderr


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Shorter than pytest's: a cluster's sockets fit in."""
    folder = Path(tempfile.mkdtemp(prefix="sd-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def startable() -> None:
    if os.geteuid() != 0:
        pytest.skip("clusters are started by root")
    if shutil.which("slurmdbd") is None:
        pytest.skip("needs SLURM's packages: tools/slurm_dev.sh install")


@pytest.mark.usefixtures("startable")
@pytest.mark.parametrize(
    ("variable", "value"),
    [("SLURM_DEV_PORT", "80"), ("SLURM_DEV_NODES", "many"), ("SLURM_DEV_MIN_JOB_AGE", "1")],
)
def test_settings_out_of_range_are_refused(short_folder: Path, variable: str, value: str) -> None:
    settings = {"SLURM_DEV_DIR": str(short_folder), variable: value}
    assert f"{variable} has to be a number from" in refusal(slurm_dev("start", **settings))


@pytest.mark.usefixtures("startable")
def test_a_directory_with_other_things_is_left_alone(short_folder: Path) -> None:
    (short_folder / "thesis.tex").touch()
    line = refusal(slurm_dev("start", SLURM_DEV_DIR=str(short_folder)))
    assert "is not a cluster's" in line
    slurm_dev("stop", "--purge", SLURM_DEV_DIR=str(short_folder))
    assert [entry.name for entry in short_folder.iterdir()] == ["thesis.tex"]


@pytest.mark.usefixtures("startable")
def test_a_taken_port_is_named_before_anything_starts(short_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        result = slurm_dev("start", SLURM_DEV_DIR=str(short_folder), SLURM_DEV_PORT=port)
    assert result.returncode == 1
    assert f"port {port}, for slurmctld, is taken" in result.stderr
    assert " up" not in slurm_dev("status", SLURM_DEV_DIR=str(short_folder)).stdout


# With the cluster that is up


def configuration() -> Path | None:
    """SLURM_CONF's cluster where that is one of this tool's, else the default one if it is up."""
    if named := os.environ.get("SLURM_CONF"):
        return Path(named) if Path(named).with_name(".slurm-dev").exists() else None
    if slurm_dev("status").returncode != 0:
        return None
    return Path(slurm_dev("env").stdout.strip().partition("=")[2])


@pytest.fixture(scope="module")
def ask() -> Callable[..., Result]:
    """Runs one of SLURM's commands on the cluster."""
    conf = configuration()
    if conf is None:
        pytest.skip("no cluster is up: tools/slurm_dev.sh start")

    def run(*words: str) -> Result:
        env = {**os.environ, "SLURM_CONF": str(conf)}
        return subprocess.run(words, env=env, capture_output=True, text=True, timeout=60)

    return run


def test_every_node_is_in_both_partitions(ask: Callable[..., Result]) -> None:
    rows = [row.split() for row in ask("sinfo", "-hN", "-o", "%R %N").stdout.splitlines()]
    nodes = {name: {node for where, node in rows if where == name} for name in ("batch", "urgent")}
    assert nodes["batch"] == nodes["urgent"]
    assert len(nodes["batch"]) >= 3


def test_urgent_jobs_push_batch_jobs_out(ask: Callable[..., Result]) -> None:
    batch = ask("scontrol", "-o", "show", "partition", "batch").stdout
    urgent = ask("scontrol", "-o", "show", "partition", "urgent").stdout
    assert "PreemptMode=REQUEUE" in batch
    assert "Default=YES" in batch
    assert "PreemptMode=OFF" in urgent
    assert "PriorityTier=10 " in urgent
    assert "preempt/partition_prio" in ask("scontrol", "show", "config").stdout


def test_accounting_answers(ask: Callable[..., Result]) -> None:
    jobs = ask("sacct", "-nXP", "--format=jobid,state")
    assert (jobs.returncode, jobs.stderr) == (0, "")
    accounts = ask("sacctmgr", "-nP", "show", "assoc", "user=root", "format=account").stdout
    assert {"dev", "other"} <= set(accounts.split())


def would_run(ask: Callable[..., Result], *options: str) -> Result:
    """Checked by the controller like a submission, without one."""
    return ask("sbatch", "--test-only", *options, "--wrap", "true")


def test_arrays_end_at_index_nineteen(ask: Callable[..., Result]) -> None:
    accepted = would_run(ask, "--array=0-19")
    if "AssocMaxSubmitJobLimit" in accepted.stderr:
        pytest.skip("another test limits submissions right now")
    assert accepted.returncode == 0, accepted.stderr
    for indexes in ("0-20", "1-20"):
        refused = would_run(ask, f"--array={indexes}")
        assert refused.returncode != 0
        assert "Invalid job array specification" in refused.stderr


def test_an_unknown_account_is_refused(ask: Callable[..., Result]) -> None:
    refused = would_run(ask, "--account=nobodys")
    assert refused.returncode != 0
    assert "Invalid account" in refused.stderr


# A cluster of its own


def free_ports() -> str:
    """The lowest of some neighbouring ports that are free, away from a running cluster's."""
    for port in range(21000 + os.getpid() % 5000, 30000, 50):
        with socket.socket() as probe:
            if all(probe.connect_ex(("127.0.0.1", port + i)) != 0 for i in (0, 1, 11)):
                return str(port)
    raise AssertionError("no free ports")


def state_of(job: str, environment: dict[str, str]) -> str:
    words = ("squeue", "-h", "-j", job, "-o", "%T")
    return subprocess.run(words, env=environment, capture_output=True, text=True).stdout.strip()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture
def own_cluster(
    short_folder: Path, ask: Callable[..., Result], startable: None
) -> Iterator[dict[str, str]]:
    """What slurm_dev needs to find it. Only where the other one is up: there, clusters work."""
    variables = {
        "SLURM_DEV_DIR": str(short_folder),
        "SLURM_DEV_PORT": free_ports(),
        "SLURM_DEV_NODES": "1",
    }
    started = slurm_dev("start", **variables)
    assert started.returncode == 0, started.stderr
    assert started.stdout == f"export SLURM_CONF={short_folder}/slurm.conf\n"
    yield variables
    assert slurm_dev("stop", "--purge", **variables).returncode == 0
    assert not short_folder.exists()


def test_a_cluster_is_repaired_loses_a_node_and_leaves_nothing(own_cluster: dict[str, str]) -> None:
    folder = own_cluster["SLURM_DEV_DIR"]
    environment = {**os.environ, "SLURM_CONF": f"{folder}/slurm.conf"}
    assert "up already" in slurm_dev("start", **own_cluster).stderr

    words = ("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "setsid sleep 321")
    job = subprocess.run(words, env=environment, capture_output=True, text=True).stdout.strip()
    wait_for(lambda: state_of(job, environment) == "RUNNING")

    assert slurm_dev("kill-node", "n1", **own_cluster).returncode == 0
    status = slurm_dev("status", **own_cluster)
    assert status.returncode == 1
    assert "n1 down" in status.stdout.splitlines()

    repaired = slurm_dev("start", **own_cluster)
    assert "started n1;" in repaired.stderr
    assert slurm_dev("status", **own_cluster).returncode == 0
    wait_for(lambda: state_of(job, environment) == "RUNNING")  # requeued, again on n1

    assert slurm_dev("stop", **own_cluster).returncode == 0
    assert (
        folder not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    )
