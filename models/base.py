"""The contract every network of the zoo keeps, and the registry that builds networks by name."""

from __future__ import annotations

import importlib
import pkgutil
from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from .outputs import Outputs
from .registry import Registry


class ModelError(ValueError):
    """A model or a checkpoint that cannot be used, said in one line."""


Factory = Callable[..., "Classifier"]
REGISTRY: Registry[Factory] = Registry("model", ModelError)


class Classifier(nn.Module):
    """An image classifier that shows its inside to distillation methods."""

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
        """The last linear layer, or None where there is none."""

    @property
    @abstractmethod
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """Per feature, the BatchNorm whose output is that preact, or None (OFD's margins)."""

    @abstractmethod
    def feature_modules(self) -> nn.ModuleList:
        """The feature part that an initial training stage trains (AB, FSP)."""


def register(name: str, factory: Factory) -> None:
    """Make ``build(name, num_classes=…)`` call ``factory(num_classes=…)``."""
    REGISTRY.add(name, factory, getattr(factory, "__module__", "?"))


def build(name: str, num_classes: int) -> Classifier:
    """A freshly initialised network; its weights come from torch's global generator.

    Raises ModelError with near matches for an unknown name.
    """
    model = REGISTRY.get(name)(num_classes=num_classes)
    model.name, model.num_classes = name, num_classes
    return model


def names() -> list[str]:
    """All registered names, sorted."""
    return REGISTRY.names()


def import_families(package: str, path: list[str]) -> None:
    """Import every module of this package, so that each family registers itself."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
