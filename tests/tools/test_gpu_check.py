"""tools/gpu_check.sh without a GPU: says what is missing; with everything else faked: its page."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "gpu_check.sh"
HOW = (
    "gpu_check: on a machine with a CUDA GPU and what requirements-dev.txt lists: "
    "[PYTHON=/path/to/python] tools/gpu_check.sh"
)
# Answers as Python would on a machine with a GPU.
FAKE = """#!/usr/bin/env bash
case "$*" in
    *get_device_name*) echo "NVIDIA H200 (test)" ;;
    *platform*) echo "CUDA 13.0, cuDNN 91000, torch 2.11.0, Python 3.12.3" ;;
    -c*) ;;
    *pytest*) {tests} ;;
    *--precision\\ fp32*) echo "## Cost of a step, fp32" >"${{@: -1}}" ;;
    *) {measurement} ;;
esac
"""


def check(python: Path | str, folder: Path) -> subprocess.CompletedProcess[str]:
    hidden = {"CUDA_VISIBLE_DEVICES": "", "PYTHON": str(python)}  # also where there is a GPU
    return subprocess.run(
        ["bash", SCRIPT, folder.name],
        cwd=folder.parent,
        env={**os.environ, **hidden},
        capture_output=True,
        text=True,
    )


def fake(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_no_gpu(tmp_path):
    done = check(sys.executable, tmp_path / "gpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == ["gpu_check: torch sees no CUDA device", HOW]
    assert not (tmp_path / "gpu").exists()


def test_no_torch(tmp_path):
    complaint = "ModuleNotFoundError: No module named 'torch'"
    python = fake(tmp_path / "python", f'#!/bin/sh\necho trace >&2\necho "{complaint}" >&2\nexit 1')
    done = check(python, tmp_path / "gpu")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"gpu_check: {python}: {complaint}", HOW]


def test_no_python(tmp_path):
    done = check("no-such-python", tmp_path / "gpu")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["gpu_check: no no-such-python", HOW]


@pytest.mark.parametrize("well", [True, False])
def test_the_page(well, tmp_path):
    """Whatever fails, the page says so and holds the rest."""
    tests = 'echo "76 passed in 9.10s"' if well else 'echo "FAILED a - b"; echo "1 failed in 2s"'
    bf16 = 'echo "## Cost of a step, bf16" >"${@: -1}"; echo "| x |" >>"${@: -1}"'
    text = FAKE.format(
        tests=tests if well else f"{tests}; exit 1", measurement=bf16 if well else "exit 1"
    )
    done = check(fake(tmp_path / "python", text), tmp_path / "gpu")
    assert done.returncode == (0 if well else 1), done.stderr
    (file,) = (tmp_path / "gpu").iterdir()
    assert file.name == "NVIDIA-H200-test-.md"
    page = file.read_text()
    assert page.startswith("# NVIDIA H200 (test)\n\n- driver ")
    assert "torch 2.11.0" in page and "- commit " in page and " seconds\n" in page
    assert "## Cost of a step, fp32\n" in page
    expected = "| x |" if well else "## Cost of a step, bf16\n\nfailed\n"
    assert page.rstrip().endswith(expected.rstrip())
    assert ("    76 passed in 9.10s" if well else "    FAILED a - b\n    1 failed in 2s") in page
