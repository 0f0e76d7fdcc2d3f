"""Registering, naming and building methods."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from datasets import Info
from models.registry import Registry, near

from .base import Distiller, MethodError
from .compose import Wrapper, composed
from .values import checked

# A plugin's module is named by the first digits of its text's sha256.
PLUGIN_PREFIX, PLUGIN_DIGITS = "kd_plugin_", 16
REGISTRY: Registry[type[Distiller]] = Registry("method", MethodError)
WRAPPERS: Registry[type[Wrapper]] = Registry("wrapper", MethodError)  # names before a "+"


def register(
    name: str, *, title: str, paper: str = "", arxiv: str | None = None, reference: str = ""
) -> Callable[[type[Distiller]], type[Distiller]]:
    """Class decorator: make a Distiller available under ``name`` (lower case, the paper's acronym).

    A `Wrapper` becomes available before a "+".

    title      as printed in tables
    paper      "Authors, venue year";  arxiv   its number;  reference   its title
    """
    if "+" in name or name != name.lower():
        raise MethodError(f"method name {name!r}: expected lower case without '+'")

    def add(cls: type[Distiller]) -> type[Distiller]:
        if not (isinstance(cls, type) and issubclass(cls, Distiller)):
            raise MethodError(f"method {name!r}: expected a subclass of Distiller, got {cls!r}")
        place = f"{cls.__module__}.{cls.__qualname__}"
        if issubclass(cls, Wrapper):
            WRAPPERS.add(name, cls, place)
        else:
            REGISTRY.add(name, cls, place)
        cls.name, cls.title, cls.paper, cls.arxiv = name, title, paper, arxiv
        cls.reference = reference
        return cls

    return add


def names() -> list[str]:
    """All registered methods, sorted."""
    return REGISTRY.names()


def wrappers() -> list[str]:
    """All registered wrappers, sorted: "lskd" for "lskd+dkd"."""
    return WRAPPERS.names()


def find_wrapper(name: str) -> type[Wrapper]:
    """The class of a wrapper by itself; raises MethodError with near matches."""
    return WRAPPERS.get(name)


def find(name: str) -> type[Distiller]:
    """The class behind a method's name; "crd+kd" is found as crd."""
    before, base, _ = _split(name)
    cls = REGISTRY.get(base)
    for wrapper in reversed(before):
        cls = composed(WRAPPERS.get(wrapper), cls)
    return cls


def title(name: str) -> str:
    """As printed in tables: "CRD", "CRD+KD", "LSKD+DKD"."""
    return find(name).title + ("+KD" if _split(name)[2] else "")


def _split(name: str) -> tuple[list[str], str, bool]:
    """(["lskd"], "crd", True) for "lskd+crd+kd".

    What is registered as method and as wrapper (WTTM) is the method where only "+kd" follows.
    """
    *before, base = name.split("+")
    with_kd = bool(before) and base == "kd" and not _only_wraps(before[-1])
    if with_kd:
        base = before.pop()
    strange = [wrapper for wrapper in before if wrapper not in WRAPPERS]
    if strange or (with_kd and base in ("kd", "vanilla")) or (before and not base):
        known = ", ".join(f"{wrapper}+" for wrapper in WRAPPERS)
        raise MethodError(f"method {name!r}: expected NAME or NAME+kd, behind any of {known}")
    if _only_wraps(base):
        raise MethodError(f"method {name!r}: {base} changes another method: expected {base}+NAME")
    return before, base, with_kd


def _only_wraps(name: str) -> bool:
    return name in WRAPPERS and name not in REGISTRY


def defaults(name: str, preset: str | None = None) -> dict[str, Any]:
    """All options of a method with their values when nothing is given, after ``preset``."""
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
    """All options of a method: defaults, then the preset, then ``options``, checked.

    Raises MethodError for an unknown option (with near matches) or a value that it cannot have.
    """
    known = defaults(name, preset)
    cls = find(name)
    for key, value in (options or {}).items():
        if key not in known:
            raise MethodError(f"method {name!r}: unknown option {key!r}: {near(key, known)}")
        try:
            known[key] = checked(cls, key, value, known[key])
        except ValueError as error:
            message = f"method {name!r}: option {key} = {value!r}: expected {error}"
            raise MethodError(message) from None
    return known


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

    Connectors are initialised from torch's global generator; ``seed`` feeds the method's sampling.
    Raises MethodError for an unknown name or option, Unsupported where the pair cannot be served.
    """
    return find(name)(student, teacher, info, resolve(name, options, preset), seed)


def load_plugin(path: str | Path) -> str:
    """Import a user's file that registers methods or models; returns the sha256 of its text."""
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise MethodError(f"plugin {path}: no such file")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    module_name = PLUGIN_PREFIX + digest[:PLUGIN_DIGITS]
    if module_name in sys.modules:
        return digest
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise MethodError(f"plugin {path}: expected a Python file, NAME.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise MethodError(f"plugin {path}: {type(error).__name__}: {error}") from error
    return digest


def import_methods(package: str, path: list[str]) -> None:
    """Import every module of this package, so that each method registers itself."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")
