"""`benchmark.py doctor` as a person sees it, with and without SLURM; nothing may end it early."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Mapping

import pytest

from experiments import environment, slurm
from experiments.doctor import examination, machine, packages
from experiments.doctor import slurm as slurm_checks
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.matrix import slurm_options
from tests.experiments import cli

WELL = Finding(OK, "x", "well")
ANSWERS = {
    "scontrol ping": "Slurmctld(primary) at vm is UP\n",
    "scontrol show": "ClusterName = dev\nMaxArraySize = 20\nSLURM_VERSION = 22.05.8\n",
    "sinfo -h -o %P": "batch*|up|1-00:00:00|0/4/0/4|REQUEUE\nurgent|up|infinite|0/4/0/4|OFF\n",
    "sinfo -h -o %n": "node1\nnode2\n",
    "sacctmgr": "dev|group\n",
    "squeue": "7_1\n7_2\n",
    "sacct": "",
}


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch, tmp_path):
    """A clean checkout on a machine without SLURM, GPU or site file; checks are cheap."""
    clean = {"commit": "a" * 40, "dirty": False, "changes": None}
    monkeypatch.setattr(environment, "code", lambda: clean)
    monkeypatch.setattr(machine, "look_for_gpus", machine.Gpus)
    monkeypatch.setattr(slurm, "is_here", lambda: False)
    commands = slurm_checks.commands
    monkeypatch.setattr(slurm_checks, "commands", lambda: commands(lambda name: None))
    monkeypatch.setattr(slurm_checks, "shell", list)
    monkeypatch.setattr(packages, "findings", lambda: [WELL])
    monkeypatch.setattr(slurm_options, "CHECKOUT", tmp_path)


@pytest.fixture
def on_slurm(monkeypatch):
    """A SLURM that answers with canned texts; returns them, to be changed."""
    answers = dict(ANSWERS)

    def call(*command):
        line = " ".join(command)
        answer = max((key for key in answers if line.startswith(key)), key=len)
        if isinstance(answers[answer], Exception):
            raise answers[answer]
        return answers[answer]

    def config():
        pairs = (line.partition(" = ") for line in call("scontrol", "show").splitlines())
        return {key: value for key, _, value in pairs}

    monkeypatch.setattr(slurm, "is_here", lambda: True)
    monkeypatch.setattr(slurm_checks, "commands", lambda: WELL)
    monkeypatch.setattr(slurm_checks, "trial", lambda options: WELL)
    monkeypatch.setattr(slurm, "call", call)
    monkeypatch.setattr(slurm, "config", config)
    monkeypatch.delenv("SLURM_CONF", raising=False)
    return answers


def examined(folder, *more):
    places = ("--runs", str(folder / "runs"), "--data", str(folder / "data"))
    called = cli.call("doctor", *places, *more)
    assert "Traceback" not in called.out + called.err
    assert called.err == ""
    return called


def levels(called, level):
    return [line[6:] for line in called.out.splitlines() if line.startswith(f"{level:<4}  ")]


def test_without_anything(tmp_path):
    called = examined(tmp_path)
    assert called.code == 0
    assert levels(called, FAIL) == []
    assert [line.partition(":")[0] for line in levels(called, WARN)] == ["GPU", "SLURM"]
    assert called.out.splitlines()[-1].endswith("7 ok, 2 to note")
    assert list(tmp_path.iterdir()) == []


def test_with_a_matrix(tmp_path):
    source = cli.write(tmp_path)
    called = examined(tmp_path, str(source))
    assert called.code == 0
    assert "7 runs: 7 to do" in called.out
    assert "7 runs leave" in called.out
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.yaml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("pairs: [a -> b]\n", "missing"), ("{", "matrix.yaml"), ("", "matrix.yaml")],
)
def test_a_broken_matrix_does_not_end_it(tmp_path, text, words):
    (tmp_path / "matrix.yaml").write_text(text)
    called = examined(tmp_path, str(tmp_path / "matrix.yaml"))
    assert called.code == 1
    (bad,) = levels(called, FAIL)
    assert words in bad
    assert "runs directory" in called.out


def test_every_bad_one_says_how_to_mend_it(tmp_path):
    source = cli.write(tmp_path, methods=["fitnit"])
    (tmp_path / "runs").write_text("")
    (tmp_path / "site.yaml").write_text("partitio: x\n")
    plugin = str(tmp_path / "gone.py")
    called = examined(tmp_path, str(source), "--device", "cuda", "--plugin", plugin)
    lines = called.out.splitlines()
    bad = [i for i, line in enumerate(lines) if line.startswith(FAIL)]
    assert [lines[i].split()[1] for i in bad] == ["site", "GPU:", "matrix:", "runs"]
    assert all(lines[i + 1].startswith("      -> ") for i in bad)


def test_plugins_without_a_matrix_are_loaded(tmp_path):
    assert "gone.py" in levels(examined(tmp_path, "--plugin", str(tmp_path / "gone.py")), FAIL)[0]


# ---- with SLURM ----------------------------------------------------------------------------------


def test_a_good_cluster(tmp_path, on_slurm):
    called = examined(tmp_path, "--partition", "urgent")
    assert called.code == 0
    assert levels(called, FAIL) == []
    told = called.out
    assert "cluster dev, SLURM 22.05.8" in told
    assert "partition urgent: no limit, 4 of 4 nodes up" in told
    assert "partition urgent;" in told
    assert "2 of yours in the queue" in told
    assert f"the nodes may not see: runs {tmp_path}/runs (below" in told


def test_the_site_file_and_the_matrix_are_read(tmp_path, on_slurm):
    (tmp_path / "site.yaml").write_text("partition: nope\ngpus: 1\n")
    source = cli.write(tmp_path, slurm={"account": "group", "setup": ["module load x"]})
    called = examined(tmp_path, str(source))
    shown = "partition nope, account group, gpus 1, setup module load x; jobs compute on a GPU"
    assert shown in called.out
    assert [line.partition(":")[0] for line in levels(called, FAIL)] == ["GPU", "partition nope"]


def test_a_controller_that_is_down_ends_only_its_own_part(tmp_path, on_slurm):
    on_slurm["scontrol ping"] = slurm.SlurmError("scontrol: Slurmctld(primary) at vm is DOWN")
    called = examined(tmp_path)
    assert called.code == 1
    assert len(levels(called, FAIL)) == 1
    assert "partition" not in called.out
    assert "runs directory" in called.out


@pytest.mark.parametrize(
    ("command", "level"), [("sinfo -h -o %P", FAIL), ("squeue", FAIL), ("sacct", WARN)]
)
def test_single_commands_that_refuse(tmp_path, on_slurm, command, level):
    before = len(levels(examined(tmp_path), level))
    on_slurm[command] = slurm.SlurmError("Protocol authentication error")
    called = examined(tmp_path)
    assert len(levels(called, level)) == before + 1
    assert "Protocol authentication error" in called.out


def test_a_table_that_nobody_expects(tmp_path, on_slurm):
    on_slurm["sinfo -h -o %P"] = "PARTITION AVAIL\n"
    called = examined(tmp_path)
    assert "partitions: this check itself failed: ValueError" in levels(called, FAIL)[0]
    assert "runs directory" in called.out


# ---- no check may hang or end the others ---------------------------------------------------------


def examine(**more):
    arguments: Mapping[str, object] = {"partition": None, "debug": False, **more}
    places = {"runs": environment.CHECKOUT, "data": environment.CHECKOUT}
    return examination.Examination(argparse.Namespace(**places, **arguments))


def test_a_check_that_hangs_is_left_behind():
    forever = threading.Event()
    start = time.monotonic()
    (found,) = examine().ask("disk", forever.wait, patience=0.05)
    assert time.monotonic() - start < 5
    assert (found.level, found.what) == (FAIL, "disk")
    assert "no answer within" in found.found
    forever.set()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(13, "Permission denied", "/x"), "Permission denied: '/x'"),
        (slurm.SlurmError("squeue: no"), "squeue: no"),
        (KeyError("a"), "this check itself failed: KeyError"),
    ],
)
def test_a_check_that_fails_is_a_finding(error, words):
    def fail():
        raise error

    (found,) = examine().ask("x", fail)
    assert found.level == FAIL
    assert words in found.found


def test_debug_shows_the_traceback_of_a_check_at_fault():
    def fail():
        raise KeyError("a")

    with pytest.raises(KeyError):
        examine(debug=True).ask("x", fail)


def test_names_that_a_terminal_cannot_show(tmp_path):
    called = cli.call("doctor", "--runs", str(tmp_path / "caf\udce9"))
    assert "caf\\udce9" in called.out


def test_findings_are_one_line_and_one_for_mending():
    assert str(Finding(WARN, "a", "b\n  c", "d\ne")) == "note  a: b c\n      -> d e"
    assert str(Finding(OK, "a", "b")) == "ok    a: b"
