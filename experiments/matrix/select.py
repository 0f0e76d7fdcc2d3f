"""The part of a matrix that a command works on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from experiments.errors import InputError
from experiments.matrix.expansion import Entry, Expansion
from experiments.matrix.pairs import fits
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
    wanted = needed([*(e.spec for e in entries), *(c.spec for c in candidates)], expansion)
    teachers = tuple(t for t in expansion.teachers if t.id in wanted)
    return Expansion(entries, teachers, candidates, choices)


def _names_of(entry: Entry) -> tuple[str, ...]:
    """What `--methods` may call an entry; a family means all its variants."""
    return tuple({entry.spec.method, entry.label, entry.family or entry.label})


def needed(specs: Iterable[RunSpec], expansion: Expansion) -> set[str]:
    """The ids of the runs that these learn from, and of those that these learn from in turn."""
    known = {spec.id: spec for spec in expansion.teachers}
    wanted: set[str] = set()
    left = [run for spec in specs for run in spec.needs]
    while left:
        run = left.pop()
        if run not in wanted:
            wanted.add(run)
            left += known[run].needs if run in known else ()
    return wanted


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
