"""Pivots as data: the response curve that csv and json hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from results import verdict_rows
from results.cells import is_missing
from results.pivot import Pivot, Value, delta


def rows(pivots: Iterable[Pivot]) -> list[dict[str, Any]]:
    """One row per point and pair; accuracies in percent, ``delta`` in points, None for no value.

    family    label of the matrix's entry; ``method`` is the label of the row
    setting   where the entry's other options stand
    key       the option, ``value`` its value; of two options also ``key2`` and ``value2``
    own       whether the values are the entry's own
    complete  whether all trials are there; n are
    delta     above the mean of the own values on this pair; None unless both are complete
    """
    made = [row for pivot in pivots for row in _of(pivot)]
    names = dict.fromkeys(name for row in made for name in row)
    return [{name: row.get(name) for name in names} for row in made]


def _of(pivot: Pivot) -> list[dict[str, Any]]:
    frame = pivot.board.frame
    cells = {(c["method"], c["pair"]): c for c in frame.to_dict("records")}
    return [
        {
            "family": pivot.family,
            "setting": pivot.setting,
            "pair": pair,
            **_point(pivot, point),
            "own": point == pivot.own,
            **_numbers(cells[row, pair]),
            "delta": delta(pivot, row, pair),
            "method": label,
        }
        for row, (point, label) in pivot.rows.items()
        for pair in pivot.board.pairs
    ]


def _point(pivot: Pivot, point: Iterable[Value]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for number, (key, value) in enumerate(zip(pivot.keys, point, strict=True), start=1):
        end = "" if number == 1 else str(number)
        named |= {f"key{end}": key, f"value{end}": value.text}
    return named


def _numbers(cell: dict[Any, Any]) -> dict[str, Any]:
    names = ("n", "mean", "std", "complete", "reason")
    return {name: None if is_missing(cell[name]) else cell[name] for name in names}


def objects(pivots: Iterable[Pivot]) -> list[dict[str, Any]]:
    """The json's ``pivots``: each with its rows, averages and verdicts."""
    return [
        {
            "family": pivot.family,
            "setting": pivot.setting,
            "keys": list(pivot.keys),
            "own": [value.text for value in pivot.own],
            "rows": rows([pivot]),
            "averages": _averages(pivot),
            "verdicts": verdict_rows.objects(pivot.board.verdicts),
        }
        for pivot in pivots
    ]


def _averages(pivot: Pivot) -> dict[str, float | None]:
    """Over all pairs, by the rows' names; None where a pair is not complete."""
    found = {row: pivot.board.average(row) for row in pivot.rows}
    return {row: None if is_missing(value) else value for row, value in found.items()}
