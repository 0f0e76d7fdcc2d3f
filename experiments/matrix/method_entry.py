"""An entry of a matrix's ``methods:``, as it is written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from experiments.matrix.pairs import ARROW, PairEntry, fits, names_of
from experiments.matrix.recipe import Recipe
from experiments.matrix.strict import Strict
from models.registry import near

RECIPE, DATASET = "recipe.", "dataset."  # before keys that are no options of the method
# A matrix has one data set, and its hold-out is for choosing options, not an option.
_OF_THE_MATRIX = ("name", "validation")
Values = Annotated[tuple[Any, ...], Field(min_length=1)]


def part_of(key: str) -> tuple[str, str]:
    """("recipe.", "epochs"): the part that a key belongs to, "" for options, and its name there."""
    for part in (RECIPE, DATASET):
        if key.startswith(part):
            return part, key.removeprefix(part)
    return "", key


class MethodEntry(Strict):
    """``- crd+kd``, or a mapping with options, preset, label and exceptions for some pairs.

    A key of ``pairs`` is a pair or a pattern such as "vgg13 -> *". ``sweep`` and ``ablate`` make
    several entries of one: see `variants`. ``recipe`` and ``dataset`` hold for the students of this
    entry alone. ``search`` narrows the method's search space, and ``tune: false`` leaves the entry
    at its options where the matrix tunes.
    """

    name: str
    label: str | None = None
    preset: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    pairs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    sweep: dict[str, Values] = Field(default_factory=dict)
    ablate: dict[str, Values] = Field(default_factory=dict)
    recipe: dict[str, Any] = Field(default_factory=dict)
    dataset: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Any] = Field(default_factory=dict)
    tune: bool = Field(True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, (str, dict)):
            return {"name": value} if isinstance(value, str) else value
        raise ValueError("expected a method's name, or a mapping with one")

    @field_validator("pairs")
    @classmethod
    def _one_spelling(cls, pairs: dict[str, Any]) -> dict[str, Any]:
        spellings = {ARROW.join(names_of(key)): key for key in pairs}
        if len(spellings) < len(pairs):
            raise ValueError("a pair is given twice, in two spellings")
        return {pair: pairs[key] for pair, key in spellings.items()}

    @field_validator("sweep", "ablate")
    @classmethod
    def _values_of_known_keys(cls, varied: dict[str, Any]) -> dict[str, Any]:
        for part in (RECIPE, DATASET):
            names = [name for key in varied for of, name in [part_of(key)] if of == part]
            _raise(f"{part}{problem}" for problem in _key_problems(part, names))
        _raise(
            f"{key}: the value {value!r} is given twice"
            for key, values in varied.items()
            for value in _repeated(values)
        )
        return varied

    @field_validator("recipe")
    @classmethod
    def _fields_of_a_recipe(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        _raise(_key_problems(RECIPE, recipe))
        return recipe

    @field_validator("dataset")
    @classmethod
    def _options_of_data(cls, dataset: dict[str, Any]) -> dict[str, Any]:
        _raise(_key_problems(DATASET, dataset))
        return dataset

    @model_validator(mode="after")
    def _one_kind_of_variation(self) -> MethodEntry:
        if self.sweep and self.ablate:
            raise ValueError("sweep and ablate: expected one of them")
        return self

    @property
    def varied(self) -> Mapping[str, Sequence[Any]]:
        """The keys of its sweep or ablation, and their values."""
        return self.sweep or self.ablate

    @property
    def is_varied(self) -> bool:
        """Whether it makes several rows."""
        return bool(self.varied)

    @property
    def count(self) -> int:
        """How many rows it makes, at most: an ablation leaves out its own values."""
        counts = [len(values) for values in self.varied.values()]
        return 1 + sum(counts) if self.ablate else math.prod(counts)

    def options_for(self, pair: PairEntry) -> dict[str, Any]:
        """The entry's options on one pair.

        Of several patterns that fit, later ones win; the pair itself wins over all patterns.
        """
        fitting = [key for key in self.pairs if fits(str(pair), key)]
        exact = str(pair).lower()
        fitting.sort(key=lambda key: key.lower() == exact)  # stable: patterns keep their order
        merged = dict(self.options)
        for key in fitting:
            merged |= self.pairs[key]
        return merged


def _raise(problems: Iterable[str]) -> None:
    lines = list(problems)
    if lines:
        raise ValueError("\n".join(lines))


def _key_problems(part: str, names: Iterable[str]) -> Iterator[str]:
    """Keys that a recipe, or the data of an entry, cannot have."""
    for name in names:
        if part == RECIPE and name not in Recipe.model_fields:
            yield f"{name}: unknown key: {near(name, Recipe.model_fields)}"
        if part == DATASET and name in _OF_THE_MATRIX:
            yield f"{name}: expected in the matrix's dataset, not for one entry"


def is_bool(value: Any) -> bool:
    """Whether it is true or false, which equal 1 and 0 in Python."""
    return isinstance(value, bool)


def _repeated(values: Sequence[Any]) -> list[Any]:
    """Values that are equal to an earlier one; True is no 1."""
    return [
        value
        for i, value in enumerate(values)
        if any(value == other and is_bool(value) is is_bool(other) for other in values[:i])
    ]
