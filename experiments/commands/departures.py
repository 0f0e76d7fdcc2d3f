"""Where the rows of a table leave its recipe, its data and the methods' defaults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from experiments.commands.teacher_scores import arrow
from experiments.matrix import variants
from experiments.matrix.expansion import Entry, Expansion
from experiments.matrix.method_entry import MethodEntry, part_of
from experiments.matrix.pairs import fits
from experiments.matrix.schema import Matrix
from experiments.matrix.variants import is_template, label
from experiments.plan.plan import Plan

MOST = 20  # rows that a note names


def exceptions(matrix: Matrix, shown: Expansion) -> list[str]:
    """Where students, teachers, methods or pairs that are shown leave the recipe or defaults."""
    students = {entry.spec.student for entry in shown.entries}
    labels = {name for e in shown.entries for name in (e.label, e.family)}
    lines = [
        f"lr {lr:g} for student {pattern}"
        for pattern, lr in matrix.recipe.lr_exceptions.items()
        if any(fnmatchcase(student, pattern) for student in students)
    ]
    if matrix.teacher_recipe:
        lines.append(f"teachers trained here: {_listed(matrix.teacher_recipe)}")
    pairs = {entry.pair for entry in shown.entries}
    for method in matrix.methods:
        if label(method) in labels:
            lines += _of_method(method, pairs)
    templates = {label(method) for method in matrix.methods if is_template(method.label)}
    told = {e.label: _options(e) for e in shown.entries if e.family in templates}
    return [*lines, *(f"{row}: {_listed(values)}" for row, values in told.items() if values)]


def _options(entry: Entry) -> dict[str, Any]:
    """What a variant sets, but for recipe and data, which `departing_note` tells."""
    return {key: value for key, value in entry.values if part_of(key)[0] == ""}


def _of_method(method: MethodEntry, pairs: Iterable[str]) -> Iterator[str]:
    """What an entry leaves of the defaults in all its rows."""
    name = label(method)
    if method.label and method.preset:
        yield f"{name}: preset {method.preset}"
    exceptions = {"": method.options}
    exceptions |= {p: o for p, o in method.pairs.items() if any(fits(pair, p) for pair in pairs)}
    for pair, options in exceptions.items():
        common = {key: value for key, value in options.items() if key not in method.sweep}
        if common:
            yield f"{name}{f', {arrow(pair)}' if pair else ''}: {_listed(common)}"


def departures_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Label -> in what the recipe and data of a row's students are not the matrix's."""
    return variants.departures_of(plan.of_students.matrix, plan.expansion.entries)


def departing_note(other: Mapping[str, Sequence[str]]) -> list[str]:
    """One sentence that names the rows of another recipe or other data, with what is other."""
    rows = []
    for row, texts in other.items():
        untold = [text for text in texts if text not in row]
        rows += [f"{row} ({', '.join(untold)})" if untold else row] if texts else []
    more = [f"… and {len(rows) - MOST} more"] if len(rows) > MOST else []
    listed = "; ".join([*rows[:MOST], *more])
    return [f"Another recipe or other data, so compared with no row: {listed}"] if rows else []


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in options.items())
