"""The part of a matrix that a command works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from experiments.errors import InputError
from experiments.matrix.expansion import Expansion
from experiments.matrix.pairs import fits
from models.registry import near

T = TypeVar("T")


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
    entries = filtered(entries, "--methods", methods, lambda e: (e.spec.method, e.label))
    entries = filtered(entries, "--pairs", map(tidy, pairs), lambda e: (tidy(e.pair),))
    entries = filtered(entries, "--trials", map(str, trials), lambda e: (str(e.spec.trial),))
    wanted = {e.spec.teacher.run for e in entries if e.spec.teacher}
    return Expansion(entries, tuple(t for t in expansion.teachers if t.id in wanted))


def tidy(pair: str) -> str:
    """A pair however it is written: "A -> B", "A→B"."""
    return "->".join(part.strip() for part in pair.replace("→", "->").split("->"))


def filtered(
    entries: tuple[T, ...],
    option: str,
    patterns: Iterable[str],
    names: Callable[[T], Iterable[str]],
) -> tuple[T, ...]:
    """The entries of which a name fits one of the patterns; all where there are no patterns.

    InputError that names ``option`` for a pattern that fits none.
    """
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
