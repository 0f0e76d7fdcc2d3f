"""What a network hands to a distillation method: logits, features and the like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """One forward pass of a classifier on N images.

    Fields a network cannot give, or that were not asked for, are ``None``.

    logits      (N, C)
    embedding   (N, D): the pooled penultimate feature, exactly what ``classifier`` reads
    features    tuple of (N, c, h, w): the stem, then each stage's output, shallow to deep
    preacts     on request: the same places before the last activation; preacts[0] is features[0]
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

    def map(self, function: Callable[[Tensor], Tensor]) -> Outputs:
        """The same structure with ``function`` applied to every tensor."""
        return Outputs(**{f.name: _apply(getattr(self, f.name), function) for f in fields(self)})

    def promoted(self) -> Outputs:
        """Half types as float32 (losses are computed in full precision); float64 stays float64."""
        return self.map(lambda x: x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)

    def detached(self) -> Outputs:
        """The same values, cut off from the graph that made them."""
        return self.map(Tensor.detach)


def _apply(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Outputs):
        return value.map(function)
    if isinstance(value, tuple):
        return tuple(_apply(item, function) for item in value)
    return value
