"""Pivots as tables of text: values × pairs, or values × values for each pair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from results import tables, verdict_tables
from results.layout import Table
from results.pivot import Pivot, Point, named
from results.printed import number

NO_ROW = ""  # a point that the matrix does not have
_CHOOSING = (
    "These are test accuracies: a value that is chosen by this table is chosen on the test set."
)


def of_all(pivots: Iterable[Pivot]) -> list[Table]:
    """The tables of several pivots, one after the other."""
    return [table for pivot in pivots for table in of(pivot)]


def of(pivot: Pivot) -> list[Table]:
    """The accuracies of a pivot; then how far they are from those of the entry's own values."""
    shown = [_list(pivot)] if len(pivot.keys) == 1 else _grids(pivot)
    differences = verdict_tables.table(pivot.board.verdicts)
    return [*shown, *(_renamed(table, pivot) for table in differences)]


def _title(pivot: Pivot, what: str) -> str:
    return f"{pivot.board.dataset}: {pivot.name} by {' and '.join(pivot.keys)}, {what}"


def _renamed(table: Table, pivot: Pivot) -> Table:
    return replace(table, title=f"{pivot.name}: {table.title}", header=["", *table.header[1:]])


# ---- one option ----------------------------------------------------------------------------------


def _list(pivot: Pivot) -> Table:
    """Values as rows, pairs as columns."""
    table = tables.headline(pivot.board, _title(pivot, "test top-1 accuracy (%)"))
    return replace(table, header=["", *table.header[1:]], notes=[*table.notes, *_notes(pivot)])


def _notes(pivot: Pivot) -> list[str]:
    lines = [_CHOOSING]
    if pivot.board.baseline is None:
        lines.append(f"No row has the own values of {pivot.family}: {_own(pivot)}; no differences.")
    if any(map(_is_of_protocol, pivot.keys)):
        lines.append("Rows differ in their recipe or data, and in nothing else.")
    if pivot.setting:
        lines.append(f"All rows have {pivot.setting}.")
    return [*lines, *_departing(pivot)]


def _departing(pivot: Pivot) -> list[str]:
    """Where rows leave the recipe and the data of the matrix, but by what is varied."""
    shared = set.intersection(*(set(texts) for texts in pivot.departs.values()))
    common = [text for text in next(iter(pivot.departs.values())) if text in shared]
    found = [f"all rows have {', '.join(common)}"] * bool(common)
    for row, (point, _) in pivot.rows.items():
        rest = [text for text in pivot.departs[row] if text not in shared]
        if rest:
            found.append(f"{_of_protocol(pivot, point)} has {', '.join(rest)}")
    listed = "; ".join(dict.fromkeys(found))
    return [f"Other than the recipe and data of the matrix: {listed}."] if found else []


def _of_protocol(pivot: Pivot, point: Point) -> str:
    """The values of a point that recipe and data depend on."""
    values = {key: v for key, v in zip(pivot.keys, point, strict=True) if _is_of_protocol(key)}
    return named(tuple(values), tuple(values.values()))


def _is_of_protocol(key: str) -> bool:
    return key.startswith(("recipe.", "dataset."))


def _own(pivot: Pivot) -> str:
    return named(pivot.keys, pivot.own)


# ---- two options ---------------------------------------------------------------------------------


def _grids(pivot: Pivot) -> list[Table]:
    """The first option's values as rows, the second's as columns: a table for each pair."""
    board = pivot.board
    whole = tables.of_pairs(board, "")
    texts = {
        (row[0], pair): text
        for row in whole.rows
        for pair, text in zip(board.pairs, row[1:], strict=True)
    }
    made = [
        _grid(pivot, pair, {row: texts[row, pair] for row in pivot.rows}) for pair in board.pairs
    ]
    if len(board.pairs) > 1:
        averages = {row: number(board.average(row)) for row in pivot.rows}
        made.append(_grid(pivot, f"average over {len(board.pairs)} pairs", averages))
    return [*made[:-1], replace(made[-1], notes=[*whole.notes, *_grid_notes(pivot)])]


def _grid(pivot: Pivot, where: str, texts: dict[str, str]) -> Table:
    first, second = pivot.values(0), pivot.values(1)
    header = [f"{pivot.keys[0]} \\ {pivot.keys[1]}", *(value.text for value in second)]
    points = [[pivot.row((a, b)) for b in second] for a in first]
    rows = [
        [value.text, *(NO_ROW if row is None else texts[row] for row in line)]
        for value, line in zip(first, points, strict=True)
    ]
    return Table(_title(pivot, f"{where}: test top-1 accuracy (%)"), header, rows)


def _grid_notes(pivot: Pivot) -> list[str]:
    lines = [f"Recipe: {pivot.board.recipe}."] * bool(pivot.board.recipe)
    lines += [f"Exception: {text}" for text in pivot.board.exceptions]
    if len(pivot.rows) < len(pivot.values(0)) * len(pivot.values(1)):
        lines.append("Empty: not in the matrix.")
    if len(pivot.board.pairs) > 1:
        lines.append("An average needs every trial of every pair.")
    if pivot.board.baseline is not None and pivot.board.verdicts.basis is None:
        lines.append("Nothing is claimed of differences: a test needs two trials of every pair.")
    return [*lines, *_notes(pivot), *(f"Warning: {text}" for text in pivot.board.warnings)]
