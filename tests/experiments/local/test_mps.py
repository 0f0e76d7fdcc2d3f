"""CUDA MPS beside workers that share a GPU, with a stand-in for NVIDIA's program."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from experiments.local import mps

# Records its calls, what is on its input, and whose daemon it is.
PROGRAM = """#!/bin/sh
read -r said
echo "$* $said $CUDA_VISIBLE_DEVICES $CUDA_MPS_PIPE_DIRECTORY" >> "$RECORD"
test -z "$FAIL" -o "$1" != -d
"""
SHARED = ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]


@pytest.fixture
def record(tmp_path, monkeypatch) -> Path:
    """What the stand-in, first in PATH, was called for."""
    program = tmp_path / "bin" / mps.PROGRAM
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(mps.tempfile, "tempdir", None)
    monkeypatch.delenv(mps.PIPE, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "record"


def calls(record: Path) -> list[str]:
    return record.read_text().splitlines() if record.exists() else []


def left(record: Path) -> list[str]:
    return [path.name for path in record.parent.glob("kd-mps-*")]


def test_a_daemon_per_shared_gpu_until_the_end(record):
    notes: list[str] = []
    with mps.daemons([*SHARED, "cuda:2"], notes.append) as more:
        assert sorted(more) == ["cuda:0", "cuda:1"]
        pipes = [more[device][mps.PIPE] for device in sorted(more)]
        assert all(os.path.isdir(path) for own in more.values() for path in list(own.values())[:2])
        assert {own["CUDA_VISIBLE_DEVICES"] for own in more.values()} == {"0"}
        assert os.stat(Path(pipes[0]).parent).st_mode & 0o077 == 0
        assert calls(record) == [f"-d  0 {pipes[0]}", f"-d  1 {pipes[1]}"]
    assert sorted(calls(record)[2:]) == [f" quit 0 {pipes[0]}", f" quit 1 {pipes[1]}"]
    assert (notes, left(record)) == ([], [])


def test_names_of_gpus_stay(record, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    with mps.daemons(["cuda:1"] * 2, print) as more:
        assert more["cuda:1"]["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    assert calls(record)[0].startswith("-d  GPU-b ")


@pytest.mark.parametrize("devices", [["cpu", "cpu"], ["cuda:0", "cuda:1"], ["cuda:0"], []], ids=str)
def test_none_where_nothing_is_shared(record, devices):
    with mps.daemons(devices, print) as more:
        assert more == {}
    assert calls(record) == []


def test_none_beside_one_that_is_there(record, monkeypatch):
    monkeypatch.setenv(mps.PIPE, "/somebody's")
    with mps.daemons(SHARED, print) as more:
        assert more == {}
    assert calls(record) == []


def test_none_without_the_program(record, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    notes: list[str] = []
    with mps.daemons(SHARED, notes.append) as more:
        assert (more, notes) == ({}, [])


def test_without_it_where_it_does_not_start(record, monkeypatch):
    monkeypatch.setenv("FAIL", "1")
    notes: list[str] = []
    with mps.daemons(SHARED[:1] * 2, notes.append) as more:
        assert more == {}
    assert notes == [
        "without CUDA MPS on cuda:0: nvidia-cuda-mps-control did not start (exit code 1)"
    ]
    assert left(record) == []


def test_without_it_where_it_does_not_answer(record, monkeypatch):
    monkeypatch.setattr(mps, "START_SECONDS", 0.05)
    (record.parent / "bin" / mps.PROGRAM).write_text('#!/bin/sh\ntest "$1" != -d || sleep 3\n')
    notes: list[str] = []
    with mps.daemons(SHARED[:1] * 2, notes.append) as more:
        assert more == {}
    assert "timed out" in notes[0] and "\n" not in notes[0]


def test_an_error_ends_it(record):
    with pytest.raises(KeyError), mps.daemons(SHARED, print):
        raise KeyError
    assert len(calls(record)) == 4
    assert left(record) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=str)
def test_a_killed_process_leaves_no_daemon(record, number):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with mps.daemons(SHARED[:1] * 2, print):
            os.write(writing, b"started")
            time.sleep(60)
        os._exit(1)
    assert os.read(reading, 7) == b"started"
    os.kill(child, number)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -number
    deadline = time.monotonic() + 20
    while (len(calls(record)) < 2 or left(record)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [line.split()[0] for line in calls(record)] == ["-d", "quit"]
    assert left(record) == []
