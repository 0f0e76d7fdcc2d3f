"""A leaderboard as Markdown, LaTeX, HTML, CSV or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from results import render, tables
from results.cells import is_missing
from results.leaderboard import Leaderboard

if TYPE_CHECKING:
    import pandas as pd


def _csv(board: Leaderboard, best: bool) -> str:
    return board.frame.to_csv(index=False, lineterminator="\n")


def _json(board: Leaderboard, best: bool) -> str:
    meta = {
        "dataset": board.dataset,
        "pairs": board.pairs,
        "methods": board.methods,
        "teachers": {pair: vars(teacher) for pair, teacher in board.teachers.items()},
        "recipe": board.recipe,
        "exceptions": board.exceptions,
        "notes": board.notes,
        "warnings": board.warnings,
        "baseline": board.baseline,
    }
    whole = {"meta": meta, "rows": _objects(board.frame), "cost": _objects(board.cost_frame)}
    return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _objects(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with Python's own numbers, null for NaN."""
    return [
        {str(key): None if is_missing(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


FORMATS: dict[str, Callable[[Leaderboard, bool], str]] = {
    "markdown": lambda board, best: render.markdown(tables.all_of(board, best)),
    "csv": _csv,
    "latex": lambda board, best: render.latex(tables.all_of(board, best)),
    "json": _json,
    "html": lambda board, best: render.html_fragment(tables.all_of(board, best)),
}


def to_text(board: Leaderboard, format: str, best: bool = False) -> str:
    """The table as "markdown", "latex", "html", "csv" (long, full precision) or "json".

    ``best`` adds a table of the best epochs' accuracies to the first three; the last two always
    have them.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown table format {format!r}: known: {', '.join(FORMATS)}")
    return FORMATS[format](board, best)
