"""Sweeps and ablations as pivots: a method's accuracy against the values of one or two options.

A pivot is a leaderboard of its own, whose rows are values: "kd_temperature 2". Its baseline is the
row of the entry's own values, where there is one, so differences and tests are those of `verdicts`,
over the rows of this pivot alone. Rows of other recipes or data than the matrix's are compared with
one another here: that they differ in nothing else is what a sweep of them is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from results.cells import Cell
from results.leaderboard import Leaderboard, leaderboard

MOST_KEYS = 2


@dataclass(frozen=True)
class Value:
    """A value of an option: ``text`` as labels have it, ``number`` where it is one."""

    text: str
    number: float | None = None


Point = tuple[Value, ...]  # a value of each option of a pivot


@dataclass(frozen=True)
class Family:
    """The rows that one entry of a matrix was written out to.

    label     of the entry
    own       the entry's own value of every option that its rows vary
    variants  label of a row -> its values of the same options
    """

    label: str
    own: Mapping[str, Value]
    variants: Mapping[str, Mapping[str, Value]]

    @property
    def keys(self) -> tuple[str, ...]:
        """The options that it varies."""
        return tuple(self.own)


@dataclass(frozen=True)
class Pivot:
    """The rows of a family that differ in ``keys`` alone.

    setting  where its other options stand: "recipe.epochs 60"; "" where they are at the entry's own
             values, and no other pivot of these options has them elsewhere
    own      the entry's own point; a row has it or not
    rows     row of the ``board`` -> (its point, its label in the matrix's table)
    departs  row -> in what its recipe and data are not the board's, beside point and setting
    board    baseline: the row of the entry's own point
    """

    family: str
    keys: tuple[str, ...]
    setting: str
    own: Point
    rows: Mapping[str, tuple[Point, str]]
    departs: Mapping[str, tuple[str, ...]]
    board: Leaderboard

    @property
    def name(self) -> str:
        """ "KD", "KD (recipe.epochs 60)" """
        return f"{self.family} ({self.setting})" if self.setting else self.family

    def values(self, key: int) -> list[Value]:
        """The values of its ``key``-th option, each once, in order."""
        return _ordered(point[key] for point, _ in self.rows.values())

    def row(self, point: Point) -> str | None:
        """The row of a point; None where the matrix has none."""
        return next((row for row, (at, _) in self.rows.items() if at == point), None)


def options(board: Leaderboard) -> list[str]:
    """The options by which a board can be pivoted: those that have two values in some family."""
    keys = {key: None for family in board.families for key in family.keys}
    return [key for key in keys if any(pivots(board, [key]))]


def pivots(board: Leaderboard, keys: Sequence[str]) -> Iterator[Pivot]:
    """Of every family that varies all of these options, a pivot for each setting of the others."""
    for family in board.families:
        if set(keys) <= set(family.keys):
            yield from _of_family(board, family, tuple(keys))


def _of_family(board: Leaderboard, family: Family, keys: tuple[str, ...]) -> Iterator[Pivot]:
    groups: dict[Point, dict[Point, str]] = {}
    others = [key for key in family.keys if key not in keys]
    for label, values in family.variants.items():
        if label in board.methods:
            group = groups.setdefault(tuple(values[key] for key in others), {})
            group.setdefault(tuple(values[key] for key in keys), label)
    shown = {at: group for at, group in groups.items() if _is_varied(group, len(keys))}
    own = tuple(family.own[key] for key in others)
    for at, group in shown.items():
        setting = named(others, at) if len(shown) > 1 or at != own else ""
        yield _pivot(board, family, keys, setting, _in_order(group))


def _is_varied(points: Mapping[Point, str], keys: int) -> bool:
    """Whether every option has two values."""
    return all(len({point[i] for point in points}) > 1 for i in range(keys))


def _in_order(points: Mapping[Point, str]) -> dict[Point, str]:
    places = [{v: i for i, v in enumerate(_ordered(of))} for of in zip(*points, strict=True)]
    ordered = sorted(points, key=lambda p: [of[v] for of, v in zip(places, p, strict=True)])
    return {point: points[point] for point in ordered}


def _ordered(values: Iterable[Value]) -> list[Value]:
    """Each once; from the lowest where all are numbers, else as the matrix has them."""
    found = list(dict.fromkeys(values))
    if all(value.number is not None for value in found):
        found.sort(key=lambda value: value.number or 0.0)
    return found


def _pivot(
    board: Leaderboard,
    family: Family,
    keys: tuple[str, ...],
    setting: str,
    points: Mapping[Point, str],
) -> Pivot:
    own = tuple(family.own[key] for key in keys)
    rows = {named(keys, point): (point, label) for point, label in points.items()}
    baseline = named(keys, own) if own in points else None
    cells = _cells(board, {row: label for row, (_, label) in rows.items()})
    told = {text for row in (*rows, setting) for text in row.split(", ")}
    departs = {c.method: tuple(text for text in c.departs if text not in told) for c in cells}
    others = {*board.methods, *(one.label for one in board.families)} - {family.label}
    made = _board(board, cells, baseline, board.exceptions_beside(others))
    return Pivot(family.label, keys, setting, own, rows, departs, made)


def _cells(board: Leaderboard, rows: Mapping[str, str]) -> list[Cell]:
    """Those of the rows, by new names; ``rows``: new name -> label on the board."""
    by_label: dict[str, list[Cell]] = {}
    for cell in board.cells:
        by_label.setdefault(cell.method, []).append(cell)
    return [replace(c, method=row) for row, label in rows.items() for c in by_label[label]]


def _board(
    board: Leaderboard, cells: Sequence[Cell], baseline: str | None, exceptions: Sequence[str]
) -> Leaderboard:
    """Of these cells. Departures are cleared last: warnings go by them."""
    made = leaderboard(
        cells,
        {},
        dataset=board.dataset,
        recipe=board.recipe,
        exceptions=exceptions,
        baseline=baseline,
        level=board.level,
    )
    alike = tuple(replace(cell, departs=()) for cell in cells)
    return replace(made, cells=alike, all_pairs=board.all_pairs)


def named(keys: Sequence[str], point: Point) -> str:
    """ "kd_temperature 2, recipe.epochs 60" """
    return ", ".join(f"{key} {value.text}" for key, value in zip(keys, point, strict=True))


def delta(pivot: Pivot, row: str, pair: str) -> float | None:
    """Points above the row of the own values on one pair; None unless both are complete there."""
    frame = pivot.board.frame
    at = frame[(frame["pair"] == pair) & frame["complete"]]
    means = dict(zip(at["method"], at["mean"].tolist(), strict=True))
    own = means.get(pivot.board.baseline)
    return means[row] - own if row in means and own is not None else None
