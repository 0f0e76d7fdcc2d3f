"""Published results beside ours as tables of text, columns of the csv, objects of the json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results import published_rows
from results.cells import is_missing
from results.layout import Table
from results.printed import number, plus_minus, signed
from results.published_comparison import Compared, Comparison, flat
from results.published_rows import BEST, STUDENT, UNKNOWN
from results.published_verdict import APART, CONFIDENCE, TYPICAL, VERDICTS, WITHIN
from results.render import superscript

if TYPE_CHECKING:
    import pandas as pd

_BEYOND_LAST = 0.3  # points that the best epoch is above the last, on average of logged runs
_MOST_NAMES = 8  # of what one side lacks, in a note


def tables(comparisons: Sequence[Comparison]) -> list[Table]:
    """One table per source that shares a cell with the board, or would with its runs done."""
    return [_table(c) for c in comparisons]


def beside(frame: pd.DataFrame, comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """A board's frame with columns of each source, such as ``tian2020crd_difference``."""
    for comparison in comparisons:
        added = comparison.frame().drop(columns=["source", "ours_n"])
        names = {name: f"{comparison.source}_{name}" for name in added.columns[2:]}
        frame = frame.merge(added.rename(columns=names), how="left", on=["pair", "method"])
    return frame


def objects(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """What the json holds: per source its facts, and every cell of the board."""
    return [
        {
            "source": c.source,
            "title": published_rows.sources()[c.source].title,
            "dataset": c.dataset,
            "notes": _notes(c, {}),
            "rows": [
                {key: None if is_missing(value) else value for key, value in flat(cell).items()}
                for cell in c.cells
            ],
        }
        for c in comparisons
    ]


def _table(comparison: Comparison) -> Table:
    shown = [cell for cell in comparison.cells if cell.theirs is not None]
    marks = _marks(shown)
    columns = _columns(shown, marks)
    rows = [[text(cell) for text in columns.values()] for cell in shown]
    title = f"Published, beside ours: {comparison.source}"
    return Table(title, list(columns), rows, notes=_notes(comparison, marks), is_list=True)


def _columns(shown: Sequence[Compared], marks: Mapping[str, int]) -> dict[str, Any]:
    """Heading -> the text of a cell. Best epochs of ours have a column of their own."""
    with_best = any(cell.epoch == BEST for cell in shown)
    best = {"Ours (best epoch)": _our_best} if with_best else {}
    return {
        "Pair, method": lambda cell: f"{cell.pair}, {cell.method}",
        "Theirs": lambda cell: plus_minus(cell.theirs.value, cell.theirs.std),
        "n": lambda cell: str(cell.theirs.n or "?"),
        "Epoch": lambda cell: "?" if cell.theirs.epoch == UNKNOWN else cell.theirs.epoch,
        "Ours (last epoch)": lambda cell: plus_minus(cell.ours.mean, cell.ours.std),
        **best,
        "Our n": lambda cell: str(cell.ours.n or "–"),
        "Difference": lambda cell: _signed(cell.difference),
        "SE": lambda cell: _error(cell),
        "Verdict": lambda cell: cell.verdict + _mark(cell, marks),
    }


def _our_best(cell: Compared) -> str:
    return plus_minus(cell.ours.best, cell.ours.best_std) if cell.epoch == BEST else ""


def _marks(shown: Iterable[Compared]) -> dict[str, int]:
    """Reasons, numbered from 1 in the order of their cells."""
    reasons = dict.fromkeys(_reason(cell) for cell in shown if cell.reasons)
    return {reason: number for number, reason in enumerate(reasons, start=1)}


def _reason(cell: Compared) -> str:
    return f"{cell.verdict}: {'; '.join(cell.reasons)}"


def _mark(cell: Compared, marks: Mapping[str, int]) -> str:
    return superscript(marks[_reason(cell)]) if cell.reasons else ""


# ---- notes ---------------------------------------------------------------------------------------


def _notes(comparison: Comparison, marks: Mapping[str, int]) -> list[str]:
    shown = [cell for cell in comparison.cells if cell.theirs is not None]
    judged = [cell for cell in shown if not cell.reasons]
    return [
        _about(comparison),
        *_tally(shown),
        *_how(shown),
        *_by_chance(judged),
        *_assumed(shown),
        *_epochs(shown),
        *_unstated(shown),
        *_left_out(comparison),
        *[f"{superscript(mark)} {reason}" for reason, mark in marks.items()],
    ]


def _about(comparison: Comparison) -> str:
    source = published_rows.sources()[comparison.source]
    recipes = published_rows.recipes()
    used = dict.fromkeys(c.theirs.recipe for c in comparison.cells if c.theirs)
    trained = "; ".join(text for key in used if key and (text := recipes[key].summary()))
    weak = "Read from pictures" if source.pictures else ""
    weak = "Reprinted or re-implemented by others" if source.secondary else weak
    parts = (
        f"{source.title}{f' ({source.where})' if source.where else ''}",
        f"Trials: {source.trials}",
        f"Recipe: {trained}" if trained else "",
        weak,
    )
    return ". ".join(part.rstrip(".") for part in parts if part) + "."


def _tally(shown: Sequence[Compared]) -> list[str]:
    if not shown:
        return ["Cannot be joined: no pair and method that both have."]
    counts = Counter(cell.verdict for cell in shown)
    listed = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return [f"{_cells(len(shown))} that both have: {listed}."]


def _how(shown: Sequence[Compared]) -> list[str]:
    if all(is_missing(cell.difference) for cell in shown):
        return []
    return [
        "Difference: ours minus theirs, in points; SE: its standard error, the root of s²/n of "
        "theirs plus that of ours. "
        f"{WITHIN.capitalize()}, above, below: two-sided at {CONFIDENCE:.0%} per cell, by Welch's "
        "t where both spreads are measured, else by the normal distribution. Options of methods "
        "are not compared."
    ]


def _by_chance(judged: Sequence[Compared]) -> list[str]:
    if not judged:
        return []
    outside = sum(cell.verdict != WITHIN for cell in judged)
    expected = (1 - CONFIDENCE) * len(judged)
    return [
        f"{outside} of {_cells(len(judged))} under one protocol outside; if nothing differed, "
        f"about {expected:.1f} would be by chance alone."
    ]


def _assumed(shown: Sequence[Compared]) -> list[str]:
    cells = [cell for cell in shown if cell.assumed]
    without = {
        "no std of theirs": sum(c.theirs is not None and c.theirs.std is None for c in cells),
        "one trial of ours": sum(c.ours.n == 1 for c in cells),
        "no n of theirs, taken as 1": sum(c.theirs is not None and not c.theirs.n for c in cells),
    }
    if not cells:
        return []
    listed = ", ".join(f"{why} ({count})" for why, count in without.items() if count)
    return [
        f"* at SE: partly assumed, with {TYPICAL:g} points between trials where no spread is "
        f"known: {listed}."
    ]


def _epochs(shown: Sequence[Compared]) -> list[str]:
    epochs = {cell.theirs.epoch for cell in shown if cell.theirs}
    notes = []
    if BEST in epochs:
        notes.append(
            "Epoch best: theirs is the best epoch, picked on the test set, and is compared with "
            "our best epoch; our headline is the last."
        )
    if UNKNOWN in epochs:
        notes.append(
            "Epoch ?: not stated, compared with our last; a best epoch is about "
            f"{_BEYOND_LAST:g} higher on CIFAR-100."
        )
    return notes


def _unstated(shown: Sequence[Compared]) -> list[str]:
    """What the verdicts had to leave open, because the source does not say it."""
    rows = [c.theirs for c in shown if c.theirs and not is_missing(c.difference)]
    recipes = published_rows.recipes()
    taught = [row for row in rows if row.method != STUDENT]
    counts = {
        "the teacher's accuracy": sum(published_rows.teacher_accuracy(r) is None for r in taught),
        "the number of epochs": sum(recipes[r.recipe].epochs is None for r in rows),
    }
    listed = ", ".join(f"{what} ({_cells(count)})" for what, count in counts.items() if count)
    return [f"Not stated by the source, so not compared: {listed}."] if listed else []


def _left_out(comparison: Comparison) -> list[str]:
    """What only one side has."""
    absent = [c for c in comparison.cells if c.theirs is None]
    notes = [f"{APART.capitalize()}: {text}." for text in _absent(absent)]
    if comparison.lacking:
        listed = _listed(method for _, method in comparison.lacking)
        notes.append(f"{APART.capitalize()}: of theirs, no such row of ours: {listed}.")
    if comparison.reprints:
        notes.append(f"{comparison.reprints} of its rows reprint another source: left out.")
    return notes


def _absent(cells: Sequence[Compared]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for cell in cells:
        by_reason.setdefault("; ".join(cell.reasons), []).append(cell.method)
    return [f"{reason}: {_listed(methods)}" for reason, methods in by_reason.items()]


def _listed(methods: Iterable[str]) -> str:
    """ "KD (2 cells), DKD (13 cells), …"."""
    counts = Counter(methods)
    shown = [f"{name} ({_cells(n)})" for name, n in counts.items()]
    more = [f"… {len(shown) - _MOST_NAMES} more methods"] * (len(shown) > _MOST_NAMES)
    return ", ".join([*shown[:_MOST_NAMES], *more])


def _cells(number: int) -> str:
    return f"{number} cell{'s' * (number != 1)}"


# ---- numbers -------------------------------------------------------------------------------------


def _signed(value: float) -> str:
    return "" if is_missing(value) else signed(value)


def _error(cell: Compared) -> str:
    star = "*" * cell.assumed
    return "" if is_missing(cell.standard_error) else number(cell.standard_error) + star
