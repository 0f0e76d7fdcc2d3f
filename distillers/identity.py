"""What a user's plugin consists of, and its digest; nothing is imported.

A plugin is identified by its syntax trees, without comments, docstrings and layout: editing those
changes no result. It covers the modules beside the file that it imports, or the whole folder.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import MethodError

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


def read_plugin(path: str | Path) -> Plugin:
    """What a plugin consists of; nothing is imported. Raises MethodError if it cannot be read."""
    try:
        return _read(path)
    except (OSError, RuntimeError) as error:  # it may not be read; it is a link to itself
        why = getattr(error, "strerror", None) or error
        raise MethodError(f"plugin {path}: {why}") from error


def _read(path: str | Path) -> Plugin:
    file = Path(os.path.expanduser(path)).resolve()
    if file.is_dir():
        files = _below(file)
        if not files:
            raise MethodError(f"plugin {path}: no Python file in this folder")
    elif file.is_file():
        if file.suffix != ".py":
            raise MethodError(f"plugin {path}: expected a Python file, NAME.py, or a folder")
        files = [file, *(p for sibling in siblings(file).values() for p in _parts(sibling))]
    else:
        raise MethodError(f"plugin {path}: no such file")
    return Plugin(file, tuple(files), _digest(file, files), _older(files[0]))


def _digest(path: Path, files: Sequence[Path]) -> str:
    """Of one file its own, so that it stays the same when the file is moved into the harness."""
    if len(files) == 1 and path == files[0]:
        return tree_digest(path)
    root = path if path.is_dir() else path.parent
    named = [f"{p.relative_to(root).as_posix()}\0{tree_digest(p)}\0" for p in files]
    if path not in files:
        return hashlib.sha256("".join(named).encode()).hexdigest()
    own, *others = named
    own = own.partition("\0")[2]  # the name of the file itself does not count
    return hashlib.sha256("".join([own, *sorted(others)]).encode()).hexdigest()


def tree_digest(file: Path) -> str:
    """The sha256 of a file's syntax tree. Raises MethodError if it is no Python."""
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


def siblings(file: Path) -> dict[str, Path]:
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
