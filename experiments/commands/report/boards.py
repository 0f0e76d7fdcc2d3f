"""`report` of a board file alone: a board for each protocol that its runs have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets
from experiments.commands import published
from experiments.commands.board import measured_record
from experiments.commands.report import runs as report_runs
from experiments.commands.report import stored
from experiments.commands.report.protocols import groups
from experiments.commands.report.table import Table
from experiments.commands.report.tuned_rows import Searches
from experiments.commands.tuned import without_searches
from experiments.errors import InputError
from experiments.matrix.select import filtered, tidy
from experiments.plan.workspace import Selection
from results import board_file, published_rows
from results.report.content import Content
from results.schema import Record
from results.statistics import LEVEL


@dataclass(frozen=True)
class Asked:
    """What `report` was asked to show, of a matrix or of a board file."""

    selection: Selection = field(default_factory=Selection)
    baseline: str | None = None
    level: float = LEVEL
    published: Sequence[str] = ()


def contents(path: Path, asked: Asked, data: Path) -> list[Content]:
    """The boards of a board file, the largest protocol first, without the runs of searches.

    ``data``: where data sets are, for the names of their classes. InputError where there is no run,
    or none that was asked for.
    """
    everything = _records(path)
    records = without_searches(everything)
    if not records:
        only = " but of searches, which have no test accuracy" if everything else ""
        raise InputError(f"{path}: no finished run there{only}")
    searches = Searches.of(everything)
    tables = [Table.of(group, searches) for group in groups(records)]
    shown = _selected(tables, asked.selection, path)
    history = report_runs.history_of(path, ())
    _check_published(shown, asked.published)
    return [
        Content(
            name=path.stem + (f"-{number}" if number > 1 else ""),
            board=table.board(asked.baseline, asked.level, asked.published),
            methods=table.facts(),
            runs=table.runs(),
            history=history,
            classes=datasets.class_names(table.data.name, data, table.data.options),
        )
        for number, table in enumerate(shown, start=1)
    ]


def _records(path: Path) -> dict[str, Record]:
    """The records of a board file, with those of their measures that belong to them."""
    records = board_file.read(path, measures=True)
    stored.check(records, path)
    return {run: measured_record(one, one.measures, None) for run, one in records.items()}


def _selected(tables: Sequence[Table], chosen: Selection, path: Path) -> list[Table]:
    """The tables with their cells that are asked for. InputError for what fits no cell of any."""
    cells = tuple((table, cell) for table in tables for cell in table.cells)
    try:
        cells = filtered(
            cells, "--methods", chosen.methods, lambda e: (e[0].methods[e[1].method], e[1].method)
        )
        cells = filtered(cells, "--pairs", map(tidy, chosen.pairs), lambda e: (tidy(e[1].pair),))
        cells = filtered(cells, "--trials", map(str, chosen.trials), lambda e: (str(e[1].trial),))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    parts = [(table, tuple(cell for of, cell in cells if of is table)) for table in tables]
    return [replace(table, cells=left) for table, left in parts if left]


def _check_published(tables: Sequence[Table], sources: Sequence[str]) -> None:
    """Raise InputError for a source that is unknown, or has nothing on the data of any table."""
    published_rows.check(sources, "--published")
    named = {table.published_name for table in tables}
    for source in sources:
        known = {row.dataset for row in published_rows.rows(source)}
        if not known & named:
            raise published.nothing_on(source, sorted(named), known)
