"""Rows of a reference: which finished runs make one, what it is called, what is said about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import distillers
from experiments.matrix.protocol import is_known
from experiments.wording import form, plural
from results.schema import Record

# ---- rows and their labels -----------------------------------------------------------------------


_MOST = 10  # reasons for which runs are left out, of each reference
_BY_PAIR = " (options by pair)"
Key = tuple[str, str]  # a method, and its options as JSON
Runs = dict[str, set[str]]  # why or where -> ids of runs
Row = dict[tuple[str, int], Record]  # by pair and trial


def key_of(method: str, options: Mapping[str, Any]) -> Key:
    """A method with all its options; those that were not stored were at their default."""
    defaults = distillers.defaults(method) if is_known(method) else {}
    return method, json.dumps({**defaults, **options}, sort_keys=True)


def rows_of(found: Mapping[Key, Row], name: str = "") -> dict[str, Row]:
    """Label -> row. A method whose options differ only between pairs is one row.

    ``name`` in brackets ends each label.
    """
    mark = f" [{name}]" if name else ""
    by_method: dict[str, list[Key]] = {}
    for key in found:
        by_method.setdefault(key[0], []).append(key)
    rows: dict[str, Row] = {}
    for method, keys in by_method.items():
        pairs = [{pair for pair, _ in found[key]} for key in keys]
        if len(keys) > 1 and len(set().union(*pairs)) == sum(map(len, pairs)):
            whole = {place: record for key in keys for place, record in found[key].items()}
            rows[_label(method, _BY_PAIR + mark, rows)] = whole
            continue
        for key in keys:
            rows[_label(method, _options(*key) + mark, rows)] = found[key]
    return rows


def _label(method: str, more: str, taken: Mapping[str, Row]) -> str:
    """The label of a row; two methods of one title are told apart by their names."""
    label = f"{title_of(method)}{more}"
    return f"{label} ({method})" if label in taken else label


def title_of(method: str) -> str:
    """Its title; of one that is not known here its name."""
    return distillers.title(method) if is_known(method) else method


def _options(method: str, options: str) -> str:
    """ " (beta 2.0)": the options that are not at their defaults; or the preset they are."""
    given = json.loads(options)
    changed = {k: v for k, v in given.items() if v != _defaults(method).get(k)}
    if is_known(method):
        presets = distillers.find(method).presets
        named = [name for name in presets if given == _defaults(method, name)]
        changed = {named[0]: ""} if named and changed else changed
    listed = ", ".join(f"{key} {_text(value)}".rstrip() for key, value in changed.items())
    return f" ({listed})" if listed else ""


def options_text(key: Key) -> str:
    """ "beta 2.0, weight 1.0", or "defaults"."""
    return _options(*key)[2:-1] or "defaults"


def _defaults(method: str, preset: str | None = None) -> dict[str, Any]:
    """As JSON gives them back; of a method that is not known here those that all have."""
    known = is_known(method)
    defaults = distillers.defaults(method, preset) if known else distillers.Distiller.base_defaults
    content: dict[str, Any] = json.loads(json.dumps(defaults))
    return content


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def options_by_pair(rows: Mapping[str, Row]) -> list[str]:
    """The options of the rows that have other ones for each pair."""
    lines: dict[str, None] = {}
    for label, row in rows.items():
        for (pair, _), record in row.items() if _BY_PAIR in label else ():
            key = key_of(str(record.spec["method"]), record.spec["options"])
            lines[f"{label}, {pair}: {options_text(key)}"] = None
    return list(lines)


# ---- what is said --------------------------------------------------------------------------------


def notes_on(path: Path, name: str, shown: bool, filled: Runs, left: Runs) -> list[str]:
    """The caption of a reference's rows, and one line per reason why runs are left out.

    filled  label of a row of the table -> the runs of it that are the reference's
    left    reason -> runs
    """
    lines = []
    if shown:
        lines.append(
            f"[{name}]: finished runs of {path} with the same data, recipe, student "
            "and teacher's weights; paired by trial: equal initial weights and batches"
        )
    if filled:
        listed = ", ".join(f"{label} ({len(runs)})" for label, runs in filled.items())
        count = sum(map(len, filled.values()))
        lines.append(
            f"{plural(count, 'run')} of rows without mark {form(count, 'is', 'are')} taken from "
            f"{name}: {listed}"
        )
    return [*lines, *_left_out(name, left)]


def _left_out(name: str, left: Runs) -> list[str]:
    counts = {reason: len(runs) for reason, runs in left.items()}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"left out of {name}: {plural(n, 'run')}: {reason}" for reason, n in ordered[:_MOST]]
    others = ordered[_MOST:]
    if others:
        runs = plural(sum(count for _, count in others), "run")
        lines.append(f"left out of {name}: {runs} for {plural(len(others), 'other reason')}")
    return lines
