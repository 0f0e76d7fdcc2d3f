"""What our own weight files say of themselves, in the metadata of their safetensors header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..base import ModelError

# One entry for everything: safetensors writes several in an order that changes from process to
# process, and equal weights must be equal files.
KEY = "distillers"

Three = Annotated[list[float], Field(min_length=3, max_length=3)]


class Normalisation(BaseModel):
    """Per channel of RGB in 0…1: a network was trained on (x - mean) / std."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    mean: Three
    std: Three


class About(BaseModel):
    """The facts about a network that its tensors do not tell; what nobody knows is None.

    ``accuracy`` is top-1 in percent on the test part of ``dataset``, ``source`` where the weights
    come from. No times and no paths: the same weights give the same bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    format: Literal[1] = 1
    architecture: str = Field(min_length=1)
    num_classes: int = Field(ge=1)
    dataset: str | None = None
    normalisation: Normalisation | None = None
    accuracy: float | None = Field(None, ge=0, le=100)
    source: str | None = None

    def metadata(self) -> dict[str, str]:
        """As safetensors takes it."""
        return {KEY: json.dumps(self.model_dump(exclude_none=True), sort_keys=True)}

    def __str__(self) -> str:
        return f"{self.architecture} with {self.num_classes} classes"


def about(metadata: Mapping[str, str], path: Path) -> About | None:
    """What the metadata of the file at ``path`` say; None where they are not ours.

    Raises ModelError where they are, but make no sense, or are of a later format.
    """
    if KEY not in metadata:
        return None
    try:
        return About.model_validate_json(metadata[KEY])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "metadata"
        given = "" if first["type"] == "missing" else f" = {first['input']!r}"
        said = first["msg"][:1].lower() + first["msg"][1:]
        raise ModelError(f"{path}: metadata that make no sense: {place}{given}: {said}") from error
