"""A user's own file, or folder of files, that registers methods or networks: identity and import.

A plugin is identified by its syntax trees, without comments, docstrings and layout: editing those
changes no result. It covers the modules beside the file that it imports, or the whole folder.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from datasets.registry import _FACTORIES as DATA_SETS
from models.base import PREFIXES
from models.base import REGISTRY as MODELS

from .base import MethodError
from .registry import REGISTRY, WRAPPERS

# A plugin's module name ends in the first digits of its digest.
MOST_ENTRIES = 20_000  # files and folders below a plugin's folder
PREFIX, DIGITS = "kd_plugin_", 16
HARNESS = {"benchmark", "datasets", "distillers", "experiments", "models", "results", "tools"}


@dataclass(frozen=True)
class Plugin:
    """A plugin as found on disk.

    path    the file, or the folder
    files   everything that its digest covers, the file itself first
    digest  sha256 of the syntax trees, in hexadecimal digits
    older   sha256 of the file's bytes, by which earlier versions of the harness identified it
    """

    path: Path
    files: tuple[Path, ...]
    digest: str
    older: str

    @property
    def module(self) -> str:
        return PREFIX + self.digest[:DIGITS]

    @property
    def root(self) -> Path:
        """The folder that all its files are in."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def hashes(self) -> set[str]:
        """What runs of exactly this code may have on record."""
        return {self.digest[:DIGITS], self.older[:DIGITS]}


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


def read_plugin(path: str | Path) -> Plugin:
    """What a plugin consists of; nothing is imported. Raises MethodError if it cannot be read."""
    try:
        return _read(path)
    except OSError as error:  # e.g. it may not be read
        raise MethodError(f"plugin {path}: {error.strerror or error}") from error


def _read(path: str | Path) -> Plugin:
    file = Path(path).expanduser().resolve()
    if file.is_dir():
        files = _below(file)
        if not files:
            raise MethodError(f"plugin {path}: no Python file in this folder")
    elif file.is_file():
        if file.suffix != ".py":
            raise MethodError(f"plugin {path}: expected a Python file, NAME.py, or a folder")
        files = [file, *(p for sibling in _siblings(file).values() for p in _parts(sibling))]
    else:
        raise MethodError(f"plugin {path}: no such file")
    return Plugin(file, tuple(files), _digest(file, files), _older(files[0]))


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
    return _tree_digest(Path(file))[:DIGITS] if file and Path(file).suffix == ".py" else ""


# ---- identity ------------------------------------------------------------------------------------


def _digest(path: Path, files: Sequence[Path]) -> str:
    """Of one file its own, so that it stays the same when the file is moved into the harness."""
    if len(files) == 1 and path == files[0]:
        return _tree_digest(path)
    root = path if path.is_dir() else path.parent
    named = [f"{p.relative_to(root).as_posix()}\0{_tree_digest(p)}\0" for p in files]
    if path not in files:
        return hashlib.sha256("".join(named).encode()).hexdigest()
    own, *others = named
    own = own.partition("\0")[2]  # the name of the file itself does not count
    return hashlib.sha256("".join([own, *sorted(others)]).encode()).hexdigest()


def _tree_digest(file: Path) -> str:
    return hashlib.sha256(_canonical(_parsed(file)).encode()).hexdigest()


def _older(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # ValueError: null bytes; the last two: nested too deeply for Python's parser
        raise MethodError(f"plugin {file}: {type(error).__name__}: {error}") from error


def _canonical(node: object) -> str:
    """A syntax tree as text, without docstrings.

    Unlike `ast.dump` it is the same in every Python: fields that are empty are left out, since
    versions differ in which they have.
    """
    if isinstance(node, list):
        return "[" + ",".join(map(_canonical, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    fields.pop("kind", None)  # of a text: whether it was written u""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = fields["body"][1:]
    parts = [f"{k}={_canonical(v)}" for k, v in sorted(fields.items()) if v not in (None, [])]
    return f"{type(node).__name__}({','.join(parts)})"


def _siblings(file: Path) -> dict[str, Path]:
    """Name → file of the modules beside ``file`` that it imports, directly or through others.

    Of a package the file is its __init__.py.
    """
    found: dict[str, Path] = {}
    waiting = [file]
    while waiting:
        for name in _imported_names(waiting.pop()):
            beside = _beside(file, name)
            if beside is not None and name not in found:
                found[name] = beside
                waiting += _parts(beside)
    return found


def _beside(file: Path, name: str) -> Path | None:
    if name in HARNESS or name in sys.stdlib_module_names:
        return None
    places = (file.with_name(f"{name}.py"), file.parent / name / "__init__.py")
    return next((place for place in places if place != file and place.is_file()), None)


def _below(folder: Path) -> list[Path]:
    """The Python files in a folder. MethodError for one such as a home, which nobody means."""
    found: list[Path] = []
    entries = 0
    for place, folders, names in os.walk(folder):
        entries += len(folders) + len(names)
        if entries > MOST_ENTRIES:
            raise MethodError(f"plugin {folder}: holds more than {MOST_ENTRIES:,} files")
        found += (Path(place, name) for name in names if name.endswith(".py"))
    return [path for path in sorted(found) if not _is_hidden(path)]


def _parts(module: Path) -> list[Path]:
    """The files of a module, or of a package, which is given by its __init__.py."""
    if module.name != "__init__.py":
        return [module]
    return [p for p in sorted(module.parent.rglob("*.py")) if not _is_hidden(p)]


def _imported_names(file: Path) -> set[str]:
    """The top-level names of all absolute imports, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or "__pycache__" in path.parts


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
        for name, file in _siblings(plugin.path).items():
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
