"""SLURM's tables, judged: texts as SLURM 22.05 prints them."""

from __future__ import annotations

import socket

import pytest

from experiments import slurm
from experiments.doctor import slurm as slurm_checks
from experiments.doctor.finding import FAIL, OK, WARN
from experiments.doctor.slurm import Association, Partition
from experiments.matrix.slurm_options import SlurmOptions

SINFO = """batch*|up|1-00:00:00|1/3/0/4|REQUEUE
gpu|up|infinite|1.2K/0/12/1.3K|OFF
dead|up|30:00|0/0/4/4|OFF
closed|down|1:00:00|0/4/0/4|CANCEL
"""
CONFIG = {
    "ClusterName": "dev",
    "AccountingStorageEnforce": "associations,limits",
    "KillWait": "30 sec",
    "JobRequeue": "0",
    "PreemptType": "preempt/partition_prio",
}
BATCH, GPU, DEAD, CLOSED = slurm_checks.partitions(SINFO)


def options(**given):
    return SlurmOptions.model_validate(given)


def test_partitions():
    assert Partition("batch", True, "up", 1440, 4, 4, "REQUEUE") == BATCH
    assert Partition("gpu", False, "up", None, 1200, 1300, "OFF") == GPU
    assert (DEAD.minutes, DEAD.up, CLOSED.state) == (30, 0, "down")


@pytest.mark.parametrize(
    ("given", "levels", "words"),
    [
        ({}, [OK, OK], "batch"),
        ({"partition": "gpu"}, [OK, OK], "no limit"),
        ({"partition": "batch,gpu"}, [OK, OK, OK], "gpu"),
        ({"partition": "bach"}, [FAIL, OK], "did you mean batch?"),
        ({"partition": "dead"}, [FAIL, OK], "0 of 4 nodes up"),
        ({"partition": "closed"}, [FAIL, OK], "down"),
        ({"time": "2-0"}, [FAIL, OK], "--time 1440"),
        ({"time": "2-0", "partition": "gpu"}, [OK, OK], "gpu"),
    ],
)
def test_the_chosen_partition(given, levels, words):
    found = slurm_checks.partition([BATCH, GPU, DEAD, CLOSED], options(**given))
    assert [f.level for f in found] == levels
    assert any(words in str(f) for f in found[: len(levels) - 1])


def test_no_default_partition_and_none_at_all():
    (chosen, _) = slurm_checks.partition([GPU], options())
    assert (chosen.level, "gpu" in chosen.mend) == (FAIL, True)
    (none,) = slurm_checks.partition([], options())
    assert none.level == FAIL


@pytest.mark.parametrize(
    ("mode", "kind", "level"),
    [
        ("REQUEUE", "preempt/partition_prio", OK),
        ("CANCEL", "preempt/partition_prio", WARN),
        ("CANCEL", "preempt/none", OK),
    ],
)
def test_preemption(mode, kind, level):
    place = Partition("batch", True, "up", None, 1, 1, mode)
    assert slurm_checks.preemption(place, {**CONFIG, "PreemptType": kind}).level == level


@pytest.mark.parametrize(
    ("accounts", "given", "enforce", "level"),
    [
        (["dev", "other"], {}, "associations", OK),
        (["dev"], {"account": "DEV"}, "associations,limits", OK),
        (["dev"], {"account": "deb"}, "associations", FAIL),
        ([], {}, "associations", FAIL),
        ([], {}, "none", OK),
        ([], {"account": "any"}, "none", OK),
    ],
)
def test_account(accounts, given, enforce, level):
    found = [Association("dev", name) for name in accounts]
    elsewhere = Association("another", "far")
    config = {**CONFIG, "AccountingStorageEnforce": enforce}
    judged = slurm_checks.account([*found, elsewhere], options(**given), config)
    assert judged.level == level
    assert "far" not in judged.found


@pytest.mark.parametrize(
    ("size", "own", "level"),
    [("1001", None, OK), ("1001", 500, OK), ("1001", 2000, FAIL), ("0", None, FAIL)],
)
def test_arrays(size, own, level):
    assert slurm_checks.arrays({"MaxArraySize": size}, options(max_array_size=own)).level == level


