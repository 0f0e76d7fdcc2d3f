"""Tables rearranged to fit a page or a terminal: pairs as rows, or columns in several parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

LAYOUTS = ("wide", "transposed", "split")


class TableError(ValueError):
    """A table that cannot be made as asked for; the message is one line."""


@dataclass(frozen=True)
class Table:
    """``rows`` have as many texts as ``header``; ``bold`` holds (row, column) from 0.

    The first column is a label, set to the left; all others are set to the right. Only tables with
    ``has_pairs``, whose columns are pairs, are transposed; one that ``is_list`` may have a row for
    every pair and method.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: frozenset[tuple[int, int]] = frozenset()
    notes: Sequence[str] = ()
    has_pairs: bool = False
    is_list: bool = False


@dataclass(frozen=True)
class Style:
    """How tables are written. A format ignores what it has no use for.

    caption, label  of the first table, instead of its title
    only_tabular    LaTeX without floats, captions and notes
    columns         names of `selection.COLUMNS` that are shown, all of them where there is none
    width           characters of a line, which the parts of a split Markdown or HTML table keep to
    """

    layout: str = "wide"
    cost: bool = True
    notes: bool = True
    caption: str = ""
    label: str = ""
    only_tabular: bool = False
    columns: tuple[str, ...] = ()
    width: int = 100


Measure = Callable[[Table, int], float]  # the width of one column, its gap included


def arranged(tables: Sequence[Table], layout: str, room: float, measure: Measure) -> list[Table]:
    """The tables in one of `LAYOUTS`; parts of split ones are at most ``room`` wide."""
    if layout == "transposed":
        return [transposed(table) if table.has_pairs else table for table in tables]
    if layout == "split":
        return [part for table in tables for part in split(table, room, measure)]
    return list(tables)


def transposed(table: Table) -> Table:
    """Pairs as rows, methods as columns."""
    header = ["Pair", *(row[0] for row in table.rows)]
    rows = [
        [name, *(row[column] for row in table.rows)]
        for column, name in enumerate(table.header[1:], start=1)
    ]
    bold = frozenset((column - 1, row + 1) for row, column in table.bold)
    return replace(table, header=header, rows=rows, bold=bold)


def split(table: Table, room: float, measure: Measure) -> list[Table]:
    """Parts of ``table`` of about equal width, each with its first column; notes below the last."""
    widths = [measure(table, column) for column in range(len(table.header))]
    groups = _balanced(widths[1:], room - widths[0])
    if len(groups) < 2:
        return [table]
    parts = [part(table, [0, *(column + 1 for column in group)]) for group in groups]
    titles = [f"{table.title}, part {i} of {len(parts)}" for i in range(1, len(parts) + 1)]
    notes = [*[()] * (len(parts) - 1), table.notes]
    return [
        replace(part, title=title, notes=below)
        for part, title, below in zip(parts, titles, notes, strict=True)
    ]


def part(table: Table, columns: Sequence[int]) -> Table:
    """The table with these columns, in this order."""
    place = {column: i for i, column in enumerate(columns)}
    return replace(
        table,
        header=[table.header[column] for column in columns],
        rows=[[row[column] for column in columns] for row in table.rows],
        bold=frozenset((row, place[column]) for row, column in table.bold if column in place),
    )


def _balanced(widths: Sequence[float], room: float) -> list[list[int]]:
    """As few groups as possible, the widest of them as narrow as possible (to a fiftieth)."""
    fewest = _groups(widths, room)
    for percent in range(50, 100, 2):
        groups = _groups(widths, room * percent / 100)
        if len(groups) == len(fewest):
            return groups
    return fewest


def _groups(widths: Sequence[float], room: float) -> list[list[int]]:
    """Neighbors together while they fit; one that is wider than ``room`` stands alone."""
    groups: list[list[int]] = []
    used = 0.0
    for column, width in enumerate(widths):
        if not groups or used + width > room:
            groups.append([])
            used = 0.0
        groups[-1].append(column)
        used += width
    return groups
