"""What is wrong with the tuning of a matrix's entry."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

import distillers
from experiments.errors import explain, problems_of
from experiments.matrix import tuning
from experiments.matrix.method_entry import MethodEntry
from experiments.matrix.recipe import Recipe
from experiments.matrix.schema import Matrix
from experiments.matrix.variants import recipe_fields


def problems(matrix: Matrix, method: MethodEntry, number: int) -> Iterator[str]:
    """The problems of the ``number``-th entry, whose name, options and recipe are right."""
    if matrix.tune is None or not tuning.is_tuned(matrix, method):
        return
    place = f"methods.{number}"
    yield from _space_problems(matrix, method, place)
    fields = recipe_fields(matrix, method)
    try:
        Recipe.model_validate({**fields, **matrix.tune.recipe(fields)})
    except ValidationError as error:
        for text in problems_of(explain(error, Recipe, "")):
            yield f"tune.epochs: {matrix.tune.epochs}: the recipe of the search: {text}"


def _space_problems(matrix: Matrix, method: MethodEntry, place: str) -> Iterator[str]:
    """A wrong ``search``, or nothing to search in; each once for all pairs."""
    try:
        spaces = [tuning.space(method, pair) for pair in matrix.pairs]
    except distillers.MethodError as error:
        yield f"{place}: {error}"
        return
    if not all(spaces):
        yield (
            f"{place}: {method.name} has no search space, so it cannot be tuned: expected "
            "tune: false in its entry, which leaves it at its options"
        )
