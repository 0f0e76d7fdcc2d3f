"""The recipe of each network of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from experiments.errors import explain
from experiments.matrix.recipe import Recipe
from experiments.matrix.schema import Matrix


class Recipes:
    """The recipe of each student and each teacher of a matrix.

    Raises InputError naming ``source`` for a wrong key or value in ``teacher_recipe``.
    """

    def __init__(self, matrix: Matrix, source: str) -> None:
        fields = matrix.recipe.model_dump()
        self.exceptions: dict[str, float] = fields.pop("lr_exceptions")
        self.common = fields
        self.teachers = {**fields, **matrix.teacher_recipe}
        try:
            Recipe.model_validate(self.teachers)
        except ValidationError as error:
            raise explain(error, Recipe, source, ("teacher_recipe",)) from error

    def student(self, name: str, own: Mapping[str, Any] = MappingProxyType({})) -> Recipe:
        """The recipe of a student; ``own``: of its entry. A rate there is for all students."""
        if "lr" in own:
            return Recipe.model_validate({**self.common, **own})
        return self._recipe({**self.common, **own}, name)

    def teacher(self, name: str) -> Recipe:
        return self._recipe(self.teachers, name)

    def _recipe(self, fields: dict[str, Any], name: str) -> Recipe:
        patterns = [p for p in self.exceptions if fnmatchcase(name, p)]
        rate = {"lr": self.exceptions[patterns[0]]} if patterns else {}
        return Recipe.model_validate({**fields, **rate})
