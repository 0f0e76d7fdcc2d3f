"""Hold-out and subset: the images of a training part to train on, the same for every trial."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Settings
from .errors import DataError
from .randomness import generator
from .samplers import stratified


def split_training(settings: Settings, labels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Indices of the images to train on, and of the validation part (None if there is none).

    ``labels`` (N,) are those of the whole training part. The hold-out is taken first, so it is the
    same for every subset. Both are stratified and keep the order of the files.
    """
    kept, held = torch.arange(len(labels)), None
    if settings.validation is not None:
        count = _hold_out_size(settings, len(labels))
        held = stratified(labels, count, generator(settings.name, "validation"))
        kept = kept[torch.isin(kept, held, invert=True)]
    if settings.subset is not None:
        if settings.subset > len(kept):
            raise DataError(
                f"{settings.name}: subset = {settings.subset}: the training part has {len(kept)}"
            )
        chosen = stratified(labels[kept], settings.subset, generator(settings.name, "subset"))
        kept = kept[chosen]
    return kept, held


def _hold_out_size(settings: Settings, total: int) -> int:
    """The number of images that ``validation`` (a number or a fraction) holds out of ``total``."""
    asked = settings.validation
    count = round(asked * total) if isinstance(asked, float) and 0 < asked < 1 else asked
    if type(count) is not int or not 1 <= count < total:  # not isinstance: True is an int
        raise DataError(
            f"{settings.name}: validation = {asked!r}: expected a number of images "
            f"from 1 to {total - 1}, or a fraction between 0 and 1 that leaves neither part empty"
        )
    return count
