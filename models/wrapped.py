"""Wrap networks of other libraries in the zoo's contract, keeping their parameter names."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from .base import Classifier


class WrappedClassifier(Classifier):
    """Another library's network as a `Classifier` that shares its parameters and children.

    The children are registered without a prefix, so the library's published weights load with
    strict=True. The library's own module stays available as ``net``, to call its methods.
    """

    def __init__(self, net: nn.Module, last: str) -> None:
        """``last`` is the dotted name of the last linear layer, "" if there is none."""
        super().__init__()
        self._parameters, self._buffers, self._modules = net._parameters, net._buffers, net._modules
        self._non_persistent_buffers_set = net._non_persistent_buffers_set
        # In a list, which hides it from nn.Module: registered, it would list every parameter twice.
        self._library = [net]
        self._last = last
        alias_linear(net, last)

    @property
    def net(self) -> Any:
        """The library's module, in the same mode (train or eval) as this one."""
        # train() and eval() reach the shared children, but not the library's module itself.
        net = self._library[0]
        if net.training != self.training:
            net.training = self.training
        return net

    def at(self, path: str) -> Any:
        """The submodule with this dotted name in the library's numbering.

        Unlike ``get_submodule`` it never goes through `classifier`, which hides the Sequential.
        """
        module: Any = self
        for part in path.split("."):
            module = module._modules[part]
        return module

    @property
    def classifier(self) -> nn.Linear | None:
        linear = self.at(self._last) if self._last else None
        assert linear is None or isinstance(linear, nn.Linear)
        return linear

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """Empty: networks without features have no norms of them."""
        return ()


def last_linear(net: nn.Module) -> str:
    """The dotted name of the last registered layer if it is linear, else "".

    Layers are linear layers and convolutions: SqueezeNet's classifier is a convolution.
    """
    layers = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    name, layer = layers[-1]
    return name if isinstance(layer, nn.Linear) else ""


class AliasedLinear(nn.Linear):
    """A linear layer inside a Sequential called ``classifier`` that also resolves its siblings.

    ``model.classifier`` is the layer itself, but its parameters are named ``classifier.0.…``. Code
    that walks such a name by attributes (functional_call, export) asks the layer for "0".
    """

    def __getattr__(self, name: str) -> Any:
        siblings = self.__dict__.get("siblings", {})
        return siblings[name] if name in siblings else super().__getattr__(name)


def alias_linear(net: nn.Module, path: str) -> None:
    """Make the layer at ``path`` an `AliasedLinear` if its Sequential is called ``classifier``."""
    top, _, number = path.partition(".")
    if top == "classifier" and number:
        sequential: Any = net._modules[top]
        linear = sequential._modules[number]
        linear.__class__ = AliasedLinear
        linear.__dict__["siblings"] = sequential._modules


def skeleton(net: nn.Module) -> nn.Module:
    """A copy of ``net`` in eval mode on the meta device: everything but the values."""
    # deepcopy takes what memo holds as already copied, so no value is ever copied.
    memo: dict[int, Any] = {}
    for parameter in net.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"))
    for buffer in net.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(net, memo).eval()
