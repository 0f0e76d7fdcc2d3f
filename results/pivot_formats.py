"""Pivots and ladders in the formats of `table`: tables for people, rows and objects as data."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from results import formats, ladder_tables, latex, pivot_rows, pivot_tables, render
from results.ladder import Ladder
from results.layout import Style, Table
from results.leaderboard import Leaderboard
from results.pivot import Pivot
from results.printable import json_escaped
from results.spreadsheet import harmless


@dataclass(frozen=True)
class Printed:
    """The same content three times: as tables, as rows of csv, as an object of json."""

    tables: Sequence[Table]
    rows: Sequence[Mapping[str, Any]]
    objects: Mapping[str, Any]


def of_pivots(board: Leaderboard, found: Sequence[Pivot]) -> Printed:
    """What is printed of the pivots of a board."""
    objects = {"meta": _meta(board), "pivots": pivot_rows.objects(found)}
    return Printed(pivot_tables.of_all(found), pivot_rows.rows(found), objects)


def of_ladders(board: Leaderboard, found: Sequence[Ladder]) -> Printed:
    """What is printed of the teacher ladders of a board."""
    objects = {"meta": _meta(board), "ladders": ladder_tables.objects(found)}
    return Printed(ladder_tables.of_all(found), ladder_tables.rows(found), objects)


def _meta(board: Leaderboard) -> dict[str, Any]:
    return {"dataset": board.dataset, "recipe": board.recipe, "warnings": list(board.warnings)}


def to_text(made: Printed, form: str, style: Style | None = None) -> str:
    """As "markdown", "latex", "html", "csv" or "json"; ValueError for another format."""
    style = style or Style()
    if form == "csv":
        return _csv(made.rows)
    if form == "json":
        text = json.dumps(made.objects, indent=1, ensure_ascii=False, allow_nan=False)
        return json_escaped(text) + "\n"
    writers = {"markdown": render.markdown, "latex": latex.latex, "html": render.html_page}
    if form not in writers:
        raise ValueError(f"unknown table format {form!r}: known: {', '.join(formats.FORMATS)}")
    return writers[form](_styled(made.tables, style), style)


def fitted(made: Printed, width: int, style: Style) -> tuple[str, str]:
    """As `formats.fitted`."""
    return formats.fitted_tables(_styled(made.tables, style), width)


def _styled(tables: Sequence[Table], style: Style) -> list[Table]:
    shown = list(tables)
    if style.caption:
        shown[0] = replace(shown[0], title=style.caption)
    return shown if style.notes else [replace(table, notes=()) for table in shown]


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: harmless(value) for key, value in row.items()} for row in rows)
    return file.getvalue()
