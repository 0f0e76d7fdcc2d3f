"""What file systems can and cannot do, how much fits, who sees it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from experiments.doctor import disk
from experiments.doctor.disk import Free, Need
from experiments.doctor.finding import FAIL, OK, WARN

MOUNTINFO = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:50 / /home rw,relatime shared:1 master:2 - nfs4 server:/home rw,vers=4.2
41 27 0:51 / /scratch/my\040space rw - lustre mds:/fs rw
42 27 0:52 / /home/local rw - xfs /dev/sdb rw
43 27 0:53 / /home/local rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc", "ext4"),
        ("/home/me/runs", "nfs4"),
        ("/homes", "ext4"),
        ("/scratch/my space/runs", "lustre"),
        ("/home/local/x", "tmpfs"),
    ],
)
def test_mounted(path, kind):
    assert disk.mounted(MOUNTINFO, Path(path)) == kind


def test_without_mountinfo(monkeypatch, tmp_path):
    monkeypatch.setattr(disk, "MOUNTS", tmp_path / "none")
    assert disk.kind_of(tmp_path) == ""


# ---- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "new/below"])
def test_a_good_directory(tmp_path, name):
    (found,) = disk.runs(tmp_path / name, is_slurm=True)
    assert found.level == OK, found
    assert ("to be made" in found.found) == bool(name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_its_place(tmp_path):
    (tmp_path / "runs").write_text("")
    (found,) = disk.runs(tmp_path / "runs", is_slurm=False)
    assert found.level == FAIL
    assert "is a file, expected a directory" in found.found


def test_read_only(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda *_: False)
    (found,) = disk.runs(tmp_path, is_slurm=False)
    assert found.level == FAIL
    assert found.found == f"cannot be written: no permission to write in {tmp_path}"


def test_percent_is_bad_for_slurm_only(tmp_path):
    for is_slurm, level in ((True, FAIL), (False, WARN)):
        (found,) = disk.runs(tmp_path / "50%", is_slurm)
        assert (found.level, "%" in found.found) == (level, True)


def test_a_file_system_without_links(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (found,) = disk.runs(tmp_path, is_slurm=False)
    assert (found.level, found.found) == (FAIL, "Hard links: Operation not permitted")
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_replaces(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "link", lambda a, b: b.write_text(a.read_text()))
    (found,) = disk.runs(tmp_path, is_slurm=False)
    assert (found.level, found.found) == (FAIL, "a link replaces a file that is there")


def test_a_file_system_without_exclusive_creation(monkeypatch, tmp_path):
    real = os.open
    monkeypatch.setattr(os, "open", lambda p, flags, *m: real(p, flags & ~os.O_EXCL, *m))
    assert disk.exclusive(tmp_path) == "O_EXCL creates the same file twice"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(monkeypatch, tmp_path, number):
    def full(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(os, "link", lambda *_: full(0))
    (found,) = disk.runs(tmp_path, is_slurm=False)
    assert (found.level, found.found) == (FAIL, disk.FULL)


@pytest.mark.parametrize(("offset", "count"), [(0, 0), (50, 0), (100, 1), (-100, 1)])
def test_the_clock_of_the_file_system(monkeypatch, tmp_path, offset, count):
    real = disk.time.time
    monkeypatch.setattr(disk.time, "time", lambda: real() + offset)
    found = disk.clock(tmp_path)
    assert [f.level for f in found] == [WARN] * count
    assert not found or "100 seconds" in found[0].found


# ---- space ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "files", "need", "level"),
    [
        (50e9, 10**6, Need(), OK),
        (50e9, None, Need(100, 10**9), OK),
        (0.5e9, 10**6, Need(), WARN),
        (3e9, 10**6, Need(100, 10**9), WARN),  # the weights fit, checkpoints beside them do not
        (5e9, 10**6, Need(100, 10**9), OK),
        (0.9e9, 10**6, Need(100, 10**9), FAIL),
        (50e9, 1000, Need(100, 10**6), FAIL),
        (50e9, 1000, Need(10, 10**6), OK),
    ],
)
def test_space(free, files, need, level):
    found = disk.space(Free(int(free), files), need)
    assert found.level == level
    assert found.mend or level == OK


def test_free(tmp_path):
    assert disk.free(tmp_path / "not" / "yet").bytes > 0


# ---- who sees it ---------------------------------------------------------------------------------


def test_places_of_one_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(disk, "kind_of", lambda path: "xfs" if "data" in path.name else "nfs4")
    monkeypatch.setattr(disk.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    home = Path("/home/me")
    places = {"runs": tmp_path / "tmp" / "runs", "data": home / "data", "code": home / "code"}
    found = disk.shared(places)
    assert found.level == WARN
    assert f"runs {tmp_path}/tmp/runs (below {tmp_path}/tmp)" in found.found
    assert "data /home/me/data (xfs)" in found.found
    assert "code" not in found.found
    assert disk.shared({"code": home / "code"}).level == OK


def test_data_that_is_not_there_is_no_place(tmp_path):
    assert set(disk.places(tmp_path, tmp_path)) == {"runs", "data", "code", "Python"}
    assert "data" not in disk.places(tmp_path, tmp_path / "none")
