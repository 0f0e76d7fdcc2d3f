"""Tables of measures beyond top-1: methods × pairs, under the rules of the main table.

A cell is the mean ± sample standard deviation over the trials that have the measure; one that some
planned trials lack says so and is in no average.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from results.cells import Cell, is_missing
from results.layout import Table
from results.leaderboard import NAN, Leaderboard, summary
from results.printed import MISSING, number, plus_minus

Numbers = dict[Any, Any]  # a row of the leaderboard's frame
IMPOSSIBLE = "n/a"


@dataclass(frozen=True)
class Measure:
    """What a table says about a field of `schema.Measures`, and how many decimals it prints."""

    title: str
    direction: str
    digits: int


_HIGHER, _LOWER = "higher is better", "lower is better"
MEASURES = {
    "top1": Measure("top-1 accuracy (%)", _HIGHER, 2),
    "top5": Measure("top-5 accuracy (%)", _HIGHER, 2),
    "nll": Measure("negative log-likelihood (nats)", _LOWER, 3),
    "ece": Measure("expected calibration error, 15 bins of equal width (%)", _LOWER, 2),
    "ece_adaptive": Measure("expected calibration error, 15 bins of equal mass (%)", _LOWER, 2),
    "brier": Measure("Brier score, summed over classes", _LOWER, 4),
    "agreement": Measure("agreement with the teacher (%)", "higher is closer to it", 2),
    "kl": Measure("KL(teacher || student) (nats)", "lower is closer to the teacher", 3),
}


def measured(board: Leaderboard, names: Sequence[str]) -> Leaderboard:
    """The leaderboard with columns NAME_mean, NAME_std and NAME_n in its frame.

    ``names`` are keys of MEASURES; top1 is there already. The records of the cells have measures.
    """
    names = [name for name in dict.fromkeys(names) if name != "top1"]
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in board.cells:
        groups.setdefault((cell.pair, cell.method), []).append(cell)
    frame = board.frame.copy()
    places = list(zip(frame["pair"], frame["method"], strict=True))
    for name in names:
        known = [_values(groups.get(place, ()), name) for place in places]
        statistics = [summary(values) for values in known]
        frame[f"{name}_mean"] = [mean for mean, _ in statistics]
        frame[f"{name}_std"] = [std for _, std in statistics]
        frame[f"{name}_n"] = [len(values) for values in known]
    return replace(board, frame=frame, measures=tuple(names))


def _values(cells: Sequence[Cell], name: str) -> list[float]:
    """A measure of the runs that have it."""
    found = (c.record.measures for c in cells if c.record and c.record.measures)
    values = (getattr(measures, name) for measures in found)
    return [value for value in values if value is not None]


def tables(board: Leaderboard) -> list[Table]:
    """One table for each of ``board.measures``."""
    return [_table(board, name) for name in board.measures]


def _table(board: Leaderboard, name: str) -> Table:
    measure, several = MEASURES[name], len(board.pairs) > 1
    header = ["Method", *board.pairs, *["Average"] * several]
    rows = [_row(board, method, name) for method in board.methods]
    title = f"{board.dataset}: {measure.title}; {measure.direction}"
    return Table(title, header, rows, notes=list(_notes(rows)), has_pairs=True)


def _row(board: Leaderboard, method: str, name: str) -> list[str]:
    frame, digits = board.frame, MEASURES[name].digits
    cells = frame[frame["method"] == method].set_index("pair").to_dict("index")
    texts = [_text(board, method, pair, name, cells[pair]) for pair in board.pairs]
    if len(board.pairs) == 1:
        return [method, *texts]
    complete = all(_is_complete(cells[pair], name) for pair in board.pairs)
    average = sum(cells[pair][f"{name}_mean"] for pair in board.pairs) / len(board.pairs)
    return [method, *texts, number(average if complete else NAN, digits)]


def _is_complete(cell: Numbers, name: str) -> bool:
    return cell[f"{name}_n"] == cell["expected"] > 0


def _text(board: Leaderboard, method: str, pair: str, name: str, cell: Numbers) -> str:
    digits, n = MEASURES[name].digits, cell[f"{name}_n"]
    if not n:
        impossible = not is_missing(cell["reason"]) or _has_none(board, method, pair)
        return IMPOSSIBLE if impossible else MISSING
    text = plus_minus(cell[f"{name}_mean"], cell[f"{name}_std"], digits)
    return text if _is_complete(cell, name) else f"{text} (n={n:.0f})"


def _has_none(board: Leaderboard, method: str, pair: str) -> bool:
    """Whether the runs of a cell have measures; asked of one that none of them has."""
    records = [c.record for c in board.cells if (c.method, c.pair) == (method, pair) and c.record]
    return bool(records) and all(record.measures for record in records)


def _notes(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Explains only what is there to be seen."""
    yield "Computed from the predictions at the last epoch."
    texts = [text for row in rows for text in row[1:]]
    if MISSING in texts or any("(n=" in text for text in texts):
        yield (
            f"{MISSING} and (n=k): of no run, or of k trials only; what finished runs lack is "
            "filled in by `benchmark.py evaluate --matrix`. An average needs every pair."
        )
    if IMPOSSIBLE in texts:
        yield (
            f"{IMPOSSIBLE}: cannot be computed, for example without a teacher to compare with, or "
            "from predictions in the compact form."
        )
