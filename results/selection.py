"""What a table shows, and in which order: rows sorted by a column, columns chosen by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from results.cells import is_missing
from results.layout import Table, TableError, part
from results.leaderboard import Leaderboard
from results.printed import rounded
from results.render import SUPERSCRIPTS

if TYPE_CHECKING:
    import pandas as pd

NONE = "none"  # the order of the matrix
COSTS = ("time", "images", "step", "parameters", "parameters-at-test", "memory")
VERDICTS = ("intervals", "improved", "worst", "image-error")
COLUMNS = (
    *("pairs", "average", "delta", "verdict", "coverage", "rank"),
    *("differences", *VERDICTS),
    *("cost", *COSTS),
)
_GROUPS = {"cost": COSTS, "differences": VERDICTS}
_NAMES = {  # of headings whose first word is not the name
    "Δ": "delta",
    "SE, images": "image-error",
    "Images/s": "images",
    "Extra parameters (M)": "parameters",
    "of these at test (M)": "parameters-at-test",
    "Peak memory (GiB)": "memory",
}


# ---- rows ----------------------------------------------------------------------------------------


def sort_columns(board: Leaderboard) -> list[str]:
    """What `sorted_by` takes."""
    delta = ["delta"] if board.baseline is not None else []
    return [NONE, "method", "average", *delta, *board.pairs]


def sorted_by(board: Leaderboard, column: str) -> Leaderboard:
    """The board with its methods from the highest to the lowest, or by name for "method".

    By the last epoch, also where the best epochs are shown. Methods without a number (incomplete
    ones) come last; those that are equal as printed stay in the order of the matrix.
    """
    if column == NONE:
        return board
    if column == "method":
        methods = sorted(board.methods, key=str.casefold)
    else:
        scores = _scores(board, column)
        methods = sorted(board.methods, key=lambda method: _descending(scores[method]))
    place = {method: i for i, method in enumerate(methods)}
    return replace(
        board,
        methods=tuple(methods),
        frame=_reordered(board.frame, place),
        cost_frame=_reordered(board.cost_frame, place),
        cells=tuple(sorted(board.cells, key=lambda cell: place[cell.method])),
    )


def _descending(score: float) -> tuple[bool, float]:
    return (True, 0.0) if is_missing(score) else (False, -rounded(score))


def _reordered(frame: pd.DataFrame, place: Mapping[str, int]) -> pd.DataFrame:
    return frame.sort_values(
        "method", key=lambda methods: methods.map(place), kind="stable", ignore_index=True
    )


def _scores(board: Leaderboard, column: str) -> dict[str, float]:
    """Method -> its number in a column; NaN where a trial or a pair is missing."""
    if column == "average":
        return {method: board.average(method) for method in board.methods}
    if column == "delta":
        return {method: board.delta(method) for method in board.methods}
    cells = board.frame[(board.frame["pair"] == column) & board.frame["complete"]]
    means = dict(zip(cells["method"], cells["mean"], strict=True))
    return {method: means.get(method, float("nan")) for method in board.methods}


def ranks(board: Leaderboard) -> dict[str, int]:
    """Method -> its rank by the average as printed: 1, 2, 2, 4.

    Incomplete methods, and those that are not comparable, have none.
    """
    averages = {
        method: rounded(average)
        for method, average in _scores(board, "average").items()
        if not is_missing(average) and method not in board.departing
    }
    return {m: 1 + sum(other > own for other in averages.values()) for m, own in averages.items()}


# ---- columns -------------------------------------------------------------------------------------


def chosen(tables: Sequence[Table], board: Leaderboard, columns: Sequence[str]) -> list[Table]:
    """The tables with only these columns (of `COLUMNS`), in this order.

    A table without any of them is left out, as is a column that there is no reason to show
    (coverage where all is complete). TableError when nothing remains.
    """
    wanted = [name for given in columns for name in _GROUPS.get(given, (given,))]
    main, *others = tables
    if "rank" in wanted:
        main = _ranked(main, board)
    shown = [_with(table, _places(table, board, wanted)) for table in [main, *others]]
    tables = [table for table in shown if len(table.header) > 1]
    if not tables:
        raise TableError(f"--columns {' '.join(columns)}: this table has none of them")
    return tables


def name_of(heading: str, pairs: Sequence[str]) -> str:
    """The name of a column in `COLUMNS`: of "Time (min)" it is "time"."""
    if heading in pairs:
        return "pairs"
    if heading.startswith("Δ, "):
        return "intervals"
    return _NAMES.get(heading, heading.split(" ")[0].lower())


def _places(table: Table, board: Leaderboard, wanted: Sequence[str]) -> list[int]:
    names = [name_of(heading, board.pairs) for heading in table.header]
    order = {name: i for i, name in reversed(list(enumerate(wanted)))}
    places = [i for i, name in enumerate(names) if i > 0 and name in order]
    return sorted(places, key=lambda i: order[names[i]])


def _with(table: Table, places: Sequence[int]) -> Table:
    """Some of the columns, without the numbered notes that nothing shown refers to."""
    less = part(table, [0, *places])
    cells = [text for row in less.rows for text in row]
    marks = [(_mark(note), note) for note in table.notes]
    seen = [note for mark, note in marks if not mark or any(_has(text, mark) for text in cells)]
    return replace(less, notes=seen)


def _mark(note: str) -> str:
    """The number that a note begins with: "¹²"."""
    return note[: len(note) - len(note.lstrip(SUPERSCRIPTS))]


def _has(text: str, mark: str) -> bool:
    """Whether the text refers to a note: ² is not a part of ¹²."""
    others = "".join(c if c in SUPERSCRIPTS else " " for c in text)
    return mark in others.split()


def _ranked(table: Table, board: Leaderboard) -> Table:
    """The table with a column of ranks; those above the methods (teachers) have none."""
    given = ranks(board)
    above = [""] * (len(table.rows) - len(board.methods))
    texts = [*above, *(str(given.get(method, "–")) for method in board.methods)]
    rows = [[*row, text] for row, text in zip(table.rows, texts, strict=True)]
    number = "average" if len(board.pairs) > 1 else "accuracy"
    note = (
        f"Rank: by the {number} as printed; equal ones share a rank, methods that lack a cell or a "
        "trial have none. A rank says nothing about noise."
    )
    return replace(table, header=[*table.header, "Rank"], rows=rows, notes=[*table.notes, note])
