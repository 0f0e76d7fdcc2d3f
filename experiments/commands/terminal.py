"""How wide the terminal is, and tables that fit into it. What is piped is never changed."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence

_NARROWEST = 16  # characters of a wrapped column: below, a terminal's own wrapping reads better
_GAP = 2  # between columns
_COLORS = {  # of `rundir.status.State`'s words, a test compares them; "to do" has none
    "done": 32,
    "running": 36,
    "pending": 34,
    "lost": 33,
    "blocked": 33,
    "stale": 33,
    "failed": 31,
    "n/a": 2,
    "unknown": 33,
}
# A state is followed by what ends its part of a cell: details may contain the same words.
_STATE = re.compile(
    r"(?:\b(?P<number>\d+)(?:/(?P<total>\d+))? )?"
    rf"\b(?P<state>{'|'.join(_COLORS)})(?=[:;,]|\s*$| \(logs)",
    re.MULTILINE,
)


def columns() -> int | None:
    """The terminal's width in characters; None where standard output is not a terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def grid(rows: Sequence[Sequence[str]], header: Sequence[str], width: int | None) -> str:
    """A plain table; where it would be wider than ``width``, its last column is wrapped."""
    from tabulate import tabulate

    whole = tabulate(rows, header, disable_numparse=True)
    if width is None or max(map(len, whole.splitlines())) <= width:
        return whole
    before = [max(map(len, column)) for column in zip(header, *rows, strict=True)][:-1]
    rest = max(_NARROWEST, width - sum(before) - _GAP * len(before))
    limits = [*[None] * len(before), rest]
    return tabulate(rows, header, disable_numparse=True, maxcolwidths=limits)


def cut(line: str, width: int) -> str:
    """The line, its end replaced by "…" where it is wider than ``width``."""
    return line if len(line) <= width else line[: width - 1] + "…"


def colored(text: str) -> str:
    """The words for states in color, where standard output is a terminal and NO_COLOR not set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return _STATE.sub(_paint, text)


def _paint(match: re.Match[str]) -> str:
    """A state with its number; of trials, "done" is green when all are."""
    number, total, state = match["number"], match["total"], match["state"]
    if state == "done" and total and number != total:
        return match[0]
    return f"\x1b[{_COLORS[state]}m{match[0]}\x1b[0m"
