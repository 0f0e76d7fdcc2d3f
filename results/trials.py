"""A leaderboard's runs one by one: what csv and json hold beside the cells' statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from results.cells import Cell


def rows(cells: Iterable[Cell], measures: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row per planned run, in the table's order; None where there is no value.

    method       the registry's name ("kd"); label is the row's name in the tables
    options      every option of the method, defaults included
    top1, top5   of the last epoch on the test set; best_top1 of the best epoch, picked and scored
                 on best_split; validation_top1 of the last epoch on the held-out part
    reason       why a run that is not done is in its state
    measures     names of further columns: fields of the record's `Measures`
    """
    return [{**_what(cell), **_outcome(cell), **_measures(cell, measures)} for cell in cells]


def _what(cell: Cell) -> dict[str, Any]:
    spec = cell.spec or (cell.record.spec if cell.record else {})
    teacher, source = spec.get("teacher") or {}, spec.get("source") or {}
    return {
        "method": source.get("method") or spec.get("method"),  # a probe is of a method's student
        "label": cell.method,
        "options": spec.get("options"),
        "student": spec.get("student"),
        "teacher": teacher.get("name"),
        "pair": cell.pair,
        "dataset": _dataset(spec.get("dataset")),
        "trial": cell.trial,
        "run": cell.record.run if cell.record else cell.run or None,
    }


def _measures(cell: Cell, names: Sequence[str]) -> dict[str, Any]:
    """Without top-5, which `_outcome` has of every record, old ones included."""
    found = cell.record.measures if cell.record else None
    return {name: getattr(found, name, None) for name in names if name != "top5"}


def _dataset(dataset: Any) -> str | None:
    return dataset.get("name") if isinstance(dataset, dict) else dataset


def _outcome(cell: Cell) -> dict[str, Any]:
    names = ("top1", "top5", "best_top1", "best_epoch", "best_split", "validation_top1", "seconds")
    scores: dict[str, Any] = dict.fromkeys(names)
    if cell.record is not None:
        accuracy = cell.record.accuracy
        held_out = accuracy.validation.top1 if accuracy.validation else None
        best = (accuracy.best.top1, accuracy.best.epoch, accuracy.best.split)
        last = (accuracy.last.top1, accuracy.last.top5)
        scores = dict(zip(names, (*last, *best, held_out, cell.record.seconds), strict=True))
    return {"state": cell.state, **scores, "reason": None if cell.record else cell.reason}
