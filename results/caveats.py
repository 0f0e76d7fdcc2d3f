"""What a table must say about the records it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.cells import Cell
from results.provenance import Record, _fruitful, _submitted, code_warnings

MIXED, UNCOMMITTED = "mixed", "uncommitted changes in the code"


_NAMED = 4  # methods named per group, before "…"


def warnings(cells: Sequence[Cell], paired_teachers: bool = False) -> list[str]:
    """The records' own warnings, each once, then every way in which the records do not match.

    ``paired_teachers`` says that each trial has a teacher of its own, as the matrix wanted it.
    """
    done = [(cell, cell.record) for cell in cells if cell.record is not None]
    runs = list({r["run"]: (cell.method, r) for cell, r in done}.values())  # pairs share baselines
    mixtures = [*_mixtures(runs), *_uncommitted(runs)]
    return [
        *dict.fromkeys(text for _, record in done for text in _own(record)),
        *mixtures,
        *_code_changes(runs, mixtures),
        *_mixed_teachers(done, paired_teachers),
    ]


def beyond_recipe(cells: Sequence[Cell]) -> list[str]:
    """Which methods computed more than the recipe says: not to be compared without that word."""
    found: dict[str, str] = {}
    for cell in cells:
        schedule = (cell.record or {}).get("schedule") or {}
        before, views = schedule.get("initial_epochs", 0), schedule.get("views", 1)
        more = [f"{schedule.get('epochs')}+{before} epochs"] if before else []
        more += [f"{views} views of every image"] if views > 1 else []
        if more:
            found[cell.method] = " and ".join(more)
    listed = "; ".join(f"{method} ({more})" for method, more in found.items())
    return [f"Not compute-matched: {listed}"] if listed else []


def _own(record: Record) -> list[str]:
    """A record's warnings, but not those about code: they are told with their methods."""
    told = [str(text) for text in record.get("warnings") or ()]
    return [text for text in told if text not in code_warnings(_starts(record))]


def _mixtures(runs: Iterable[tuple[str, Record]]) -> list[str]:
    """One sentence per property in which runs of one table differ."""
    found = []
    for name, value in _PROPERTIES.items():
        groups = _grouped(runs, value)
        groups.pop("", None)  # not recorded
        if len(groups) > 1:
            found.append(f"{MIXED} {name}: {_describe(groups)}")
    return found


def _uncommitted(runs: Iterable[tuple[str, Record]]) -> list[str]:
    """Runs with uncommitted changes; by their hashes where two of one commit differ."""
    dirty = [(method, record) for method, record in runs if _is_dirty(record)]
    changes = {(_commits(record), _changes(record)) for _, record in dirty}
    known = [commit for commit, hashes in changes if hashes]
    if len(set(known)) < len(known):
        groups = _grouped(dirty, lambda record: _changes(record) or "unknown")
        return [f"{MIXED} {UNCOMMITTED}: {_describe(groups)}"]
    methods = [method for method, _ in dirty]
    return [f"{UNCOMMITTED}: {_count(methods, named=True)}"] if dirty else []


def _grouped(
    runs: Iterable[tuple[str, Record]], value: Callable[[Record], str]
) -> dict[str, list[str]]:
    """Value -> the methods of the runs that have it."""
    groups: dict[str, list[str]] = {}
    for method, record in runs:
        groups.setdefault(value(record), []).append(method)
    return groups


def _code_changes(runs: Iterable[tuple[str, Record]], mixtures: Iterable[str]) -> list[str]:
    """Code that was not the submitted one; that it changed on the way, if no mixture tells it."""
    telling = (f"{MIXED} commits", f"{MIXED} {UNCOMMITTED}")
    told = any(text.startswith(telling) for text in mixtures)
    groups: dict[str, list[str]] = {}
    for method, record in runs:
        starts = _starts(record)
        for text in _submitted(starts) if told else code_warnings(starts):
            groups.setdefault(text, []).append(method)
    return [f"{text}: {_count(methods, named=True)}" for text, methods in groups.items()]


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
    return _fruitful(record.get("starts") or [])


def _is_dirty(record: Record) -> bool:
    return any(start.get("dirty") for start in _starts(record))


def _commits(record: Record) -> str:
    return _joined((start.get("commit") or "")[:10] for start in _starts(record))


def _changes(record: Record) -> str:
    return _joined((start.get("changes") or "")[:8] for start in _starts(record))


def _joined(values: Iterable[Any]) -> str:
    """A run that changed machines on its way is a group of its own: "A100 then H100"."""
    return " then ".join(dict.fromkeys(str(value) for value in values if value))


_PROPERTIES: dict[str, Callable[[Record], str]] = {
    "data": lambda record: ((record.get("data") or {}).get("sha256") or "")[:8],
    "torch versions": lambda record: _joined(
        (start.get("versions") or {}).get("torch") for start in _starts(record)
    ),
    "devices": lambda record: _joined(start.get("device") for start in _starts(record)),
    # Batch norms see what one process sees, so this is part of what was trained.
    "numbers of processes": lambda record: _joined(
        start.get("processes", 1) for start in _starts(record)
    ),
    "commits": _commits,
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
