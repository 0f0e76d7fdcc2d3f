"""Values that take long to compute, remembered on disk beside the caches of the data sets.

A memory only saves time: an entry that is missing, damaged or cannot be written is computed again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets.places import folders
from experiments.environment import CHECKOUT
from results import files

Key = Mapping[str, Any]


class Memo:
    """One file per value, named by the hash of its key, in the cache folder of a data root.

    ``kind`` is the first part of the file's name; ``key`` holds everything that the value depends
    on. Keys and values are plain JSON, and no value is None.
    """

    def __init__(self, root: Path | None) -> None:
        """``root``: where data sets are; None to remember nothing."""
        self.root = root

    def known(self, kind: str, key: Key, name: str | None = None) -> Any:
        """The value under ``key``, or None. ``name``: see `store`."""
        text = _text(key)
        for folder in self._folders():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                entry = json.loads(files.read_bytes(folder / _file(kind, name or text)))
                if entry["key"] == json.loads(text):  # not only the same hash
                    return entry["value"]
        return None

    def store(self, kind: str, key: Key, value: Any, name: str | None = None) -> None:
        """Remember ``value``, if a folder can be written.

        A value under a ``name`` replaces the one that had another key: only the last is of use.
        """
        text = _text(key)
        for folder in self._folders():
            draft = folder / f".{kind}-{secrets.token_hex(4)}"
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                with draft.open("x", encoding="utf-8") as file:
                    json.dump({"key": json.loads(text), "value": value}, file)
                os.replace(draft, folder / _file(kind, name or text))
                return

    def _folders(self) -> list[Path]:
        if self.root is None or not self.root.is_dir():
            return []
        return folders(self.root, None)


def _text(key: Key) -> str:
    return json.dumps(key, sort_keys=True)


def _file(kind: str, text: str) -> str:
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def versions(packages: Sequence[str] = ("torch", "torchvision", "timm")) -> dict[str, str | None]:
    """Of the packages whose networks and arithmetic a value may depend on; None if absent.

    By the names of their folders: `importlib.metadata` reads files, a new one for every package.
    """
    listed = _installed()
    return {package: listed.get(package) for package in packages}


@functools.cache
def _installed() -> dict[str, str]:
    """Package -> version of all that were installed with their metadata, the first on the path."""
    found: dict[str, str] = {}
    for place in sys.path:
        with contextlib.suppress(OSError):
            names = (name for name in os.listdir(place or ".") if name.endswith(".dist-info"))
            for name in names:
                package, _, version = name.removesuffix(".dist-info").partition("-")
                found.setdefault(package.lower(), version)
    return found


def code_stamp(*folders: str) -> str:
    """A hash of the sizes and times of change of all Python files in these folders or files.

    It changes with the code, and reads none of it; `code_digest` is the same wherever the same code
    lies.
    """
    total = hashlib.sha256(f"{CHECKOUT}\0".encode())
    for folder in folders:
        place = CHECKOUT / folder
        for name in sorted(_python_files(place)) if place.is_dir() else [str(place)]:
            found = os.stat(name)
            total.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return total.hexdigest()


def _python_files(folder: str | Path) -> Iterator[str]:
    """Those below a folder; a directory's entries say what they are without a look at each."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                yield entry.path
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _python_files(entry.path)


@functools.cache
def code_digest(*folders: str) -> str:
    """A hash of all Python files in these folders or files of the checkout."""
    total = hashlib.sha256()
    for folder in folders:
        place = CHECKOUT / folder
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            total.update(f"{path.relative_to(CHECKOUT)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()
