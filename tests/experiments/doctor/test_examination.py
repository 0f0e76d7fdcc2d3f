"""`benchmark.py doctor` as a user sees it, with and without SLURM; no check may end it early."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from experiments import environment, slurm
from experiments.doctor import examination, machine, packages
from experiments.doctor import slurm as slurm_checks
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.matrix import slurm_options
from tests.datasets import image_files
from tests.experiments import cli

GOOD = Finding(OK, "x", "good")
ANSWERS = {
    "scontrol ping": "Slurmctld(primary) at vm is UP\n",
    "scontrol show": "ClusterName = dev\nSLURM_VERSION = 22.05.8\n",
    "sinfo -h -o %P": "batch*|up|1-00:00:00|0/4/0/4\nurgent|up|infinite|0/4/0/4\n",
    "sinfo -h -o %n": "node1\nnode2\n",
    "sinfo -h -a -e": "batch|4|16000|(null)\nurgent|4|16000|(null)\n",
    "scontrol -a --oneliner show partition": "\n".join(
        [
            "PartitionName=batch Default=YES State=UP MaxTime=1-00:00:00 DefaultTime=NONE",
            "PartitionName=urgent Default=NO State=UP MaxTime=UNLIMITED DefaultTime=NONE",
        ]
    ),
    "sacctmgr": "dev|group\n",
}


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch, tmp_path):
    """A clean checkout on a machine without SLURM, GPU or site file; checks are cheap."""
    clean = {"commit": "a" * 40, "dirty": False, "changes": None}
    monkeypatch.setattr(environment, "code", lambda: clean)
    monkeypatch.setattr(machine, "find_gpus", lambda: ([], ""))
    monkeypatch.setattr(machine, "find_driver", lambda: "")
    monkeypatch.setattr(slurm, "is_here", lambda: False)
    monkeypatch.setattr(packages, "findings", lambda: GOOD)
    monkeypatch.setattr(slurm_options, "CHECKOUT", tmp_path)


@pytest.fixture
def on_slurm(monkeypatch):
    """A SLURM with canned answers; yields them, to be changed."""
    answers = dict(ANSWERS)

    def call(*command):
        line = " ".join(command)
        answer = next(text for key, text in answers.items() if line.startswith(key))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def config():
        pairs = (line.partition(" = ") for line in call("scontrol", "show").splitlines())
        return {key: value for key, _, value in pairs}

    monkeypatch.setattr(slurm, "is_here", lambda: True)
    monkeypatch.setattr(slurm_checks, "check_sbatch", lambda options: GOOD)
    monkeypatch.setattr(slurm, "call", call)
    monkeypatch.setattr(slurm, "config", config)
    return answers


def examine(folder, *more):
    places = ("--runs", str(folder / "runs"), "--data", str(folder / "data"))
    called = cli.call("doctor", *places, *more)
    assert "Traceback" not in called.out + called.err
    assert called.err == ""
    assert called.code == bool(at(called, FAIL))
    return called


def at(called, level):
    """What the findings of a level say."""
    return [line[6:] for line in called.out.splitlines() if line.startswith(f"{level:<4}  ")]


def subjects(called, level):
    return [line.partition(":")[0] for line in at(called, level)]


def test_without_anything(tmp_path):
    called = examine(tmp_path)
    assert subjects(called, WARN) == ["GPU", "SLURM"]
    assert called.out.splitlines()[-1].startswith("9 checks: 7 ")
    assert list(tmp_path.iterdir()) == []


def test_with_a_matrix(tmp_path):
    source = cli.write(tmp_path)
    called = examine(tmp_path, str(source))
    assert called.code == 0
    assert "7 runs: 7 to do" in called.out
    assert "7 runs write" in called.out
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.yaml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pairs: [a -> b]\ndataset: fake\n", "methods: missing"),
        ("{", "matrix.yaml"),
        ("", "matrix.yaml"),
    ],
)
def test_a_broken_matrix_does_not_end_it(tmp_path, text, words):
    (tmp_path / "matrix.yaml").write_text(text)
    called = examine(tmp_path, str(tmp_path / "matrix.yaml"))
    (failure,) = at(called, FAIL)
    assert words in failure
    assert "runs directory" in called.out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pair": [], "trials": 0}, ["unknown key: did you mean pairs?", "at least 1, got 0"]),
        ({"methods": ["fitnit", "kdd"]}, ["did you mean fitnet", "unknown method 'kdd'"]),
    ],
)
def test_each_mistake_in_a_matrix_is_a_finding(tmp_path, changes, words):
    failures = at(examine(tmp_path, str(cli.write(tmp_path, **changes))), FAIL)
    assert len(failures) == len(words)
    for failure, word in zip(failures, words, strict=True):
        assert failure.startswith(f"matrix: {tmp_path / 'matrix.yaml'}: ")
        assert word in failure


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"methods": ["fitnit"]}, "did you mean fitnet"), ({"dataset": {"name": "cifar100"}}, "data")],
)
def test_a_matrix_that_cannot_be_trained(tmp_path, changes, words):
    (failure,) = at(examine(tmp_path, str(cli.write(tmp_path, **changes))), FAIL)
    assert failure.startswith("matrix: ")
    assert words in failure


def test_every_failure_says_how_to_fix_it(tmp_path):
    source = cli.write(tmp_path, methods=["fitnit"])
    (tmp_path / "runs").write_text("")
    (tmp_path / "site.yaml").write_text("partitio: x\n")
    called = examine(tmp_path, str(source), "--device", "cuda")
    lines = called.out.splitlines()
    failures = [i for i, line in enumerate(lines) if line.startswith(FAIL)]
    assert [lines[i].split()[1] for i in failures] == ["site", "GPU:", "matrix:", "runs"]
    assert all(lines[i + 1].startswith("      -> ") for i in failures)


def test_plugins_are_loaded_without_a_matrix(tmp_path, own_registry):
    (tmp_path / "good.py").write_text((Path(__file__).parents[1] / "my_method.py").read_text())
    called = examine(tmp_path, "--plugin", str(tmp_path / "good.py"))
    assert "plugins" in subjects(called, OK)
    (failure,) = at(examine(tmp_path, "--plugin", str(tmp_path / "gone.py")), FAIL)
    assert "gone.py" in failure


# ---- with SLURM ----------------------------------------------------------------------------------


def test_a_good_cluster(tmp_path, on_slurm, monkeypatch):
    monkeypatch.setattr(examination.disk, "kind_of", lambda path: "ext4")
    called = examine(tmp_path, "--partition", "urgent")
    assert at(called, FAIL) == []
    assert "cluster dev, SLURM 22.05.8" in called.out
    assert "partition urgent: no limit, 4 of 4 nodes up" in called.out
    assert "SLURM options: partition urgent;" in called.out
    assert f"nodes may not see runs {tmp_path}/runs (ext4)" in called.out


def test_the_site_file_and_the_matrix_are_read(tmp_path, on_slurm):
    (tmp_path / "site.yaml").write_text("partition: nope\ngpus: 1\n")
    source = cli.write(tmp_path, slurm={"account": "group"})
    called = examine(tmp_path, str(source))
    assert "partition nope, account group, gpus 1; jobs compute on a GPU" in called.out
    assert "partition nope" in subjects(called, FAIL)


@pytest.mark.parametrize(
    ("slurm_block", "words"),
    [
        ({"partition": "bach"}, "partition bach: none that you can see"),
        ({"time": "2-00"}, "time: 2,880 minutes, but partition batch allows 1,440 minutes"),
        ({"mem": "20G"}, "mem: 20G (20480 MB) on a node, and the largest of batch has 16000"),
        ({"cpus": 3, "processes": 2}, "cpus: a job asks for 6 on a node"),
        ({"gpus": 1}, "gpus: a job asks for 1, and batch has none"),
    ],
)
def test_what_submit_would_refuse_fails_here(tmp_path, on_slurm, slurm_block, words):
    processes = {"processes": slurm_block.pop("processes", 1)}
    called = examine(tmp_path, str(cli.write(tmp_path, slurm=slurm_block, **processes)))
    failures = at(called, FAIL)
    assert sum(line.startswith(words) for line in failures) == 1
    assert not [line for line in failures if line.startswith("partitions")]


def test_a_controller_that_is_down_ends_only_its_own_part(tmp_path, on_slurm):
    on_slurm["scontrol ping"] = slurm.SlurmError("scontrol: Slurmctld(primary) at vm is DOWN")
    called = examine(tmp_path)
    assert subjects(called, FAIL) == ["SLURM"]
    assert "partition" not in called.out
    assert "runs directory" in called.out


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (slurm.SlurmError("Protocol authentication error"), "partitions: Protocol authentication"),
        ("PARTITION AVAIL\n", "partitions: this check itself failed: ValueError"),
    ],
)
def test_an_answer_that_nobody_expects(tmp_path, on_slurm, answer, words):
    on_slurm["sinfo -h -o %P"] = answer
    called = examine(tmp_path)
    assert at(called, FAIL)[0].startswith(words)
    assert "runs directory" in called.out


# ---- no check may hang or end the others ---------------------------------------------------------


def examination_with(**more):
    arguments: Mapping[str, object] = {"partition": None, "debug": False, **more}
    places = {"runs": environment.CHECKOUT, "data": environment.CHECKOUT}
    return examination.Examination(argparse.Namespace(**places, **arguments))


def test_a_check_that_hangs_is_a_finding():
    forever = threading.Event()
    start = time.monotonic()
    (finding,) = examination_with().run("disk", forever.wait, timeout=0.05)
    assert time.monotonic() - start < 5
    assert (finding.level, finding.subject) == (FAIL, "disk")
    assert finding.message == "did not answer within 0.05 s"
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

    (finding,) = examination_with().run("x", fail)
    assert (finding.level, words in finding.message) == (FAIL, True)


def test_debug_shows_the_traceback_of_a_broken_check():
    def fail():
        raise KeyError("a")

    with pytest.raises(KeyError):
        examination_with(debug=True).run("x", fail)


def test_names_that_a_terminal_cannot_show(tmp_path):
    called = cli.call("doctor", "--runs", str(tmp_path / "caf\udce9"))
    assert "caf\\xe9" in called.out


def test_a_finding_is_one_line_and_its_fix_another():
    assert str(Finding(WARN, "a", "b\n  c", "d\ne")) == "WARN  a: b c\n      -> d e"
    assert str(Finding(OK, "a", "b")) == "OK    a: b"


# ---- every image file ----------------------------------------------------------------------------


def test_a_bad_image_file_fails_the_examination(tmp_path):
    image_files.imagenet(tmp_path / "data/mine", train=2, test=2)
    (tmp_path / "data/mine/val" / image_files.CLASSES[0] / "x.jpg").write_bytes(b"<html>")
    path = cli.write(tmp_path, dataset={"name": "folder", "folder": "mine", "image_size": 32})
    places = ("--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs"))
    called = cli.call("doctor", str(path), "--images", *places, "--device", "cpu")
    assert called.code == 1
    assert "x.jpg: cannot be read as an image (a web page" in called.out
    assert "images: PNG by content" in called.out
    called = cli.call("doctor", "--images", *places)
    assert called.code == 2
    assert "--images looks through a matrix's data set: name the matrix, too" in called.err
