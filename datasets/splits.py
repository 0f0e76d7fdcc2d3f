"""Hold-out and subset: which images of a training part are trained on, the same for every trial."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Settings
from .errors import DataError
from .randomness import generator
from .samplers import stratified


def split_training(settings: Settings, labels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Indices of what is trained on, and of the validation part (None without one).

    ``labels`` (N,) are those of the whole training part. The hold-out is taken first, so that it
    is the same for every subset; both are stratified and keep the order of the files.
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
    """Number of images that ``validation`` (a number or a fraction) means out of ``total``."""
    asked = settings.validation
    count = round(asked * total) if isinstance(asked, float) and 0 < asked < 1 else asked
    if type(count) is not int or not 1 <= count < total:  # `type`: True is no number of images
        raise DataError(
            f"{settings.name}: validation = {asked!r}: expected a number of images "
            f"from 1 to {total - 1}, or a fraction between 0 and 1 that leaves both parts some"
        )
    return count
