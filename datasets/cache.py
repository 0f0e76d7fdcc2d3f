"""Small image sets, decoded once into one memory-mapped file that all processes share.

The file is in the format of safetensors: for "train" and "test" the images (N, 3, H, W) uint8 and
the labels (N,) int64, and as metadata the class names and the sha256 of the content.
It is built under another name, synchronised and then renamed, so that a file with the final name is
whole. A lock file keeps a second process from building the same; a lock whose holder is dead, or
gives no sign of life for a minute, is taken over. Even then nothing can go wrong but work done
twice: two builders write the same bytes, and each renames its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open

from .errors import DataError
from .memory import Images, Part

VERSION = 1  # of the pixels' making: raised when the same files give other pixels
STALE = 60.0  # seconds without a sign of life after which a lock is taken over
POLL = 0.2  # seconds between two looks at somebody else's lock
CHUNK = 256  # images that are decoded, hashed and written together
PARTS = ("test", "train")


@dataclass(frozen=True)
class Pictures:
    """A part to be decoded: ``chunk(places)`` gives the images (k, 3, H, W) of a range."""

    labels: np.ndarray
    chunk: Callable[[range], np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """What a cache file is made of, and what it is known by.

    key      changes when the files or the way they are decoded do
    parts    "train" and "test"
    """

    name: str
    key: str
    size: int
    parts: Mapping[str, Pictures]
    class_names: tuple[str, ...]

    @property
    def file_name(self) -> str:
        digest = hashlib.sha256(f"{VERSION} {self.size} {self.key}".encode()).hexdigest()[:16]
        return f"{self.name}-{self.size}px-{digest}.safetensors"


@dataclass(frozen=True)
class Cached:
    """A cache file, mapped: nothing is read before it is used."""

    train: Part
    test: Part
    class_names: tuple[str, ...]
    sha256: str

    def images(self, **presentation: Any) -> Images:
        """The set with the rest of what `Images` says: constants, augmentation, warnings."""
        return Images(
            train=self.train,
            test=self.test,
            class_names=self.class_names,
            content=self.sha256,
            **presentation,
        )


def cached(recipe: Recipe, root: Path, cache: str | None) -> Cached:
    """The set's file in the first of its places that has it; else it is built in the first it can.

    The places are the folder ``cache``, or else ROOT/.cache and, where that cannot be written,
    $XDG_CACHE_HOME/kd-datasets. Raises DataError where none can be written.
    """
    folders = places(root, cache)
    for folder in folders:
        if (folder / recipe.file_name).is_file():
            return load(folder / recipe.file_name)
    for folder in folders:
        if _writable(folder):
            return load(_built(recipe, folder / recipe.file_name))
    looked = " or ".join(map(str, folders))
    raise DataError(f"{recipe.name}: cannot write {looked}; name a folder with option cache")


def places(root: Path, cache: str | None) -> list[Path]:
    """Where cache files may lie, best first."""
    if cache is not None:
        return [Path(cache).expanduser()]
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return [root / ".cache", home / "kd-datasets"]


def load(path: Path) -> Cached:
    """The parts of a cache file. Raises DataError if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata()
            parts = {
                name: Part(
                    file.get_tensor(f"{name}.images"),
                    file.get_tensor(f"{name}.labels"),
                    mapped=True,
                )
                for name in PARTS
            }
            names, sha256 = tuple(json.loads(about["class_names"])), about["sha256"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it to have it made again") from error
    return Cached(parts["train"], parts["test"], names, sha256)


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{who()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


# ---- one builder at a time -----------------------------------------------------------------------


def _built(recipe: Recipe, path: Path) -> Path:
    """``path``, once somebody has built it."""
    lock = path.with_suffix(".lock")
    while not path.is_file():
        if _taken(lock):
            try:
                if not path.is_file():
                    _build(recipe, path, beat=lambda: _beat(lock))
            finally:
                lock.unlink(missing_ok=True)
        else:
            _wait(path, lock)
    return path


def who() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _taken(lock: Path) -> bool:
    """Whether the lock is now ours."""
    try:
        with lock.open("x") as file:
            file.write(who())
    except FileExistsError:
        return False
    return True


def _beat(lock: Path) -> None:
    """A sign of life; somebody may have taken the lock over meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(lock)


def _wait(path: Path, lock: Path) -> None:
    """Until the file is there or the lock is gone; a lock without life is removed.

    Life is a change of the lock's time, seen by this process's own clock: those of two machines
    may differ.
    """
    seen, since = None, time.monotonic()
    while not path.is_file():
        try:
            now, holder = lock.stat().st_mtime_ns, lock.read_text()
        except FileNotFoundError:
            return
        if now != seen:
            seen, since = now, time.monotonic()
        if _is_dead(holder) or time.monotonic() - since > STALE:
            lock.unlink(missing_ok=True)
            return
        time.sleep(POLL)


def _is_dead(holder: str) -> bool:
    """Whether a lock's holder was a process of this machine that is no more."""
    host, _, pid = holder.rpartition("-")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


# ---- building ------------------------------------------------------------------------------------


def _build(recipe: Recipe, path: Path, beat: Callable[[], None]) -> None:
    total = sum(len(part.labels) for part in recipe.parts.values())
    print(f"{recipe.name}: decoding {total:,} images once, into {path}", file=sys.stderr)
    draft = path.with_name(f".{path.name}.{who()}")
    try:
        with draft.open("w+b") as file:
            _write(recipe, file, beat)
            file.flush()
            os.fsync(file.fileno())
        _publish(draft, path)
    except OSError as error:
        raise DataError(
            f"{recipe.name}: cannot write {path} ({error.strerror}); "
            "name another folder with option cache"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _publish(draft: Path, path: Path) -> None:
    """Give the file its name, and remove what builders left behind who did not get so far.

    One of them may be at work yet, believed dead: it will find its draft gone and the file there.
    """
    try:
        draft.replace(path)
    except FileNotFoundError:
        if not path.is_file():
            raise
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)


def _write(recipe: Recipe, file: BinaryIO, beat: Callable[[], None]) -> None:
    """Everything in the order of the header, whose sha256 is filled in at the end."""
    file.write(_header(recipe, "0" * 64))
    digest = hashlib.sha256(json.dumps([recipe.class_names, recipe.size]).encode())
    for array in _arrays(recipe):
        file.write(array.data)
        digest.update(array.data)
        beat()
    file.seek(0)
    file.write(_header(recipe, digest.hexdigest()))


def _arrays(recipe: Recipe) -> Iterator[np.ndarray]:
    """The labels, which so lie at multiples of 8 bytes, then the images in chunks."""
    for name in PARTS:
        yield recipe.parts[name].labels.astype("<i8")
    for name in PARTS:
        part = recipe.parts[name]
        for start in range(0, len(part.labels), CHUNK):
            span = range(start, min(start + CHUNK, len(part.labels)))
            yield np.ascontiguousarray(part.chunk(span))


def _header(recipe: Recipe, sha256: str) -> bytes:
    """Of a safetensors file: its length in 8 bytes, then JSON, padded to a multiple of 8."""
    entries: dict[str, object] = {
        "__metadata__": {"class_names": json.dumps(recipe.class_names), "sha256": sha256}
    }
    counts = {name: len(recipe.parts[name].labels) for name in PARTS}
    tensors: list[tuple[str, str, list[int], int]] = [
        *((f"{name}.labels", "I64", [count], 8) for name, count in counts.items()),
        *((f"{n}.images", "U8", [c, 3, recipe.size, recipe.size], 1) for n, c in counts.items()),
    ]
    start = 0
    for name, kind, shape, width in tensors:
        end = start + width * math.prod(shape)
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
