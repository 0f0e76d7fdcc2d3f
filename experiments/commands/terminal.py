"""How wide the terminal is, and tables that fit into it. What is piped is never changed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

_NARROWEST = 16  # characters of a wrapped column: below, a terminal's own wrapping reads better
_GAP = 2  # between columns


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
