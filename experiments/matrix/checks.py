"""Names, options and labels of a matrix, checked before anything is built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import datasets
import distillers
import models
from experiments.errors import together
from experiments.matrix import tune_checks, tuning, variant_checks, variants
from experiments.matrix.known import is_method
from experiments.matrix.method_entry import MethodEntry
from experiments.matrix.options import option_problem
from experiments.matrix.pairs import NONE, PairEntry
from experiments.matrix.schema import Matrix
from experiments.matrix.variants import label
from models.registry import near


def check_names(matrix: Matrix, source: str) -> None:
    """Raise one InputError about all unknown names, wrong options and duplicate labels.

    Nothing has been built before.
    """
    methods: list[str] = []
    labels: list[str] = []
    for i, method in enumerate(matrix.methods):
        found = (
            [*_method_problems(i, method)]
            or [*variant_checks.problems(matrix, method, i)]
            or [*tune_checks.problems(matrix, method, i)]
        )
        methods += found
        labels += _labels(matrix, method, i, found)
    parts = (_data_problems(matrix), _model_problems(matrix), methods, _label_problems(labels))
    error = together(f"{source}: {problem}" for part in parts for problem in part)
    if error:
        raise error


def check_data(matrix: Matrix, source: str) -> None:
    """Raise InputError for an unknown data set or unknown options of it."""
    error = together(f"{source}: {problem}" for problem in _data_problems(matrix))
    if error:
        raise error


def _data_problems(matrix: Matrix) -> Iterator[str]:
    name = matrix.dataset.name
    if name not in datasets.names():
        yield f"dataset: unknown data set {name!r}: {near(name, datasets.names())}"
        return
    known = datasets.options(name)
    for key in matrix.dataset.options:
        if key not in known:
            hint = near(key, [*known, "name", "subset", "validation"])
            yield f"dataset.{key}: unknown key: {hint}"


def _model_problems(matrix: Matrix) -> Iterator[str]:
    for i, pair in enumerate(matrix.pairs):
        for role, name in _roles(pair):
            try:
                models.check(name)
            except models.ModelError as error:
                yield f"pairs.{i}.{role}: {error}"
        yield from (f"pairs.{i}: {problem}" for problem in _assistant_problems(pair))
    known = models.names()
    for pattern in matrix.recipe.lr_exceptions:
        if not any(fnmatchcase(name, pattern) for name in known):
            yield f"recipe.lr_exceptions: unknown model {pattern!r}: {near(pattern, known)}"


def _roles(pair: PairEntry) -> Iterator[tuple[str, str]]:
    """What the networks of a pair are in it, with their names."""
    yield from (("teacher", name) for name in pair.roots if name != NONE)
    yield from (("assistant", link.teacher) for link in pair.links if link.assistant)
    yield "student", pair.student


def _assistant_problems(pair: PairEntry) -> Iterator[str]:
    """What is wrong with the methods that a chain names for its assistants."""
    for name in [link.by for link in pair.links if link.by]:
        try:
            method = distillers.find(name)
            taught = method.needs_of(distillers.resolve(name)).teacher
        except distillers.MethodError as error:
            yield str(error)
            continue
        if not taught:
            yield f"by {name}: expected a method that has a teacher"
        elif method.predict is not distillers.Distiller.predict:
            yield f"by {name}: {no_assistant(name)}"


def no_assistant(method: str) -> str:
    """Why a method that predicts with a head of its own cannot train assistants."""
    return (
        f"{method} predicts with modules of its own, not with its student's classifier: "
        "its student cannot be another's teacher"
    )


def _method_problems(i: int, method: MethodEntry) -> Iterator[str]:
    """An unknown name or preset, else each wrong option, those for single pairs included."""
    try:
        distillers.resolve(method.name, preset=method.preset)
    except distillers.MethodError as error:
        yield f"methods.{i}: {error}"
        return
    given = {f"methods.{i}": method.options}
    given |= {f"methods.{i}.pairs.{pair}": options for pair, options in method.pairs.items()}
    for where, options in given.items():
        for key, value in options.items():
            problem = option_problem(method, key, value)
            if problem:
                yield f"{where}: {problem}"


def _labels(matrix: Matrix, method: MethodEntry, i: int, found: Sequence[str]) -> list[str]:
    """Those of an entry's rows; of one with problems ``found`` its own, if its method is known."""
    is_resolvable = not found and matrix.dataset.name in datasets.names()
    if is_resolvable or not (found or method.is_varied):
        rows = [row.label for row in variants.variants(matrix, method, i)]
        tuned = map(tuning.tuned_label, rows) if tuning.is_tuned(matrix, method) else ()
        return [*rows, *tuned]
    return [label(method)] if method.label or is_method(method.name) else []


def _label_problems(labels: Sequence[str]) -> Iterator[str]:
    for text, times in Counter(labels).items():
        if text.strip().casefold() in ("", "teacher"):
            row = "the teachers' row" if text.strip() else "nothing"
            yield f"methods: the label {text!r} is that of {row}: expected another one"
        if times > 1:
            yield (
                f"methods: the label {text!r} is used {times} times; "
                f"give each entry a label of its own"
            )
