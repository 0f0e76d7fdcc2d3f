"""What is wrong with the tuning of a matrix's entry."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

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
    if not tuning.space(method):
        yield (
            f"{place}: {method.name} has no search space, so it cannot be tuned: expected "
            "tune: false in its entry, which leaves it at its options"
        )
    fields = recipe_fields(matrix, method)
    try:
        Recipe.model_validate({**fields, **matrix.tune.recipe(fields)})
    except ValidationError as error:
        for text in problems_of(explain(error, Recipe, "")):
            yield f"tune.epochs: {matrix.tune.epochs}: the recipe of the search: {text}"
