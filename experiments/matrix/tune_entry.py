"""``tune:`` of a matrix, as it is written."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from experiments.matrix.recipe import moved, nearest
from experiments.matrix.strict import Strict

HOLD_OUT = 0.1  # of the training set, where `dataset.validation` says nothing else


class TuneEntry(Strict):
    """An equal budget for every method, spent on the held-out part of the training set.

    configs  configurations per method, the entry's own options among them
    seed     of the sequence that configurations are points of
    split    the part that they are scored on; nothing else is allowed
    per      whether options are chosen for every pair, or once for all pairs of the matrix
    trials   of every configuration
    epochs   of every configuration; default: the recipe's. Milestones and warm-up scale with it
    """

    configs: int = Field(ge=2, strict=True)
    seed: int = Field(0, ge=0, strict=True)
    split: Literal["validation"] = "validation"
    per: Literal["pair", "matrix"] = "pair"
    trials: int = Field(1, ge=1, strict=True)
    epochs: int | None = Field(None, ge=1, strict=True)

    def recipe(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What the search has in place of these fields of a recipe."""
        before = fields["epochs"]
        if self.epochs is None or self.epochs == before:
            return {}
        scaled: dict[str, Any] = {"epochs": self.epochs}
        if fields["schedule"] == "step":
            scaled["milestones"] = moved(fields["milestones"], before, self.epochs)
        if fields["warmup_epochs"]:
            warmup = nearest(self.epochs / before * fields["warmup_epochs"])
            scaled["warmup_epochs"] = min(warmup, self.epochs - 1)
        return scaled
