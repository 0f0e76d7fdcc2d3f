"""`benchmark.py` as people call it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "benchmark.py"
COMMAND_SECONDS = 300.0


@dataclass(frozen=True)
class Called:
    """How a command ended and what it said."""

    code: int
    said: str


def benchmark(
    verb: str,
    source: Path,
    runs: Path,
    *more: str,
    env: Mapping[str, str] | None = None,
    seconds: float = COMMAND_SECONDS,
) -> Called:
    """`benchmark.py VERB` in a process of its own, which is killed after so many seconds."""
    command = [sys.executable, str(PROGRAM), verb, str(source), "--runs", str(runs), *more]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            said = f"no end after {seconds:.0f} s"
    return Called(process.returncode, said)
