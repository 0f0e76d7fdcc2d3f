"""The tables of a board's page: those of `table`, and what stands in their cells."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from results import measure_tables, published_table, tables, tuning_tables, verdict_tables
from results.layout import Table
from results.leaderboard import Leaderboard

SHORT = {  # names of measures for menus and headings; the tables' titles say them in full
    "top1": "Top-1 accuracy (%)",
    "top5": "Top-5 accuracy (%)",
    "nll": "NLL (nats)",
    "ece": "ECE (%)",
    "ece_adaptive": "Adaptive ECE (%)",
    "brier": "Brier score",
    "agreement": "Agreement with the teacher (%)",
    "kl": "KL to the teacher (nats)",
}
_LOWEST = -1e99  # JavaScript reads it as a number, too
_NUMBER = re.compile(r"[+−-]?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class View:
    """A table with the name by which it is chosen; ``label`` is what the menu says."""

    name: str
    label: str
    table: Table


def views(board: Leaderboard) -> list[View]:
    """Every table of the board, the main one first; those of published results are apart."""
    first, *others = tables.all_of(replace(board, published=()), best=True)
    costs = [table for table in others if table.title == "Cost"]
    per_pair = verdict_tables.by_pair(board.verdicts)
    measured = zip(board.measures, measure_tables.tables(board), strict=True)
    return [
        View("top1", SHORT["top1"], first),
        *(View("delta", f"Δ to {board.baseline} (points)", table) for table in per_pair),
        *(View(_name(table), _label(table), table) for table in others if table not in costs),
        *(View(name, SHORT[name], table) for name, table in measured),
        *(View("cost", "Cost", table) for table in costs),
    ]


def _label(table: Table) -> str:
    return table.title.partition(";")[0]


def _name(table: Table) -> str:
    return table.title.split()[0].lower().strip(",:")


def published(board: Leaderboard) -> list[Table]:
    """Published results beside ours, a table for each source."""
    return published_table.tables(board.published)


def tuning(board: Leaderboard) -> dict[str, Table]:
    """What was tuned, what it gained and cost, by headings; empty where nothing was."""
    return tuning_tables.named(board)


def of_method(board: Leaderboard, shown: list[View], label: str) -> Table | None:
    """One method's results: pairs as rows, every table that has pairs as a column."""
    rows = {}
    for view in shown:
        found = [row for row in view.table.rows if row[0] == label]
        if view.table.has_pairs and found:
            rows[view.label] = dict(zip(view.table.header, found[0], strict=True))
    if not rows:
        return None
    texts = [[pair, *(row.get(pair, "") for row in rows.values())] for pair in board.pairs]
    return Table(f"{label}: results", ["Pair", *rows], texts)


def sort_value(text: str) -> float:
    """By what a cell is sorted: its first number; what has none is below all numbers."""
    found = _NUMBER.match(text.strip())
    return float(found[0].replace(",", "").replace("−", "-")) if found else _LOWEST
