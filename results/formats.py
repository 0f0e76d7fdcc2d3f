"""A leaderboard as Markdown, LaTeX, HTML, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from results import (
    latex,
    measure_tables,
    published_table,
    render,
    selection,
    tables,
    trials,
    tuning_rows,
    tuning_tables,
    verdict_rows,
)
from results.cells import is_missing
from results.layout import Style, Table, arranged
from results.leaderboard import Leaderboard
from results.printable import json_escaped
from results.spreadsheet import harmless, harmless_frame

if TYPE_CHECKING:
    import pandas as pd


def _csv(board: Leaderboard, best: bool, style: Style) -> str:
    judged = verdict_rows.beside(board.frame, board.verdicts)
    frame = published_table.beside(tuning_rows.beside(judged, board), board.published)
    return harmless_frame(frame).to_csv(index=False, lineterminator="\n")


def trials_csv(board: Leaderboard) -> str:
    """One row per run, see `trials.rows`; options as JSON."""
    rows = trials.rows(board.cells, board.measures)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        options = row["options"]
        text = None if options is None else json.dumps(options, ensure_ascii=False)
        writer.writerow({key: harmless(value) for key, value in (row | {"options": text}).items()})
    return file.getvalue()


def _json(board: Leaderboard, best: bool, style: Style) -> str:
    meta = {
        "dataset": board.dataset,
        "pairs": board.pairs,
        "methods": board.methods,
        "teachers": {pair: vars(teacher) for pair, teacher in board.teachers.items()},
        "recipe": board.recipe,
        "exceptions": board.exceptions,
        "notes": board.notes,
        "validation_notes": board.validation_notes,
        "warnings": board.warnings,
        "baseline": board.baseline,
    }
    whole: dict[str, Any] = {
        "meta": meta,
        "verdicts": verdict_rows.objects(board.verdicts),
        "rows": _objects(board.frame),
        "cost": _objects(board.cost_frame),
        "trials": trials.rows(board.cells, board.measures),
    }
    if board.tuning:
        whole["tuning"] = tuning_rows.objects(board)
    if board.published:
        whole["published"] = published_table.objects(board.published)
    # JSON leaves the controls above ASCII as they are; none is in the text but in its strings.
    return json_escaped(json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def _objects(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with Python's own numbers, null for NaN."""
    return [
        {str(key): None if is_missing(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _tables(board: Leaderboard, best: bool, style: Style) -> list[Table]:
    shown = [*tables.all_of(board, best, style.cost), *measure_tables.tables(board)]
    if style.columns:
        shown = selection.chosen(shown, board, style.columns)
    else:
        shown += tuning_tables.tables(board, style.cost)
    if style.caption:
        shown[0] = replace(shown[0], title=style.caption)
    return shown if style.notes else [replace(table, notes=()) for table in shown]


FORMATS: dict[str, Callable[[Leaderboard, bool, Style], str]] = {
    "markdown": lambda board, best, style: render.markdown(_tables(board, best, style), style),
    "csv": _csv,
    "latex": lambda board, best, style: latex.latex(_tables(board, best, style), style),
    "json": _json,
    "html": lambda board, best, style: render.html_page(_tables(board, best, style), style),
}


def to_text(board: Leaderboard, format: str, best: bool = False, style: Style | None = None) -> str:
    """The table as "markdown", "latex", "html", "csv" (long, full precision) or "json".

    ``best`` adds a table of the best epochs' accuracies to the first three; the last two always
    have them.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown table format {format!r}: known: {', '.join(FORMATS)}")
    return FORMATS[format](board, best, style or Style())


def fitted(board: Leaderboard, width: int, best: bool, style: Style) -> tuple[str, str]:
    """Markdown for lines of ``width`` characters, and how it was made to fit, "" for not at all."""
    return fitted_tables(_tables(board, best, style), width)


def fitted_tables(shown: Sequence[Table], width: int) -> tuple[str, str]:
    """The same for any tables."""
    if all(render.markdown_width(table) <= width for table in shown):
        return render.markdown(shown), ""
    turned = arranged(shown, "transposed", width, render.markdown_column)
    either = [arranged(t, "split", width - 1, render.markdown_column) for t in (turned, shown)]
    shortest = min(either, key=lambda parts: (len(parts), sum(len(t.rows) for t in parts)))
    how = ["transposed"] if shortest is either[0] else []
    how += ["split into parts"] if len(shortest) > len(shown) else []
    return render.markdown(shortest), " and ".join(how)
