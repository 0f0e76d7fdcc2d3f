"""Numbered reasons below a table: why a cell cannot be, and why a run of it is stuck."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from results.cells import BLOCKED, FAILED, LOST, STALE, STUCK, UNSUPPORTED, Cell
from results.render import superscript

_MEANINGS = {
    FAILED: "training diverged or ended with an error",
    BLOCKED: "what it learns from is missing and does not come by itself",
    STALE: "there is a result, but of other options or code than today's",
    LOST: "its job ended before it was finished",
}
_MOST = 20  # reasons of stuck runs: each diverged run gives numbers of its own
_LONGEST = 300  # characters of such a reason

Key = tuple[str, str]  # method's label, pair


class Footnotes:
    """The reasons of a board's cells; equal ones share a number.

    ``stuck`` counts the runs of each cell in each of the states `STUCK`.
    """

    def __init__(self, cells: Sequence[Cell]) -> None:
        done = {(c.method, c.pair) for c in cells if c.record is not None}
        impossible = [c for c in cells if c.state == UNSUPPORTED and c.reason]
        reasons = [c.reason for c in impossible if (c.method, c.pair) not in done]
        self.impossible = list(dict.fromkeys(reason for reason in reasons if reason))
        self.stuck: dict[Key, dict[str, int]] = {}
        self._first: dict[tuple[Key, str], str] = {}
        for cell in cells:
            if cell.state in STUCK:
                self._count(cell)
        self.reasons = list(dict.fromkeys(self._first.values()))

    def _count(self, cell: Cell) -> None:
        key = (cell.method, cell.pair)
        counts = self.stuck.setdefault(key, {})
        counts[cell.state] = counts.get(cell.state, 0) + 1
        if cell.reason:
            text = textwrap.shorten(f"{cell.state}: {cell.reason}", _LONGEST, placeholder=" …")
            self._first.setdefault((key, cell.state), text)

    def impossible_cell(self, reason: str) -> str:
        """ "n/a²" """
        return UNSUPPORTED + superscript(self.impossible.index(reason) + 1)

    def stuck_runs(self, method: str, pair: str) -> list[str]:
        """ "2 failed³", "1 stale" of one cell."""
        counts = self.stuck.get((method, pair), {})
        return [f"{counts[state]} {self._marked((method, pair), state)}" for state in counts]

    def stuck_cell(self, method: str, pair: str, planned: int) -> str | None:
        """ "failed³" where that is true of all ``planned`` runs, else None."""
        counts = self.stuck.get((method, pair), {})
        states = [state for state, count in counts.items() if count == planned]
        return self._marked((method, pair), states[0]) if states else None

    def _marked(self, key: Key, state: str) -> str:
        text = self._first.get((key, state))
        number = self.reasons.index(text) if text else _MOST
        return state + (superscript(len(self.impossible) + number + 1) if number < _MOST else "")

    def legend(self) -> list[str]:
        """What the states mean that are to be seen."""
        seen = {state for counts in self.stuck.values() for state in counts}
        return [f"{state}: {_MEANINGS[state]}" for state in STUCK if state in seen]

    def notes(self) -> list[str]:
        """The numbered reasons."""
        numbered = _numbered([*self.impossible, *self.reasons[:_MOST]])
        more = len(self.reasons) - _MOST
        return [*numbered, *([f"{more} more reasons: see status --each"] if more > 0 else [])]


def _numbered(texts: Iterable[str]) -> list[str]:
    return [f"{superscript(i)} {text}" for i, text in enumerate(texts, start=1)]
