"""These tests talk to a real SLURM: that of tools/slurm_dev.sh, never somebody's cluster."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

DEVELOPMENT = Path(__file__).resolve().parents[2] / "tools/slurm_dev.sh"


@pytest.fixture(scope="session")
def cluster() -> None:
    """SLURM_CONF of the development cluster in the environment; skips where it is not up."""
    done = subprocess.run([DEVELOPMENT, "status"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("needs the development cluster: tools/slurm_dev.sh start (root, Debian)")
    line = subprocess.run([DEVELOPMENT, "env"], capture_output=True, text=True, check=True).stdout
    name, _, value = line.removeprefix("export ").strip().partition("=")
    os.environ[name] = value.strip("'\"")
