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
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.environment import CHECKOUT

Key = Mapping[str, Any]


class Memo:
    """One file per value, named by the hash of its key, in the cache folder of a data root.

    ``kind`` is the first part of the file's name; ``key`` holds everything that the value depends
    on. Keys and values are plain JSON, and no value is None.
    """

    def __init__(self, root: Path | None) -> None:
        """``root``: where data sets are; None to remember nothing."""
        self.root = root

    def known(self, kind: str, key: Key) -> Any:
        """The value under ``key``, or None."""
        text = _text(key)
        for folder in self._folders():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                entry = json.loads((folder / _file(kind, text)).read_text(encoding="utf-8"))
                if entry["key"] == json.loads(text):  # not only the same hash
                    return entry["value"]
        return None

    def store(self, kind: str, key: Key, value: Any) -> None:
        """Remember ``value``, if a folder can be written."""
        text = _text(key)
        for folder in self._folders():
            draft = folder / f".{kind}-{secrets.token_hex(4)}"
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                with draft.open("x", encoding="utf-8") as file:
                    json.dump({"key": json.loads(text), "value": value}, file)
                os.replace(draft, folder / _file(kind, text))
                return

    def _folders(self) -> list[Path]:
        if self.root is None or not self.root.is_dir():
            return []
        from datasets.cache import folders  # imports torch

        return folders(self.root, None)


def _text(key: Key) -> str:
    return json.dumps(key, sort_keys=True)


def _file(kind: str, text: str) -> str:
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def versions() -> dict[str, str | None]:
    """Of the packages whose networks and arithmetic a value may depend on; None if absent."""
    found: dict[str, str | None] = {}
    for package in ("torch", "torchvision", "timm"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


@functools.cache
def code_digest(*folders: str) -> str:
    """A hash of all Python files in these folders or files of the checkout."""
    total = hashlib.sha256()
    for folder in folders:
        place = CHECKOUT / folder
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            total.update(f"{path.relative_to(CHECKOUT)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()
