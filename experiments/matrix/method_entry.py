"""An entry of a matrix's ``methods:``, as it is written."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from experiments.matrix.pairs import ARROW, PairEntry, fits, names_of
from experiments.matrix.strict import Strict


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
    sweep: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    ablate: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
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
