"""What is wrong with the sweep, the ablation, the recipe and the data of a matrix's entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

import datasets
from experiments.errors import explain, problems_of
from experiments.matrix import variants
from experiments.matrix.method_entry import DATASET, RECIPE, MethodEntry, part_of
from experiments.matrix.options import option_problem
from experiments.matrix.recipe import Recipe
from experiments.matrix.schema import Matrix
from experiments.wording import plural
from models.registry import near


def problems(matrix: Matrix, method: MethodEntry, number: int) -> Iterator[str]:
    """The problems of the ``number``-th entry, whose name, preset and options are right.

    None of an unknown data set's, which is a problem of the matrix.
    """
    if matrix.dataset.name not in datasets.names():
        return
    place = f"methods.{number}"
    found = [
        *(f"{place}.dataset.{text}" for text in _data_problems(matrix, method.dataset)),
        *_value_problems(matrix, method, place),
    ]
    if not found:
        found = [
            *_template_problems(matrix, method, place),
            *_recipe_problems(matrix, method, place),
        ]
    yield from found


def _value_problems(matrix: Matrix, method: MethodEntry, place: str) -> Iterator[str]:
    """Of options and of keys of the data set, each alone; recipes are checked as a whole."""
    for key, values in method.varied.items():
        found = [_value_problem(matrix, method, key, value) for value in values]
        if len(set(found)) == 1 and len(values) > 1 and found[0]:  # of the key, not of its values
            yield f"{variants.place_of(place, method, ((key, 0),)).rpartition('.')[0]}: {found[0]}"
            continue
        for j, problem in enumerate(found):
            if problem:
                yield f"{variants.place_of(place, method, ((key, j),))}: {problem}"


def _value_problem(matrix: Matrix, method: MethodEntry, key: str, value: Any) -> str | None:
    part, name = part_of(key)
    if part == DATASET:
        problems = _data_problems(matrix, {name: value})
        return next((text.partition(": ")[2] for text in problems), None)
    return option_problem(method, name, value) if part == "" else None


def _data_problems(matrix: Matrix, given: Mapping[str, Any]) -> Iterator[str]:
    """Keys that the data set lacks, or that change no result; and a wrong ``subset``."""
    data = matrix.dataset.name
    known = datasets.options(data)
    for key, value in given.items():
        if key == "subset":
            if value is not None and (type(value) is not int or value < 1):
                yield f"{key}: expected a whole number of training images from 1, got {value!r}"
        elif key not in known:
            yield f"{key}: unknown key: {near(key, [*known, 'subset'])}"
        elif datasets.is_placement(data, key):
            yield f"{key}: is the same for all runs: expected in the matrix's dataset"


def _template_problems(matrix: Matrix, method: MethodEntry, place: str) -> Iterator[str]:
    """Keys of a label that no row has."""
    if not method.is_varied:
        return
    known = variants.Own(matrix, method).keys()
    for key in variants.template_keys(method.label):
        if key not in known:
            yield f"{place}.label: unknown key {{{key}}}: {near(key, known)}"


def _recipe_problems(matrix: Matrix, method: MethodEntry, place: str) -> Iterator[str]:
    """Of the recipes of all rows, each problem once, where the row's values are."""
    own = {RECIPE + key for key in method.recipe}
    varied = {key for key in method.varied if part_of(key)[0] == RECIPE}
    if not own | varied:
        return
    seen: set[str] = set()
    for setting in variants.settings(method):
        given = {key: method.varied[key][j] for key, j in setting}
        made = variants.with_values(matrix, method, given)
        set_here = tuple((key, j) for key, j in setting if key in varied)
        where = variants.place_of(place, method, set_here) if set_here else f"{place}.recipe"
        for text in _of_recipe(matrix, made):
            if text not in seen:
                yield _placed(where, text)
            seen.add(text)


def _of_recipe(matrix: Matrix, method: MethodEntry) -> Iterator[str]:
    """What is wrong, each as "KEY: …"; of several keys together, ": …"."""
    fields = variants.recipe_fields(matrix, method)
    try:
        recipe = Recipe.model_validate(fields)
    except ValidationError as error:
        yield from problems_of(explain(error, Recipe, ""))
        return
    if recipe.batch_size < 2 * matrix.processes:
        shared = plural(matrix.processes, "process", "processes")
        yield f"batch_size: {recipe.batch_size} for {shared}: each needs at least 2 samples"


def _placed(where: str, problem: str) -> str:
    """A problem of a recipe at its place, which may name the key already."""
    key, _, text = problem.partition(": ")
    if key and where.endswith(".recipe"):
        return f"{where}.{problem}"
    return f"{where}: {problem if key and f'.{RECIPE}{key}.' not in where else text}"
