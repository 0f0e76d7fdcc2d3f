"""The metadata of our own weight files, stored in their safetensors header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..base import ModelError
from ..normalisation import Normalisation
from .reading import printable

# All metadata is one JSON entry: safetensors writes several entries in an order that changes from
# process to process, but equal weights must give equal files.
KEY = "distillers"

Text = Annotated[str, AfterValidator(printable)]  # it will be printed, whoever wrote it


class Metadata(BaseModel):
    """What a network's tensors do not say about it; unknown values are None.

    ``accuracy`` is top-1 in percent on the test part of ``dataset``, ``source`` says where the
    weights come from. There are no times and no paths: the same weights give the same bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    format: Literal[1] = 1
    architecture: Text = Field(min_length=1)
    num_classes: int = Field(ge=1)
    dataset: Text | None = None
    normalisation: Normalisation | None = None
    accuracy: float | None = Field(None, ge=0, le=100)
    source: Text | None = None
    transform_input: bool | None = None  # of GoogLeNet and Inception, see `torchvision_path`

    def header(self) -> dict[str, str]:
        """The metadata argument of ``safetensors.torch.save``."""
        return {KEY: json.dumps(self.model_dump(exclude_none=True), sort_keys=True)}

    def __str__(self) -> str:
        return f"{self.architecture} with {self.num_classes} classes"


def parse_metadata(header: Mapping[str, str], path: Path) -> Metadata | None:
    """Our metadata in the safetensors header of the file ``path``; None if it has none.

    Raises ModelError for metadata that is invalid or of a later format.
    """
    if KEY not in header:
        return None
    try:
        return Metadata.model_validate_json(header[KEY])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "metadata"
        given = "" if first["type"] == "missing" else f" = {first['input']!r}"
        reason = first["msg"][:1].lower() + first["msg"][1:]
        raise ModelError(f"{path}: invalid metadata: {place}{given}: {reason}") from error
