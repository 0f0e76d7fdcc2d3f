"""Python and packages against requirements.txt. Standard library only, see `explain`."""

from __future__ import annotations

import operator
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.doctor.finding import FAIL, OK, WARN, Finding

REQUIREMENTS = Path(__file__).resolve().parent.parent.parent / "requirements.txt"
DEVELOPMENT = "# Development"  # begins the part of the file that training does not need
PYTHON = (3, 10)  # the oldest that runs this code
VENV = REQUIREMENTS.parent / ".venv" / "bin" / "python"
INSTALL = f"{sys.executable} -m pip install -r {REQUIREMENTS}"
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Requirement:
    """A line of requirements.txt: ``bounds`` are pairs such as (">=", "2.6")."""

    name: str
    bounds: tuple[tuple[str, str], ...]
    development: bool

    def admits(self, version: str) -> bool:
        """Whether an installed version lies within all bounds; suffixes (+cu130, rc1) are left out.

        >>> Requirement("torch", ((">=", "2.6"), ("<", "3")), False).admits("2.10.0+cu130")
        True
        """
        have = _release(version)
        return all(_COMPARE[sign](*_alike(have, _release(bound))) for sign, bound in self.bounds)

    def __str__(self) -> str:
        return self.name + ",".join(sign + bound for sign, bound in self.bounds)


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else (0,)


def _alike(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Filled up with zeros: 2.6 is 2.6.0."""
    length = max(len(a), len(b))
    return a + (0,) * (length - len(a)), b + (0,) * (length - len(b))


def requirements(text: str) -> list[Requirement]:
    """What requirements.txt asks for: lines such as ``torch>=2.6,<3  # why``.

    Raises ValueError for a line of any other form.
    """
    found, development = [], False
    for line in text.splitlines():
        development = development or line.startswith(DEVELOPMENT)
        asked = line.partition("#")[0].strip()
        if not asked:
            continue
        match = re.match(r"([\w.-]+)\s*((?:[<>=!]=?\s*[\w.]+\s*,?\s*)*)$", asked)
        if match is None:
            raise ValueError(f"{REQUIREMENTS.name}: {line!r}: expected NAME>=VERSION")
        bounds = re.findall(r"([<>=!]=?)\s*([\w.]+)", match.group(2))
        found.append(Requirement(match.group(1), tuple(bounds), development))
    return found


def installed(name: str) -> str | None:
    """A package's version, None where it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def python() -> Finding:
    """Which Python this is, and whether it is recent enough."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] >= PYTHON:
        return Finding(OK, "Python", found)
    oldest = ".".join(map(str, PYTHON))
    mend = f"Python {oldest} or later: `make setup PYTHON=python{oldest}`"
    return Finding(FAIL, "Python", found, f"{mend} (perhaps after a `module load`)")


def packages(
    asked: list[Requirement], version: Callable[[str], str | None] = installed
) -> list[Finding]:
    """Whether all are there as asked; what only development needs is no more than a note."""
    wrong = {need: have for need in asked if not _is_met(need, have := version(need.name))}
    needed = [_wrong(need, have) for need, have in wrong.items() if not need.development]
    tools = [_wrong(need, have) for need, have in wrong.items() if need.development]
    found = []
    if needed:
        mend = f"{VENV} has them after `make setup`; or {INSTALL}"
        found.append(Finding(FAIL, "packages", "; ".join(needed), mend))
    if tools:
        mend = f"nothing, to train; for `make test` and `make lint`: {INSTALL}"
        found.append(Finding(WARN, "packages for development", "; ".join(tools), mend))
    good = f"all {len(asked)} as {REQUIREMENTS.name} asks"
    return found or [Finding(OK, "packages", good)]


def _is_met(need: Requirement, version: str | None) -> bool:
    return version is not None and need.admits(version)


def _wrong(need: Requirement, version: str | None) -> str:
    return f"{need.name} {version}, expected {need}" if version else f"{need} missing"


def findings() -> list[Finding]:
    """Python and every package."""
    try:
        asked = requirements(REQUIREMENTS.read_text(encoding="utf-8"))
    except OSError as error:
        return [python(), Finding(WARN, "packages", f"{REQUIREMENTS}: {error.strerror}")]
    return [python(), *packages(asked)]


def explain(error: Exception) -> int:
    """Say in a line what Python lacks when an import failed; returns the exit code of bad input.

    Raises ``error`` again where nothing is missing: then it is somebody's mistake in the code.
    """
    wrong = [finding for finding in findings() if finding.level == FAIL]
    if not wrong and ".so" in str(error):  # there, but a library that it was built with is not
        wrong = [Finding(FAIL, "a library", str(error), f"{INSTALL} --force-reinstall")]
    if not wrong:
        raise error
    said = "; ".join(f"{finding.what}: {finding.found} -> {finding.mend}" for finding in wrong)
    print(f"error: {sys.executable}: {said}", file=sys.stderr)
    return 2
