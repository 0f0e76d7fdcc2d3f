"""The contract of every network in the zoo, and the registry that builds networks by name."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from abc import abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from .errors import ModelError
from .outputs import Outputs
from .registry import Registry

Factory = Callable[..., "Classifier"]
REGISTRY: Registry[Factory] = Registry("model", ModelError, "models.contents")
PREFIXES: dict[str, Callable[[str], Factory]] = {}  # "timm/" and the like
SEPARATOR = "+"  # in the name of an ensemble: "resnet110+wrn_40_2"


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
    """Make ``build(name, num_classes=…)`` call ``factory(num_classes=…)``.

    Raises ModelError if the name is taken or the factory does not take ``num_classes``.
    """
    try:
        inspect.signature(factory).bind(num_classes=10)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"model {name!r}: expected a class or function that takes num_classes, "
            f"got {factory!r}: {error}"
        ) from None
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
    if name not in REGISTRY:
        for prefix, resolve in PREFIXES.items():
            if name.startswith(prefix):
                return resolve(name)
    return REGISTRY.get(name)


def build(name: str, num_classes: int) -> Classifier:
    """A freshly initialised network; its weights come from torch's global generator.

    The name of an ensemble, "resnet110+wrn_40_2", gives an `Ensemble` of new members. Raises
    ModelError with near matches for an unknown name.
    """
    parts = members(name)
    if len(parts) > 1:
        from .ensemble import Ensemble  # above this module, as every network is

        return Ensemble(build(part, num_classes) for part in parts)
    model = find(name)(num_classes=num_classes)
    lacking = missing(model)
    if lacking:
        raise ModelError(
            f"model {name!r}: {type(model).__name__} lacks {', '.join(lacking)}: subclass "
            "models.StagedClassifier, or models.Classifier (see models/README.md)"
        )
    model.name, model.num_classes = name, num_classes
    return model


def members(name: str) -> tuple[str, ...]:
    """The networks that the name of an ensemble lists; of any other name, itself alone."""
    return (name,) if name in REGISTRY else tuple(name.split(SEPARATOR))


CONTRACT = ("outputs", "classifier", "preact_norms", "feature_modules")


def missing(model: object) -> list[str]:
    """What a network lacks of the `Classifier` interface, as it would be written in a class.

    Any module that has all of it can stand in for a Classifier.
    """
    if not isinstance(model, nn.Module):
        return ["everything that a torch.nn.Module has"]
    kind = type(model)
    inherited = [getattr(kind, name, None) is getattr(Classifier, name) for name in CONTRACT]
    absent = [not (hasattr(kind, name) or name in model._modules) for name in CONTRACT]
    shown = {"outputs": "outputs(x, preacts, blocks)", "feature_modules": "feature_modules()"}
    return [
        shown.get(name, name)
        for name, base, none in zip(CONTRACT, inherited, absent, strict=True)
        if none or (base and name not in model._modules)
    ]


def check(name: str) -> None:
    """Raise ModelError with near matches if there is no network ``name``; builds nothing.

    An ensemble is none: it is only ever a teacher.
    """
    find(name)


def names() -> list[str]:
    """All registered names, sorted; without those that only a prefix resolves (timm/…)."""
    return REGISTRY.names()


def import_families(package: str, path: list[str]) -> None:
    """Import every module of this package, so that each family registers itself."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
