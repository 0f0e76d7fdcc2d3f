"""Networks of other libraries under the zoo's contract, with their own parameter names."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from .base import Classifier


class Adopted(Classifier):
    """Another library's network as a `Classifier`: its children are this module's children.

    No prefix comes before their names, so the library's published weights load with strict=True.
    The library's module itself is kept beside them, not registered, for what its methods do.
    """

    def __init__(self, net: nn.Module, last: str) -> None:
        """``last`` is the dotted name of the last linear layer, "" where there is none."""
        super().__init__()
        self._parameters, self._buffers, self._modules = net._parameters, net._buffers, net._modules
        self._non_persistent_buffers_set = net._non_persistent_buffers_set
        self._library = [net]  # in a list: its parameters would be listed twice
        self._last = last
        seat(net, last)

    @property
    def net(self) -> Any:
        """The library's module, in the mode (training or not) that this one is in."""
        net = self._library[0]
        if net.training != self.training:
            net.training = self.training
        return net

    def at(self, path: str) -> Any:
        """The submodule of that dotted name, as the library numbers it."""
        found: Any = self
        for part in path.split("."):
            found = found._modules[part]
        return found

    @property
    def classifier(self) -> nn.Linear | None:
        linear = self.at(self._last) if self._last else None
        assert linear is None or isinstance(linear, nn.Linear)
        return linear

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """Empty: no features, no norms."""
        return ()


def last_linear(net: nn.Module) -> str:
    """The dotted name of the linear layer that was registered last; "" where the net has none.

    A convolution after it (SqueezeNet's classifier is one) means that there is none.
    """
    layers = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    name, layer = layers[-1]
    return name if isinstance(layer, nn.Linear) else ""


class SeatedLinear(nn.Linear):
    """A linear layer in a Sequential called ``classifier``, which answers for its neighbours.

    ``model.classifier`` is the layer itself, while parameters are named ``classifier.0.…``:
    whoever walks such a name by attributes (functional_call, export) asks the layer for "0".
    """

    def __getattr__(self, name: str) -> Any:
        row = self.__dict__.get("row", {})
        return row[name] if name in row else super().__getattr__(name)


def seat(net: nn.Module, path: str) -> None:
    """Make the layer at ``path`` a `SeatedLinear` if its Sequential is called ``classifier``."""
    top, _, number = path.partition(".")
    if top == "classifier" and number:
        row: Any = net._modules[top]
        linear = row._modules[number]
        linear.__class__ = SeatedLinear
        linear.__dict__["row"] = row._modules


def skeleton(net: nn.Module) -> nn.Module:
    """A copy of ``net`` in eval mode on the meta device: everything but the numbers."""
    memo: dict[int, Any] = {}
    for parameter in net.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"))
    for buffer in net.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(net, memo).eval()
