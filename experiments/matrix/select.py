"""The part of a matrix that a command works on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from experiments.errors import InputError
from experiments.matrix.expand import Entry, Expansion
from experiments.matrix.schema import fits
from models.registry import near


def select(
    expansion: Expansion,
    methods: Iterable[str] = (),
    pairs: Iterable[str] = (),
    trials: Iterable[int] = (),
) -> Expansion:
    """The part of a matrix that the filters select; run ids do not change.

    methods: names or labels; pairs: "A -> B", or a pattern such as "resnet* -> *"; trials: numbers.
    Raises InputError for a filter that matches nothing.
    """
    entries = expansion.entries
    entries = _filter(entries, "--methods", methods, lambda e: (e.spec.method, e.label))
    entries = _filter(entries, "--pairs", map(_tidy, pairs), lambda e: (_tidy(e.pair),))
    entries = _filter(entries, "--trials", map(str, trials), lambda e: (str(e.spec.trial),))
    wanted = {e.spec.teacher.run for e in entries if e.spec.teacher}
    return Expansion(entries, tuple(t for t in expansion.teachers if t.id in wanted))


def _tidy(pair: str) -> str:
    return "->".join(part.strip() for part in pair.replace("→", "->").split("->"))


def _filter(
    entries: tuple[Entry, ...], option: str, patterns: Iterable[str], names: Any
) -> tuple[Entry, ...]:
    patterns = list(patterns)
    if not patterns:
        return entries
    known = {name for entry in entries for name in names(entry)}
    wanted: set[str] = set()
    for pattern in patterns:
        fitting = {name for name in known if fits(name, pattern)}
        if not fitting:
            raise InputError(f"{option}: no match for {pattern!r}: {near(pattern, known)}")
        wanted |= fitting
    return tuple(entry for entry in entries if not wanted.isdisjoint(names(entry)))
