"""Import a user's own file, or folder of files, that registers methods or networks."""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from datasets.registry import _FACTORIES as DATA_SETS
from models.base import PREFIXES
from models.base import REGISTRY as MODELS

from .errors import MethodError
from .identity import DIGITS as DIGITS
from .identity import PREFIX as PREFIX
from .identity import Plugin, read_plugin, siblings, tree_digest
from .registry import REGISTRY, WRAPPERS

LOADED: dict[str, Plugin] = {}  # by the names of the modules that were imported from it


def load_plugin(path: str | Path) -> str:
    """Import a user's file or folder that registers methods or models; returns its digest.

    The same code is imported once. Raises MethodError with the cause where that fails.
    """
    plugin = _located(path)
    if plugin.module in sys.modules:
        return plugin.digest
    try:
        with _all_or_nothing() as count:
            _import(plugin)
            if not count():
                raise PluginError(
                    "it registers nothing: expected a class under @distillers.register(…) or a "
                    "call of models.register(…)"
                )
    except (Exception, SystemExit) as error:  # a script that was never meant to be imported exits
        _forget(plugin)  # so that the corrected file can be loaded
        kind = "" if isinstance(error, PluginError) else f"{type(error).__name__}: "
        where = _place(plugin, error)
        raise MethodError(f"plugin {path}: {kind}{error}{where}{_remedy(plugin, error)}") from error
    return plugin.digest


def of_modules(modules: Iterable[str]) -> list[Plugin]:
    """The plugins that these modules were imported from, each once."""
    found = (LOADED.get(name.partition(".")[0]) for name in modules)
    return list({plugin.digest: plugin for plugin in found if plugin}.values())


def digests() -> list[str]:
    """The digests of all plugins that were imported, sorted."""
    return sorted({plugin.digest for plugin in LOADED.values()})


@functools.cache
def digest_of_module(name: str) -> str:
    """The first digits that a built-in module would have as a plugin; "" if it has no file."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return tree_digest(Path(file))[:DIGITS] if file and Path(file).suffix == ".py" else ""


# ---- import --------------------------------------------------------------------------------------


class PluginError(MethodError):
    """A message of this module, printed without its type."""


def _located(path: str | Path) -> Plugin:
    plugin = read_plugin(path)
    if plugin.module not in sys.modules:
        _forget(plugin)
    return plugin


@contextlib.contextmanager
def _all_or_nothing() -> Iterator[Callable[[], int]]:
    """Undo all registrations if the body raises; yields a function that counts them."""
    tables: list[dict[str, Any]] = [REGISTRY._entries, WRAPPERS._entries, MODELS._entries]
    tables += [PREFIXES, DATA_SETS]
    before = [dict(table) for table in tables]
    size = sum(len(table) for table in tables)
    try:
        yield lambda: sum(len(table) for table in tables) - size
    except BaseException:
        for table, entries in zip(tables, before, strict=True):
            table.clear()
            table.update(entries)
        raise


def _import(plugin: Plugin) -> None:
    if plugin.path.is_dir():
        _import_folder(plugin)
        return
    _SIBLINGS.admit(plugin)
    spec = importlib.util.spec_from_file_location(plugin.module, plugin.path)
    assert spec is not None  # it is a .py file
    _execute(plugin, spec)


def _import_folder(plugin: Plugin) -> None:
    """A package: __init__.py first, if there is one, then every module in it."""
    init = plugin.path / "__init__.py"
    folder = [str(plugin.path)]
    if init.is_file():
        spec = importlib.util.spec_from_file_location(
            plugin.module, init, submodule_search_locations=folder
        )
        assert spec is not None
    else:
        spec = importlib.machinery.ModuleSpec(plugin.module, None, is_package=True)
        spec.submodule_search_locations = folder
    _execute(plugin, spec)
    for module in pkgutil.iter_modules(folder):
        importlib.import_module(f"{plugin.module}.{module.name}")


def _execute(plugin: Plugin, spec: importlib.machinery.ModuleSpec) -> None:
    module = importlib.util.module_from_spec(spec)
    sys.modules[plugin.module] = module
    LOADED[plugin.module] = plugin
    if spec.loader is not None:
        spec.loader.exec_module(module)


def _forget(plugin: Plugin) -> None:
    """Drop the modules of this plugin, and siblings of it that an earlier version imported."""
    files = set(map(str, plugin.files))
    for name, module in list(sys.modules.items()):
        own = name == plugin.module or name.startswith(f"{plugin.module}.")
        if own or (name in LOADED and getattr(module, "__file__", None) in files):
            del sys.modules[name]
            LOADED.pop(name, None)


class _Siblings(importlib.abc.MetaPathFinder):
    """Finds the modules beside plugins; a folder on ``sys.path`` would shadow other modules."""

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def admit(self, plugin: Plugin) -> None:
        """Let the plugin import its siblings. Raises if a name is taken by another module."""
        for name, file in siblings(plugin.path).items():
            known = sys.modules.get(name)
            other = getattr(known, "__file__", None) if known else self.files.get(name, file)
            if other is None or Path(other) != file:
                raise PluginError(
                    f"its sibling {file.name} has the name of a module that is already loaded "
                    f"({other or 'built-in'}): rename it, or make the plugin a folder whose files "
                    "import each other by `from . import …`"
                )
            self.files[name] = file
            LOADED[name] = plugin

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        file = self.files.get(name)
        if file is None:
            return None
        folder = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=folder)


_SIBLINGS = _Siblings()
sys.meta_path.append(_SIBLINGS)


def _place(plugin: Plugin, error: BaseException) -> str:
    """Where in the plugin's own files an import failed; a syntax error says it itself."""
    files = {str(file): file.name for file in plugin.files}
    frames = traceback.extract_tb(error.__traceback__)
    own = [f"{files[f.filename]}:{f.lineno}" for f in frames if f.filename in files]
    return f" (at {own[-1]})" if own else ""


def _remedy(plugin: Plugin, error: BaseException) -> str:
    """What to do about an import that failed because of how siblings are imported."""
    if not isinstance(error, ImportError):
        return ""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if plugin.path.is_dir() and (plugin.path / f"{name}.py").exists():
        return f"; in a folder, import siblings by `from .{name} import …`"
    if "relative import" in str(error):
        return "; pass the folder as the plugin, or import siblings by their plain names"
    return ""
