"""The files of `table`: written, or compared with what would be written now (`--check`)."""

from __future__ import annotations

import difflib
import shlex
from itertools import islice
from pathlib import Path

from experiments.errors import InputError, beside

_MOST = 10  # lines of a difference
_WIDEST = 160  # characters of such a line


def deliver(path: Path, text: str, is_check: bool) -> bool:
    """Write the file and say so, or `check` it; False for one that is out of date."""
    if is_check:
        return check(path, text)
    from results import records

    records.write_atomic(path, text)
    print(f"wrote {path}")
    return True


def check(path: Path, text: str) -> bool:
    """Whether the file holds ``text``, byte for byte; prints one line, and where they differ.

    InputError when there is no such file.
    """
    if not path.exists():
        hint = beside(path) or f": write it with --output {shlex.quote(str(path))}"
        raise InputError(f"--check {path}: no such file{hint}")
    if not path.is_file():
        raise InputError(f"--check {path}: expected a file")
    stored = path.read_bytes()
    if stored == text.encode():
        print(f"{path} is up to date")
        return True
    print(f"{path} is out of date: {_reason(stored.decode(errors='replace'), text)}")
    return False


def _reason(stored: str, text: str) -> str:
    """What differs in a line, and below it the first differing lines as a unified diff."""
    old, new = stored.splitlines(), text.splitlines()
    pairs = enumerate(zip(old, new, strict=False), start=1)
    first = next((n for n, (a, b) in pairs if a != b), min(len(old), len(new)) + 1)
    if old == new:
        return "the ends of its lines differ"
    changes = difflib.unified_diff(old, new, "committed", "now", lineterm="", n=0)
    lines = [line[:_WIDEST] for line in islice(changes, 2, 2 + _MOST)]
    return "\n".join([f"line {first} of {len(old)} is the first that differs", *lines])
