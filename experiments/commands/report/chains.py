"""Of the runs on a board: who taught whom along chains, and the runs of an ensemble's members."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from experiments.matrix.pairs import ARROW, BY, NONE
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


def named(records: Mapping[str, Record]) -> frozenset[str]:
    """The assistants that students of other methods learn from, too: those of "A -> B by kd -> C".

    Where every student of an assistant has its method, a matrix need not have named it.
    """
    taught: dict[str, set[str]] = {}
    for record in records.values():
        for teacher in teachers_of(record.spec):
            taught.setdefault(str(teacher.get("run")), set()).add(str(record.spec.get("method")))
    known = (records[run] for run in taught if run in records)
    return frozenset(r.run for r in known if taught[r.run] != {str(r.spec.get("method"))})


def teacher_name(spec: Spec) -> str | None:
    """The name of its teacher as a matrix writes it: of an ensemble "[resnet110, wrn_40_2]".

    None without a teacher; "none" where its name is not stored.
    """
    teacher = spec.get("teacher")
    if not isinstance(teacher, Mapping):
        return None
    if teacher.get("members"):
        return f"[{', '.join(str(member.get('name')) for member in teachers_of(spec))}]"
    return str(teacher.get("name") or NONE)


def written(line: Sequence[Record], by: Collection[str]) -> str:
    """The teacher of a chain as a matrix writes it: "resnet110 -> resnet56 by kd".

    ``line``: its assistants, the last one first; ``by``: those whose method is `named`.
    """
    parts = [str(teacher_name(line[-1].spec))]
    for record in reversed(line):
        method = f"{BY}{record.spec.get('method')}" if record.run in by else ""
        parts.append(f"{record.spec.get('student')}{method}")
    return ARROW.join(parts)
