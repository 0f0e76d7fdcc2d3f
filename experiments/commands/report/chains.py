"""Of the runs on a board: who taught whom along chains, and the runs of an ensemble's members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.matrix.pairs import ARROW, BY
from results.schema import Record

Spec = Mapping[str, Any]


def teachers_of(spec: Spec) -> list[Mapping[str, Any]]:
    """What a stored spec says of its teacher; of an ensemble's, of each member."""
    teacher = spec.get("teacher")
    if not isinstance(teacher, Mapping):
        return []
    members = teacher.get("members")
    return [m for m in members if isinstance(m, Mapping)] if members else [teacher]


def assistants(spec: Spec, records: Mapping[str, Record]) -> tuple[Record, ...]:
    """The runs between a student and the first teacher of its chain, the last assistant first."""
    return tuple(_above(spec, records))


def _above(spec: Spec, records: Mapping[str, Record]) -> Iterator[Record]:
    seen: set[str] = set()
    while True:
        teachers = teachers_of(spec)
        run = str(teachers[0].get("run")) if len(teachers) == 1 else ""
        record = records.get(run)
        if record is None or run in seen or not teachers_of(record.spec):
            return
        seen.add(run)  # a file that others wrote may hold a circle
        yield record
        spec = record.spec


def written(method: str, line: Sequence[Record]) -> str:
    """The teacher of a chain as a matrix writes it, for a student of ``method``.

    ``line``: its assistants, the last one first. "resnet110 -> resnet56 by kd".
    """
    parts = [str((line[-1].spec.get("teacher") or {}).get("name"))]
    for record in reversed(line):
        own = str(record.spec.get("method"))
        by = "" if own == method else f"{BY}{own}"
        parts.append(f"{record.spec.get('student')}{by}")
    return ARROW.join(parts)
