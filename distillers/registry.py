"""Register, look up and build methods by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from datasets import Info
from models.registry import Registry, near

from . import declaration
from .base import Distiller, MethodError
from .compose import Wrapper, composed
from .values import checked

REGISTRY: Registry[type[Distiller]] = Registry("method", MethodError, "distillers.contents")
WRAPPERS: Registry[type[Wrapper]] = Registry(  # names that precede a "+"
    "wrapper", MethodError, "distillers.contents"
)


def register(
    name: str, *, title: str, paper: str = "", arxiv: str | None = None, reference: str = ""
) -> Callable[[type[Distiller]], type[Distiller]]:
    """Class decorator: register a Distiller under ``name`` (the paper's acronym in lower case).

    A `Wrapper` is registered as a prefix, "NAME+".

    title      as printed in tables
    paper      "Authors, venue year"
    arxiv      the paper's arXiv number
    reference  the paper's title
    """
    if "+" in name or name != name.lower():
        raise MethodError(f"method name {name!r}: expected lower case without '+'")

    def add(cls: type[Distiller]) -> type[Distiller]:
        if not (isinstance(cls, type) and issubclass(cls, Distiller)):
            raise MethodError(f"method {name!r}: expected a subclass of Distiller, got {cls!r}")
        registry: Registry[Any] = WRAPPERS if issubclass(cls, Wrapper) else REGISTRY
        place = f"{cls.__module__}.{cls.__qualname__}"
        registry.check_free(name, place)
        declaration.check(name, cls)
        registry.add(name, cls, place)
        cls.name, cls.title, cls.paper, cls.arxiv = name, title, paper, arxiv
        cls.reference = reference
        return cls

    return add


def names() -> list[str]:
    """All registered methods, sorted."""
    return REGISTRY.names()


def wrappers() -> list[str]:
    """All registered wrappers, sorted; "lskd" is the wrapper in "lskd+dkd"."""
    return WRAPPERS.names()


def find_wrapper(name: str) -> type[Wrapper]:
    """The class of a wrapper; raises MethodError with near matches for an unknown one."""
    return WRAPPERS.get(name)


def find(name: str) -> type[Distiller]:
    """The class of a method, composed with its wrappers; that of "crd+kd" is crd's.

    Raises MethodError with near matches for an unknown name.
    """
    prefixes, base, _ = _split(name)
    cls = REGISTRY.get(base)
    for wrapper in reversed(prefixes):  # the last prefix is the innermost
        cls = composed(WRAPPERS.get(wrapper), cls)
    return cls


def parts(name: str) -> list[type[Distiller]]:
    """The registered classes that a name composes: "lskd+crd+kd" is LSKD, CRD and KD."""
    prefixes, base, with_kd = _split(name)
    wrapped = [REGISTRY.get(base), *([REGISTRY.get("kd")] if with_kd else [])]
    return [*(WRAPPERS.get(prefix) for prefix in prefixes), *wrapped]


def title(name: str) -> str:
    """A method's name as printed in tables: "CRD", "CRD+KD", "LSKD+DKD"."""
    return find(name).title + ("+KD" if _split(name)[2] else "")


def _split(name: str) -> tuple[list[str], str, bool]:
    """Wrappers, method and whether "+kd" follows: "lskd+crd+kd" → (["lskd"], "crd", True).

    A name that is both a method and a wrapper (wttm) is the method where only "+kd" follows.
    """
    *prefixes, base = name.split("+")
    with_kd = bool(prefixes) and base == "kd" and not _only_wraps(prefixes[-1])
    if with_kd:
        base = prefixes.pop()
    unknown = [prefix for prefix in prefixes if prefix not in WRAPPERS]
    # kd+kd would say the same thing twice, and vanilla has no teacher.
    if unknown or (with_kd and base in ("kd", "vanilla")) or (prefixes and not base):
        known = ", ".join(f"{wrapper}+" for wrapper in WRAPPERS)
        raise MethodError(
            f"method {name!r}: expected NAME or NAME+kd, optionally prefixed by {known}"
        )
    if _only_wraps(base):
        raise MethodError(f"method {name!r}: {base} changes another method: expected {base}+NAME")
    return prefixes, base, with_kd


def _only_wraps(name: str) -> bool:
    return name in WRAPPERS and name not in REGISTRY


def defaults(name: str, preset: str | None = None) -> dict[str, Any]:
    """All options of a method with their defaults, overridden by ``preset``."""
    cls = find(name)
    options = {**Distiller.base_defaults, **cls.defaults}
    if _split(name)[2]:
        options["kd"] = 1.0
    if preset is not None:
        if preset not in cls.presets:
            known = near(preset, cls.presets) if cls.presets else "the method has none"
            raise MethodError(f"method {name!r}: unknown preset {preset!r}: {known}")
        options |= cls.presets[preset]
    return options


def resolve(
    name: str, options: Mapping[str, Any] | None = None, preset: str | None = None
) -> dict[str, Any]:
    """All options of a method: defaults, overridden by the preset, overridden by ``options``.

    Raises MethodError for an unknown option (with near matches) or an invalid value.
    """
    resolved = defaults(name, preset)
    cls = find(name)
    for key, value in (options or {}).items():
        if key not in resolved:
            raise MethodError(f"method {name!r}: unknown option {key!r}: {near(key, resolved)}")
        try:
            resolved[key] = checked(cls, key, value, resolved[key])
        except ValueError as error:
            message = f"method {name!r}: option {key} = {value!r}: expected {error}"
            raise MethodError(message) from None
    return resolved


def build(
    name: str,
    student: nn.Module,
    teacher: nn.Module | None,
    info: Info,
    *,
    preset: str | None = None,
    seed: int = 0,
    **options: Any,
) -> Distiller:
    """A method ready to train ``student`` from ``teacher``.

    Connectors are initialised from torch's global generator; ``seed`` seeds the method's sampling.
    Raises MethodError for an unknown name or option, Unsupported for a pair it cannot serve.
    """
    return find(name)(student, teacher, info, resolve(name, options, preset), seed)


def import_methods(package: str, path: list[str]) -> None:
    """Import every module in ``path``, so that each method registers itself."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