@pytest.mark.parametrize(
    ("queued", "limit", "own", "level"),
    [(3, None, None, OK), (3, 10, None, OK), (3, 10, 3, WARN), (10, 10, None, WARN)],
)
def test_room(queued, limit, own, level):
    found = slurm_checks.room(queued, limit, options(max_jobs=own))
    assert found.level == level
    assert str(queued) in found.found


def test_a_limit_of_none_at_all():
    assert "administrators" in slurm_checks.room(0, 0, options()).mend


# ---- commands and controller ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "level"), [((), OK), (("srun",), FAIL), (slurm_checks.COMMANDS, WARN)]
)
def test_commands(missing, level):
    found = slurm_checks.commands(
        lambda name: None if name in missing else f"/opt/slurm/bin/{name}"
    )
    assert found.level == level


def test_a_configuration_that_is_not_there():
    found = slurm_checks.controller({"SLURM_CONF": "/none/slurm.conf"})
    assert (found.level, found.found) == (FAIL, "SLURM_CONF=/none/slurm.conf: no such file")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("scontrol: no answer within 60 seconds", "wait and look again"),
        ("scontrol: Munge encode failed: Failed to access ...", "munge"),
        ("scontrol: fetch_config: failed; Could not establish a configuration source", "module"),
    ],
)
def test_a_controller_that_does_not_answer(monkeypatch, said, words):
    def refuse(*_):
        raise slurm.SlurmError(said)

    monkeypatch.setattr(slurm, "call", refuse)
    found = slurm_checks.controller({})
    assert found.level == FAIL
    assert words in found.mend


def test_no_accounting_is_a_note(monkeypatch):
    def refuse(*_):
        raise slurm.SlurmError("sacct: Slurm accounting storage is disabled")

    monkeypatch.setattr(slurm, "call", refuse)
    assert slurm_checks.accounting().level == WARN
    monkeypatch.setattr(slurm, "call", lambda *_: "")
    assert slurm_checks.accounting().level == OK


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({"SLURM_CONF": "x"}, 0),
        ({"SLURM_JOB_ID": "5"}, 1),
        ({"SBATCH_ACCOUNT": "a", "SLURM_JOB_ID": "5"}, 1),
        ({"SBATCH_TIMELIMIT": "5", "SLURM_JOB_ID": "5"}, 2),
    ],
)
def test_shell(environ, count):
    assert [f.level for f in slurm_checks.shell(environ)] == [WARN] * count


def test_nodes(monkeypatch):
    own = socket.gethostname().partition(".")[0]
    monkeypatch.setattr(slurm, "call", lambda *_: f"{own}\n")
    assert not slurm_checks.nodes_are_elsewhere()
    monkeypatch.setattr(slurm, "call", lambda *_: f"{own}\nnode2\n")
    assert slurm_checks.nodes_are_elsewhere()


# ---- sbatch --test-only --------------------------------------------------------------------------

SBATCH = """#!/bin/sh
[ "$1" = --test-only ] && grep -q '^#SBATCH --partition=gpu$' "$2" || exit 9
[ -z "$SBATCH_PARTITION$SLURM_JOB_ID" ] || exit 8
[ "$SBATCH_ACCOUNT" = x ] && [ "$SLURM_CONF" = kept ] || exit 7
echo "sbatch: {said}" >&2
exit {code}
"""


@pytest.mark.parametrize(
    ("said", "code", "level"),
    [
        ("Job 9 to start at 2026-01-01T00:00:00 using 1 processors on nodes n1", 0, OK),
        ("allocation failure: Invalid qos specification", 1, FAIL),
        ("error: AssocMaxSubmitJobLimit\nallocation failure: Job violates policy", 1, WARN),
    ],
)
def test_sbatch_is_asked(monkeypatch, tmp_path, said, code, level):
    script = tmp_path / "sbatch"
    script.write_text(SBATCH.format(said=said, code=code))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, value in (
        ("SBATCH_ACCOUNT", "x"),
        ("SBATCH_PARTITION", "cpu"),
        ("SLURM_JOB_ID", "5"),
        ("SLURM_CONF", "kept"),
    ):
        monkeypatch.setenv(name, value)
    found = slurm_checks.trial(options(partition="gpu"))
    assert found.level == level, found
    assert "allocation failure" not in found.found
