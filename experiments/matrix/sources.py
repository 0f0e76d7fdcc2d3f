"""The code that defines a run: the modules of its method and networks, and which are plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import distillers
from experiments.matrix.run_spec import RunSpec

if TYPE_CHECKING:
    from distillers.plugins import Plugin


def plugin_digests(method: str, student: str, teacher: str | None) -> tuple[str, ...]:
    """The first digits of the digests of the plugins that define a run's method and models."""
    from distillers import plugins

    found = plugins.of_modules(modules_of(method, student, teacher))
    return tuple(sorted(plugin.digest[: plugins.DIGITS] for plugin in found))


def plugins_of(spec: RunSpec) -> list[Plugin]:
    """The plugins, as loaded, that define a run's method and networks."""
    from distillers import plugins

    return plugins.of_modules(modules_of(*_names(spec)))


def code_hashes(spec: RunSpec) -> set[str]:
    """The hashes under which a run of today's code may name its plugins.

    A file that was a plugin and has been moved into the harness, unchanged, is the same code.
    """
    return known_hashes(*_names(spec))


def known_hashes(method: str, student: str, teacher: str | None) -> set[str]:
    """`code_hashes` of a run by its names."""
    from distillers import plugins

    modules = modules_of(method, student, teacher)
    built_in = {plugins.digest_of_module(module) for module in modules}
    return built_in.union(*(plugin.hashes for plugin in plugins.of_modules(modules)))


def _names(spec: RunSpec) -> tuple[str, str, str | None]:
    method = spec.source.method if spec.source else spec.method
    return method, spec.student, spec.teacher.name if spec.teacher else None


def modules_of(method: str, student: str, teacher: str | None) -> list[str]:
    """The modules that define a run's method and networks."""
    from models.base import REGISTRY, members

    names = (student, *(members(teacher) if teacher else ()))
    registered = [name for name in names if name in REGISTRY]  # timm's are not registered
    classes = distillers.find(method).__mro__  # a wrapped method's file counts as well
    return [*(cls.__module__ for cls in classes), *map(REGISTRY.source, registered)]
