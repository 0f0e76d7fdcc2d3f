"""What a network hands to a distillation method: logits, features and the like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


class MissingOutputError(LookupError):
    """A method reads an output that this forward pass does not have: a mistake in its code.

    Not one of the one-line errors for bad input: the traceback says where the method reads it.
    """


@dataclass(frozen=True)
class Outputs:
    """One forward pass of a classifier on N images.

    Fields that a network cannot provide, or that were not requested, are ``None``; code that
    cannot do without one reads it through `required`.

    logits      (N, C)
    embedding   (N, D): the pooled penultimate feature, exactly what ``classifier`` reads
    features    tuple of (N, c, h, w): the stem, then each stage's output, shallow to deep
    preacts     on request: the same maps before the last activation; preacts[0] is features[0]
    blocks      on request: per stage, a tuple with the output (N, c, h, w) of each of its blocks
    final_map   (N, D, h, w): what the global pooling reads, so classifier(mean over h, w) == logits
    tokens      transformers: patch tokens (N, T, D) per layer, without prefix tokens
    cls         transformers: class token (N, D) per layer
    views       the Outputs of the batch's extra views
    """

    logits: Tensor
    embedding: Tensor | None = None
    features: tuple[Tensor, ...] | None = None
    preacts: tuple[Tensor, ...] | None = None
    blocks: tuple[tuple[Tensor, ...], ...] | None = None
    final_map: Tensor | None = None
    tokens: tuple[Tensor, ...] | None = None
    cls: tuple[Tensor, ...] | None = None
    views: tuple[Outputs, ...] = ()

    @property
    def required(self) -> RequiredOutputs:
        """The same fields, but reading one that is ``None`` or empty raises MissingOutputError."""
        return RequiredOutputs(self)

    def map(self, function: Callable[[Tensor], Tensor]) -> Outputs:
        """The same structure with ``function`` applied to every tensor."""
        return Outputs(**{f.name: _apply(getattr(self, f.name), function) for f in fields(self)})

    def promoted(self) -> Outputs:
        """Half types as float32 (losses are computed in full precision); float64 stays float64."""
        return self.map(lambda x: x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)

    def detached(self) -> Outputs:
        """The same values, detached from the graph that computed them."""
        return self.map(Tensor.detach)


class _Required(Generic[T]):
    """An attribute of `RequiredOutputs`: the field of its name, or MissingOutputError."""

    def __init__(self, remedy: str = "") -> None:
        self.remedy = remedy

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.remedy = self.remedy or f"declare needs = Needs({name}=True)"

    def __get__(self, view: RequiredOutputs, owner: type) -> T:
        value: T | None = getattr(view.outputs, self.name)
        if value is None or (isinstance(value, tuple) and not value):
            raise MissingOutputError(
                f"these outputs have no {self.name!r}: the network has none, or it was not "
                f"requested; {self.remedy} in the method, and networks without it are reported as "
                "n/a before training"
            )
        return value


class RequiredOutputs:
    """Typed access to the fields of `Outputs` that may be absent (see there for shapes)."""

    embedding = _Required[Tensor]()
    features = _Required[tuple[Tensor, ...]]()
    preacts = _Required[tuple[Tensor, ...]]()
    blocks = _Required[tuple[tuple[Tensor, ...], ...]]()
    final_map = _Required[Tensor]()
    tokens = _Required[tuple[Tensor, ...]]()
    cls = _Required[tuple[Tensor, ...]]("check for it in setup, raising Unsupported,")
    views = _Required[tuple[Outputs, ...]]('declare needs = Needs(views=("NAME",))')

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs


def _apply(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Outputs):
        return value.map(function)
    if isinstance(value, tuple):
        return tuple(_apply(item, function) for item in value)
    return value
