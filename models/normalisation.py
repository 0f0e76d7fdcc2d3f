"""How the pixels of a network's input were normalised in training, and networks that need another.

A network trained on (x - m) / s, where x are pixels in 0…1, gets wrong inputs from a data set that
normalises otherwise, and silently loses accuracy. `renormalise` puts the exact affine map between
the two before the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat

from .errors import ModelError
from .registry import near

if TYPE_CHECKING:
    from .base import Classifier

PerChannel = Annotated[tuple[StrictFloat, ...], Field(min_length=3, max_length=3)]
_EXACT = 1e-6  # about the rounding of float32: no map between constants that are this close
_ROUNDED = 6e-4  # published constants are rounded to three or four digits


def _positive(std: tuple[float, ...]) -> tuple[float, ...]:
    if min(std) <= 0:
        raise ValueError("expected numbers above 0")
    return std


class Normalisation(BaseModel):
    """Per RGB channel, of pixels scaled to 0…1: the network was trained on (x - mean) / std."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: PerChannel
    std: Annotated[PerChannel, AfterValidator(_positive)]

    def __str__(self) -> str:
        """ "mean 0.5 0.5 0.5, std 0.5 0.5 0.5"."""
        mean, std = (" ".join(f"{x:.4g}" for x in part) for part in (self.mean, self.std))
        return f"mean {mean}, std {std}"

    def equals(self, other: Normalisation) -> bool:
        """Whether both give the same input, up to the rounding of float32."""
        return self._within(other, _EXACT)

    def agrees(self, other: Normalisation) -> bool:
        """Whether both may be the same constants, rounded to three digits or more."""
        return self._within(other, _ROUNDED)

    def _within(self, other: Normalisation, tolerance: float) -> bool:
        pairs = zip(self.mean + self.std, other.mean + other.std, strict=True)
        return all(math.isclose(a, b, rel_tol=0, abs_tol=tolerance) for a, b in pairs)


def _named(mean: tuple[float, ...], std: tuple[float, ...]) -> Normalisation:
    return Normalisation(mean=mean, std=std)


# The constants of well-known sources, by the name that an entry of `teachers:` may give.
NAMED: Mapping[str, Normalisation] = {
    "none": _named((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),  # pixels in 0…1
    "half": _named((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # pixels in -1…1; timm's "inception"
    "imagenet": _named((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # torchvision, most of timm
    "clip": _named(  # OpenAI's CLIP, and timm's networks from it
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
    # The deviation of all pixels of the training images, …
    "cifar10": _named((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    # … and the mean of the deviations within each image, which kuangliu's pytorch-cifar, and much
    # code after it, uses.
    "pytorch-cifar": _named((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": _named((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),  # RepDistiller
    "pytorch-cifar100": _named(  # weiaicunzai's
        (0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
        (0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
    ),
    "tiny-imagenet": _named((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),  # mdistiller
}


def named(name: str) -> Normalisation:
    """The normalisation of a well-known source; ModelError with near matches if unknown."""
    if name not in NAMED:
        raise ModelError(f"unknown normalisation {name!r}: {near(name, NAMED)}")
    return NAMED[name]


def stated(name: str | None, mean: object, std: object) -> Normalisation | None:
    """What a person said: a name in `NAMED`, or both constants; None if nothing.

    Raises ValueError with one line if mean or std is not three numbers of pixels in 0…1 (values for
    pixels in 0…255 are the common mistake), ModelError for an unknown name.
    """
    if name is not None:
        return named(name)
    if mean is None and std is None:
        return None
    for key, values in (("mean", mean), ("std", std)):
        if values is None:
            raise ValueError(f"{key} is missing: expected mean and std, or neither")
        _check(key, values)
    return Normalisation.model_validate({"mean": mean, "std": std})


def _check(name: str, values: object) -> None:
    expected, positive = "expected three numbers, for red, green and blue", name == "std"
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        raise ValueError(f"{name} = {values!r:.60}: {expected}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} = {values!r:.60}: {expected}")
        if not (value > 0 if positive else value >= 0) or value > 1:
            limits = "above 0 and at most 1" if positive else "from 0 to 1"
            divide = "; divide those of pixels in 0…255 by 255" if value > 1 else ""
            raise ValueError(f"{name} = {list(values)}: expected numbers {limits}{divide}")


# ---- the input of a network ----------------------------------------------------------------------


def renormalise(model: Classifier, data: Normalisation, own: Normalisation) -> Classifier:
    """Make ``model``, trained on pixels under ``own``, take pixels under those of ``data``.

    Its input becomes (x · std_data + mean_data - mean_own) / std_own, one multiplication and one
    addition per pixel, in `outputs` and when it is called. Modules and the names of the weights
    stay as they are. Does nothing where both are equal. Call it before the network is placed on
    its device and compiled.
    """
    from .renormalised import renormalised  # imports torch

    return model if own.equals(data) else renormalised(model, data, own)
