"""The contract of every network in the zoo, and the registry that builds networks by name."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from .outputs import Outputs
from .registry import Registry


class ModelError(ValueError):
    """A model or checkpoint cannot be used; the message is one line."""


Factory = Callable[..., "Classifier"]
REGISTRY: Registry[Factory] = Registry("model", ModelError)
PREFIXES: dict[str, Callable[[str], Factory]] = {}  # "timm/" and the like


class Classifier(nn.Module):
    """An image classifier that exposes its intermediate outputs to distillation methods."""

    name: str = ""  # the registry's name, set by build()
    num_classes: int

    @abstractmethod
    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        """One forward pass of images (N, 3, H, W) with everything `Outputs` describes."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, C)."""
        return self.outputs(x).logits

    @property
    @abstractmethod
    def classifier(self) -> nn.Linear | None:
        """The last linear layer, or None if the network does not end in one."""

    @property
    @abstractmethod
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """Per feature, the BatchNorm whose output is that preact, or None (for OFD's margins)."""

    @abstractmethod
    def feature_modules(self) -> nn.ModuleList:
        """The feature part that an initial training stage trains (AB, FSP)."""


def register(name: str, factory: Factory) -> None:
    """Make ``build(name, num_classes=…)`` call ``factory(num_classes=…)``."""
    function = factory.func if isinstance(factory, functools.partial) else factory
    REGISTRY.add(name, factory, getattr(function, "__module__", "?"))


def register_prefix(prefix: str, resolve: Callable[[str], Factory]) -> None:
    """Let ``resolve`` find the factory of unregistered names that begin with ``prefix``.

    It gets the whole name and raises ModelError if it does not know it.
    """
    PREFIXES[prefix] = resolve


def find(name: str) -> Factory:
    """The factory of that name; raises ModelError with near matches if it is unknown."""
    # A listed name needs no resolver, which would import the library only to check it.
    for prefix, resolve in PREFIXES.items():
        if name.startswith(prefix) and name not in REGISTRY:
            return resolve(name)
    return REGISTRY.get(name)


def build(name: str, num_classes: int) -> Classifier:
    """A freshly initialised network; its weights come from torch's global generator.

    Raises ModelError with near matches for an unknown name.
    """
    model = find(name)(num_classes=num_classes)
    model.name, model.num_classes = name, num_classes
    return model


def check(name: str) -> None:
    """Raise ModelError with near matches if `build` does not know ``name``; builds nothing."""
    find(name)


def names() -> list[str]:
    """All registered names, sorted; without those that only a prefix resolves (timm/…)."""
    return REGISTRY.names()


def import_families(package: str, path: list[str]) -> None:
    """Import every module of this package, so that each family registers itself."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
