"""SLURM's answers, judged: texts as SLURM 22.05 prints them."""

from __future__ import annotations

import socket

import pytest

from experiments import slurm
from experiments.doctor import slurm as slurm_checks
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.doctor.slurm import Partition
from experiments.matrix.slurm_options import SlurmOptions

SINFO = """batch*|up|1-00:00:00|1/3/0/4
gpu|up|infinite|1.2K/0/12/1.3K
dead|up|30:00|0/0/4/4
closed|down|1:00:00|0/4/0/4
"""


def options(**given):
    return SlurmOptions.model_validate(given)


def answering(monkeypatch, answer):
    """Every command of SLURM prints this text or raises this error."""

    def call(*_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(slurm, "call", call)


def test_partitions_are_parsed(monkeypatch):
    answering(monkeypatch, f"CLUSTER: far\n{SINFO}")
    batch, gpu, dead, closed = slurm_checks.read_partitions("far")
    assert batch == Partition("batch", "up", 1440, 4, 4)
    assert gpu == Partition("gpu", "up", None, 1200, 1300)
    assert (dead.minutes, dead.up, closed.state) == (30, 0, "down")


@pytest.mark.parametrize(
    ("chosen", "refused", "levels", "words", "others"),
    [
        (["batch"], [], [OK], "24 h, 4 of 4 nodes up", ["gpu", "dead", "closed"]),
        (["gpu"], [], [OK], "no limit", ["batch", "dead", "closed"]),
        (["batch", "gpu"], [], [OK, OK], "gpu", ["dead", "closed"]),
        (["dead"], [], [WARN], "0 of 4 nodes up", ["batch", "gpu", "closed"]),
        (["batch", "closed"], [], [OK, WARN], "down", ["gpu", "dead"]),
        (["closed"], ["partition closed"], [FAIL], "as submit says", ["batch", "gpu", "dead"]),
        (["closed", "dead"], ["partition closed,dead"], [FAIL], "submit", ["batch", "gpu"]),
        (["batch"], ["time"], [FAIL, OK], "partition batch: 24 h", ["gpu", "dead", "closed"]),
        ([], ["partition"], [FAIL], "submit", ["batch", "gpu", "dead", "closed"]),
    ],
)
def test_the_chosen_partitions(monkeypatch, chosen, refused, levels, words, others):
    """A partition is described once: by what stands in the way of its jobs, or by what it is."""
    answering(monkeypatch, SINFO)
    problems = [Finding(FAIL, subject, "as submit says") for subject in refused]
    *found, last = slurm_checks.check_partitions(slurm_checks.read_partitions(), chosen, problems)
    assert [f.level for f in found] == levels
    assert any(words in str(f) for f in found)
    assert [part.partition(" (")[0] for part in last.message.split("; ")] == others


@pytest.mark.parametrize(
    ("accounts", "given", "enforced", "level"),
    [
        (["dev", "other"], {}, "associations", OK),
        (["dev"], {"account": "DEV"}, "associations,limits", OK),
        (["dev"], {"account": "deb"}, "associations", FAIL),
        ([], {}, "associations", FAIL),
        ([], {}, "none", OK),
        ([], {"account": "any"}, "none", OK),
        (slurm.SlurmError("sacctmgr: no answer"), {}, "none", WARN),
    ],
)
def test_account(monkeypatch, accounts, given, enforced, level):
    config = {"ClusterName": "dev", "AccountingStorageEnforce": enforced}
    monkeypatch.setattr(slurm, "config", lambda: config)
    if isinstance(accounts, list):
        accounts = "\n".join([*(f"dev|{name}" for name in accounts), "another|far"])
    answering(monkeypatch, accounts)
    finding = slurm_checks.check_account(options(**given))
    assert finding.level == level
    assert "far" not in finding.message


def test_no_commands_and_no_answer(monkeypatch):
    monkeypatch.setattr(slurm, "is_here", lambda: False)
    assert slurm_checks.check_controller().level == WARN
    monkeypatch.setattr(slurm, "is_here", lambda: True)
    answering(monkeypatch, slurm.SlurmError("scontrol: Munge encode failed; **; ** RESTORE"))
    finding = slurm_checks.check_controller()
    assert (finding.level, finding.message) == (FAIL, "scontrol: Munge encode failed")


def test_nodes(monkeypatch):
    own = socket.gethostname().partition(".")[0]
    answering(monkeypatch, f"{own}\n")
    assert slurm_checks.is_only_node()
    answering(monkeypatch, f"{own}\nnode2\n")
    assert not slurm_checks.is_only_node()


# ---- sbatch --test-only --------------------------------------------------------------------------

SBATCH = """#!/bin/sh
[ "$1" = --test-only ] && grep -q '^#SBATCH --partition=gpu$' "$2" || exit 9
[ -z "$SBATCH_PARTITION$SLURM_JOB_ID" ] || exit 8
[ "$SBATCH_ACCOUNT" = x ] && [ "$SLURM_CONF" = kept ] || exit 7
echo "sbatch: {message}" >&2
exit {code}
"""


@pytest.mark.parametrize(
    ("message", "code", "level"),
    [
        ("Job 9 to start at 2026-01-01T00:00:00 using 1 processors on nodes n1", 0, OK),
        ("allocation failure: Invalid qos specification", 1, FAIL),
        ("error: AssocMaxSubmitJobLimit\nallocation failure: Job violates policy", 1, WARN),
    ],
)
def test_sbatch_judges_in_the_environment_of_submit(monkeypatch, tmp_path, message, code, level):
    script = tmp_path / "sbatch"
    script.write_text(SBATCH.format(message=message, code=code))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SBATCH_ACCOUNT", "x")
    monkeypatch.setenv("SBATCH_PARTITION", "cpu")
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    monkeypatch.setenv("SLURM_CONF", "kept")
    finding = slurm_checks.check_sbatch(options(partition="gpu"))
    assert finding.level == level, finding
    assert "allocation failure" not in finding.message
