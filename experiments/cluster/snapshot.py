"""A copy of the code for jobs that start days after they were submitted."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from distillers.identity import read_plugin
from experiments import environment
from experiments.cluster import removal
from experiments.environment import CHECKOUT
from experiments.environment import SNAPSHOT as MARKER  # written last, when a copy is complete

FOLDERS = ("models", "datasets", "distillers", "experiments", "results")


def make(folder: Path, plugins: Sequence[Path]) -> tuple[Path, tuple[Path, ...]]:
    """Copy the code and the plugins under ``folder``; returns the copy and the plugins in it.

    The same code gives the same copy: its name is the hash of what was copied (not of the checkout,
    which may have been edited meanwhile). It is built under a temporary name and renamed when
    complete.
    """
    files = {str(path.relative_to(CHECKOUT)): path for path in _code()}
    copies = dict(item for i, path in enumerate(plugins) for item in _of_plugin(i, path))
    draft = folder / f".code-{secrets.token_hex(4)}"
    try:
        _copy(files | copies, draft)
        target = folder / f"code-{_digest(draft, files | copies)}"
        _place(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target, tuple(target / f"plugins/{i}" / path.name for i, path in enumerate(plugins))


def _code() -> list[Path]:
    paths = [path for name in FOLDERS for path in (CHECKOUT / name).rglob("*.py")]
    return [CHECKOUT / "benchmark.py", *sorted(paths)]


def _of_plugin(number: int, path: Path) -> Iterable[tuple[str, Path]]:
    """All files of a plugin, under its name in a folder of its own."""
    plugin = read_plugin(path)
    above = plugin.path.parent
    return [(f"plugins/{number}/{f.relative_to(above).as_posix()}", f) for f in plugin.files]


def _copy(files: dict[str, Path], draft: Path) -> None:
    for name, path in files.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, draft / name)


def _digest(draft: Path, names: Iterable[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        content = hashlib.sha256((draft / name).read_bytes()).hexdigest()
        total.update(f"{name}\0{content}\0".encode())
    return total.hexdigest()[:10]


def _place(draft: Path, target: Path) -> None:
    """Mark the copy as complete and rename it, unless the same copy exists."""
    if (target / MARKER).exists():
        return
    made = {**environment.code(), "made": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    (draft / MARKER).write_text(json.dumps(made), encoding="utf-8")
    if target.exists():  # incomplete: left by a `clean` that was killed, or met a busy file
        aside = target.with_name(f".code-{secrets.token_hex(4)}")
        os.rename(target, aside)
        removal.remove(aside)  # what stays is left to the next `clean`
    try:
        os.rename(draft, target)
    except OSError:  # another process placed the same code first
        if not (target / MARKER).exists():
            raise
