"""What a table must confess about the records it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.leaderboard import Cell

Record = dict[str, Any]
_NAMED = 4  # methods named per group, before "…"


def warnings(cells: Sequence[Cell], paired_teachers: bool = False) -> list[str]:
    """The records' own warnings, each once, then every way in which the records do not match.

    ``paired_teachers`` says that each trial has a teacher of its own, as the matrix wanted it.
    """
    done = [(cell, cell.record) for cell in cells if cell.record is not None]
    own = [str(text) for _, record in done for text in record.get("warnings") or ()]
    return [
        *dict.fromkeys(own),
        *_mixtures([(cell.method, record) for cell, record in done]),
        *_mixed_teachers(done, paired_teachers),
    ]


def _mixtures(done: Iterable[tuple[str, Record]]) -> list[str]:
    """One sentence per property in which runs of one table differ, and one for dirty trees."""
    runs = {record["run"]: (method, record) for method, record in done}  # pairs share baselines
    found = []
    for name, value in _PROPERTIES.items():
        groups: dict[str, list[str]] = {}
        for method, record in runs.values():
            groups.setdefault(value(record), []).append(method)
        groups.pop("", None)  # not recorded
        if len(groups) > 1:
            found.append(f"mixed {name}: {_describe(groups)}")
    dirty = [method for method, record in runs.values() if _dirty(record)]
    if dirty:
        found.append(f"uncommitted changes in the code: {_count(dirty, named=True)}")
    return found


def _mixed_teachers(done: Iterable[tuple[Cell, Record]], paired: bool) -> list[str]:
    """Pairs whose students had teachers of different weights."""
    weights: dict[tuple[str, int | None], dict[str, None]] = {}
    for cell, record in done:
        sha256 = (record.get("teacher") or {}).get("sha256")
        if sha256:
            key = (cell.pair, cell.trial if paired else None)
            weights.setdefault(key, {})[sha256[:8]] = None
    return [
        f"{pair}{'' if trial is None else f', trial {trial}'}: "
        f"students of different teachers (weights {', '.join(hashes)})"
        for (pair, trial), hashes in weights.items()
        if len(hashes) > 1
    ]


def _starts(record: Record) -> list[Record]:
    return record.get("starts") or []


def _dirty(record: Record) -> bool:
    return any(start.get("dirty") for start in _starts(record))


def _joined(values: Iterable[Any]) -> str:
    """A run that changed machines on its way is a group of its own: "A100 then H100"."""
    return " then ".join(dict.fromkeys(str(value) for value in values if value))


_PROPERTIES: dict[str, Callable[[Record], str]] = {
    "data": lambda record: ((record.get("data") or {}).get("sha256") or "")[:8],
    "torch versions": lambda record: _joined(
        (start.get("versions") or {}).get("torch") for start in _starts(record)
    ),
    "devices": lambda record: _joined(start.get("device") for start in _starts(record)),
    "commits": lambda record: _joined(
        (start.get("commit") or "")[:10] for start in _starts(record)
    ),
}


def _describe(groups: dict[str, list[str]]) -> str:
    """Largest group first; only the others name their methods."""
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return ", ".join(
        f"{value} ({_count(methods, named=i > 0)})" for i, (value, methods) in enumerate(ordered)
    )


def _count(methods: list[str], named: bool) -> str:
    text = f"{len(methods)} run{'s' * (len(methods) != 1)}"
    names = list(dict.fromkeys(methods))
    more = ", …" if len(names) > _NAMED else ""
    return f"{text} of {', '.join(names[:_NAMED])}{more}" if named else text
