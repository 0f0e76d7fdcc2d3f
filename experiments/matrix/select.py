"""The part of a matrix that a command works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from experiments.errors import InputError
from experiments.matrix.expansion import Entry, Expansion
from experiments.matrix.pairs import fits, names_of
from experiments.matrix.run_spec import RunSpec
from models.registry import near

T = TypeVar("T")


def select(
    expansion: Expansion,
    methods: Iterable[str] = (),
    pairs: Iterable[str] = (),
    trials: Iterable[int] = (),
) -> Expansion:
    """The part of a matrix that the filters select; run ids do not change.

    methods: names or labels; the label of an entry with a sweep means all that it makes
    pairs: "A -> B", or a pattern such as "resnet* -> *"
    trials: numbers

    Raises InputError for a filter that matches nothing.
    """
    entries = expansion.entries
    entries = filtered(entries, "--methods", methods, _names_of)
    entries = filtered(entries, "--pairs", map(tidy, pairs), lambda e: (tidy(e.pair),))
    entries = filtered(entries, "--trials", map(str, trials), lambda e: (str(e.spec.trial),))
    chosen = {(e.family or e.label, e.pair) for e in entries}
    choices = tuple(c for c in expansion.choices if any((c.label, p) in chosen for p in c.pairs))
    compared = {run for choice in choices for runs in choice.runs for run in runs}
    candidates = tuple(c for c in expansion.candidates if c.spec.id in compared)
    specs = [*(entry.spec for entry in entries), *(one.spec for one in candidates)]
    return Expansion(entries, teachers_of(specs, expansion.teachers), candidates, choices)


def _names_of(entry: Entry) -> tuple[str, ...]:
    """What `--methods` may call an entry; a family means all its variants."""
    return tuple({entry.spec.method, entry.label, entry.family or entry.label})


def teachers_of(specs: Iterable[RunSpec], teachers: Sequence[RunSpec]) -> tuple[RunSpec, ...]:
    """Those of ``teachers`` that these runs learn from, and those that they learn from in turn.

    Whom a teacher learns from stands before it.
    """
    wanted = {run for spec in specs for run in spec.needs}
    for teacher in reversed(teachers):
        if teacher.id in wanted:
            wanted.update(teacher.needs)
    return tuple(teacher for teacher in teachers if teacher.id in wanted)


def tidy(pair: str) -> str:
    """A pair however it is written: "A -> B", "A→B"."""
    return "->".join(names_of(pair))


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
