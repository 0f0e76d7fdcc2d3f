"""Python and the installed packages against requirements.txt.

Standard library only: `explain` is called where importing the packages has failed.
"""

from __future__ import annotations

import platform
import re
import sys
from importlib import metadata
from pathlib import Path

from experiments.doctor.finding import FAIL, OK, Finding

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
DEVELOPMENT = "# Development"  # what follows in the file is not needed for training
PYTHON = (3, 10)  # the oldest version that runs this code
VENV = REQUIREMENTS.parent / ".venv" / "bin" / "python"
INSTALL = f"{sys.executable} -m pip install -r {REQUIREMENTS}"


def findings() -> list[Finding]:
    """Python and every required package. Raises OSError if requirements.txt cannot be read."""
    return [check_python(), check_packages(REQUIREMENTS.read_text(encoding="utf-8"))]


def check_python() -> Finding:
    """Whether this Python is recent enough."""
    message = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] >= PYTHON:
        return Finding(OK, "Python", message)
    oldest = ".".join(map(str, PYTHON))
    fix = f"use Python {oldest} or later (perhaps after a `module load`): "
    return Finding(FAIL, "Python", message, f"{fix}`make setup PYTHON=python{oldest}`")


def check_packages(text: str) -> Finding:
    """Whether every package in a requirements.txt is installed in a suitable version."""
    required = requirements(text)
    problems = []
    for name, oldest in required.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            problems.append(f"{name}>={oldest} missing")
            continue
        if _release(version) < _release(oldest):
            problems.append(f"{name} {version}, expected {name}>={oldest}")
    if problems:
        fix = f"use {VENV}, which `make setup` creates, or run {INSTALL}"
        return Finding(FAIL, "packages", "; ".join(problems), fix)
    return Finding(OK, "packages", f"all {len(required)} required packages are installed")


def requirements(text: str) -> dict[str, str]:
    """Package -> oldest version, from lines such as ``numpy>=1.26  # why``."""
    needed = text.partition(DEVELOPMENT)[0]
    return dict(re.findall(r"^([\w.-]+)>=([\w.]+)", needed, re.MULTILINE))


def _release(version: str) -> tuple[int, ...]:
    """(2, 6, 0, 0) for "2.6", "2.6.0+cu130" and "2.6rc1": `packaging` may be what is missing."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    return tuple([*numbers, 0, 0, 0, 0][:4])


def explain(error: Exception) -> int:
    """Print in one line why an import failed; returns the exit code of bad input.

    Raises ``error`` again if nothing is missing: then it is a bug in the code.
    """
    problems = [finding for finding in findings() if finding.level == FAIL]
    if not problems and ".so" in str(error):  # the package is there, a shared library is not
        problems = [Finding(FAIL, "shared library", str(error), f"{INSTALL} --force-reinstall")]
    if not problems:
        raise error
    text = "; ".join(f"{p.subject}: {p.message} -> {p.fix}" for p in problems)
    print(f"error: {sys.executable}: {text}", file=sys.stderr)
    return 2
