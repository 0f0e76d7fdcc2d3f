"""What the runs directory can do, how much fits, and which disks are local."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from experiments.doctor import disk
from experiments.doctor.disk import Need
from experiments.doctor.finding import FAIL, OK, WARN


@pytest.mark.parametrize("name", ["", "new/below"])
def test_a_good_directory(tmp_path, name):
    finding = disk.check_runs(tmp_path / name)
    assert finding.level == OK, finding
    assert ("to be created" in finding.message) == bool(name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_or_no_permission(monkeypatch, tmp_path):
    (tmp_path / "runs").write_text("")
    finding = disk.check_runs(tmp_path / "runs")
    assert (finding.level, "is a file, expected a directory" in finding.message) == (FAIL, True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    finding = disk.check_runs(tmp_path)
    assert finding.level == FAIL
    assert f"no permission to write in {tmp_path}" in finding.message


def refusing(number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("call", "broken", "message"),
    [
        ("link", refusing(errno.EIO), "Input/output error"),
        ("link", lambda a, b: b.write_text(a.read_text()), "a link replaces an existing file"),
        ("replace", lambda a, b: None, "a renamed file keeps its old contents"),
        ("fsync", refusing(errno.ENOSPC), "the disk or your quota is full"),
        ("fsync", refusing(errno.EDQUOT), "the disk or your quota is full"),
    ],
)
def test_a_file_system_that_does_not_suffice(monkeypatch, tmp_path, call, broken, message):
    monkeypatch.setattr(os, call, broken)
    finding = disk.check_runs(tmp_path)
    assert (finding.level, message in finding.message) == (FAIL, True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_links_suffices(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    finding = disk.check_runs(tmp_path)
    assert finding.level == OK
    assert "no hard links (Operation not permitted): results are published by" in finding.message
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_exclusive_creation(monkeypatch, tmp_path):
    real = os.open
    monkeypatch.setattr(os, "open", lambda p, flags, *m: real(p, flags & ~os.O_EXCL, *m))
    assert disk.try_operations(tmp_path) == "O_EXCL creates the same file twice"


@pytest.mark.parametrize(
    ("free", "need", "level"),
    [
        (50e9, Need(), OK),
        (0.5e9, Need(), WARN),
        (5e9, Need(100, 10**9), OK),
        (3e9, Need(100, 10**9), WARN),  # the weights fit, checkpoints beside them do not
        (0.9e9, Need(100, 10**9), FAIL),
    ],
)
def test_space(monkeypatch, tmp_path, free, need, level):
    usage = type(shutil.disk_usage(tmp_path))(10**12, 0, int(free))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    finding = disk.check_space(tmp_path / "not" / "yet", need)
    assert finding.level == level
    assert ("100 runs write 1.0 GB, at most 4.0 GB" in finding.message) == bool(need.runs)


def test_space_for_predictions(monkeypatch, tmp_path):
    usage = type(shutil.disk_usage(tmp_path))(10**12, 0, 19 * 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    finding = disk.check_space(tmp_path, Need(100, 10**9, 10**9))
    assert finding.level == FAIL
    assert "100 runs write 2.0 GB, at most 5.0 GB while all are running" in finding.message


def test_local_disks(monkeypatch, tmp_path):
    monkeypatch.setattr(disk, "kind_of", lambda path: "xfs" if "data" in path.name else "nfs4")
    finding = disk.check_shared(Path("/home/runs"), Path("/home/data"))
    assert (finding.level, finding.message) == (WARN, "nodes may not see data /home/data (xfs)")
    assert disk.check_shared(Path("/home/runs"), Path("/home/d")).level == OK


@pytest.mark.skipif(shutil.which("findmnt") is None, reason="needs util-linux")
def test_the_kind_of_a_file_system(monkeypatch, tmp_path):
    assert disk.kind_of(Path("/proc/none/below")) == "proc"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert disk.kind_of(tmp_path) == ""
