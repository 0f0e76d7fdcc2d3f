"""The parts of a matrix file: frozen, and without unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """A mapping of a matrix file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
