"""Small image sets, decoded once into one memory-mapped file that all processes share.

The file is in the format of safetensors: for "train" and "test" the images (N, 3, H, W) uint8 and
the labels (N,) int64, and as metadata the class names and the sha256 of the content.
It is built under another name, synchronised and then renamed, so a file with the final name is
complete. A lock keeps several processes from building the same file. It only saves work: two
builders write the same bytes, and each renames its own file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import struct
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import SoftFileLease
from safetensors import SafetensorError, safe_open

from .errors import DataError
from .memory import Images, Part
from .places import folders

VERSION = 1  # of the decoding: raised when the same files give different pixels
STALE = 60.0  # seconds without a heartbeat after which a lock is taken over
MAX_WAIT = 3600.0  # seconds; a lock file that a crash left empty never counts as stale
CHUNK = 256  # images that are decoded, hashed and written together
PARTS = ("test", "train")


@dataclass(frozen=True)
class ImageSource:
    """A part to be decoded: ``chunk(places)`` returns the images (k, 3, H, W) of a range."""

    labels: np.ndarray
    chunk: Callable[[range], np.ndarray]


@dataclass(frozen=True)
class CacheSpec:
    """What a cache file is built from, which determines its name.

    key      changes when the files or the way they are decoded do
    parts    "train" and "test"
    """

    name: str
    key: str
    size: int
    parts: Mapping[str, ImageSource]
    class_names: tuple[str, ...]

    @property
    def file_name(self) -> str:
        digest = hashlib.sha256(f"{VERSION} {self.size} {self.key}".encode()).hexdigest()[:16]
        return f"{self.name}-{self.size}px-{digest}.safetensors"


@dataclass(frozen=True)
class Cached:
    """An open cache file, memory-mapped: nothing is read before it is used."""

    train: Part
    test: Part
    class_names: tuple[str, ...]
    sha256: str

    def images(self, **presentation: Any) -> Images:
        """The set as `Images`, with its other fields: constants, augmentation, warnings."""
        return Images(
            train=self.train,
            test=self.test,
            class_names=self.class_names,
            content=self.sha256,
            **presentation,
        )


def cached(spec: CacheSpec, root: Path, cache: str | None) -> Cached:
    """Open the cache file; if no folder has it, build it in the first writable one.

    The folders are ``cache`` if given, otherwise ROOT/.cache and $XDG_CACHE_HOME/kd-datasets.
    Raises DataError if none is writable.
    """
    candidates = folders(root, cache)
    for folder in candidates:
        if (folder / spec.file_name).is_file():
            return load(folder / spec.file_name)
    for folder in candidates:
        if _writable(folder):
            path = folder / spec.file_name
            _build_once(spec, path)
            return load(path)
    tried = " or ".join(map(str, candidates))
    raise DataError(f"{spec.name}: cannot write {tried}; name a folder with option cache")


def load(path: Path) -> Cached:
    """The parts of a cache file. Raises DataError if it is damaged."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            parts = {
                name: Part(
                    file.get_tensor(f"{name}.images"),
                    file.get_tensor(f"{name}.labels"),
                    mapped=True,
                )
                for name in PARTS
            }
            names, sha256 = tuple(json.loads(metadata["class_names"])), metadata["sha256"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it to have it rebuilt") from error
    return Cached(parts["train"], parts["test"], names, sha256)


def draft_of(path: Path) -> Path:
    """A name in the same folder under which to write a file before renaming it to ``path``."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


def _writable(folder: Path) -> bool:
    """Whether files can be created in the folder, which is created if necessary."""
    # Trying is the only reliable test: os.access does not know quotas or network mounts.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = draft_of(folder / "probe")
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError:
        return False
    return True


# ---- building ------------------------------------------------------------------------------------


def _build_once(spec: CacheSpec, path: Path) -> None:
    """Build ``path``, or wait until another process has built it."""
    # A lease and not an OS lock: data often lie on network file systems, where flock may be
    # unsupported, local to one machine, or held by a machine that died. A lease needs only
    # exclusive creation. Waiting processes recognise a dead holder on their own machine by its
    # process id, and one elsewhere by its missing heartbeats, timed on their own clocks.
    lock = SoftFileLease(path.with_suffix(".lock"), lease_duration=STALE)
    with contextlib.suppress(OSError):  # timed out, or not possible here: build without the lock
        lock.acquire(timeout=MAX_WAIT)
    try:
        if not path.is_file():
            _build(spec, path)
    finally:
        lock.release()


def _build(spec: CacheSpec, path: Path) -> None:
    total = sum(len(part.labels) for part in spec.parts.values())
    print(f"{spec.name}: decoding {total:,} images once, into {path}", file=sys.stderr)
    draft = draft_of(path)
    try:
        with draft.open("x+b") as file:  # a link of that name is not followed
            _write(spec, file)
            file.flush()
            os.fsync(file.fileno())  # before the rename, which could otherwise reach the disk first
        _publish(draft, path)
    except OSError as error:
        raise DataError(
            f"{spec.name}: cannot write {path} ({error.strerror}); "
            "name another folder with option cache"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _publish(draft: Path, path: Path) -> None:
    """Rename the draft, and delete the drafts of builders that died.

    A builder that was only believed dead finds its own draft deleted and the file in place.
    """
    try:
        draft.replace(path)
    except FileNotFoundError:
        if not path.is_file():
            raise
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink(missing_ok=True)


def _write(spec: CacheSpec, file: BinaryIO) -> None:
    """Write everything in the order of the header, then rewrite the header with the sha256."""
    file.write(_header(spec, "0" * 64))
    digest = hashlib.sha256(json.dumps([spec.class_names, spec.size]).encode())
    for array in _arrays(spec):
        file.write(array.data)
        digest.update(array.data)
    file.seek(0)
    file.write(_header(spec, digest.hexdigest()))


def _arrays(spec: CacheSpec) -> Iterator[np.ndarray]:
    """The labels first, so that they are aligned to 8 bytes, then the images in chunks."""
    for name in PARTS:
        yield spec.parts[name].labels.astype("<i8")
    for name in PARTS:
        part = spec.parts[name]
        for start in range(0, len(part.labels), CHUNK):
            span = range(start, min(start + CHUNK, len(part.labels)))
            yield np.ascontiguousarray(part.chunk(span))


def _header(spec: CacheSpec, sha256: str) -> bytes:
    """A safetensors header: its length in 8 bytes, then JSON, padded to a multiple of 8."""
    entries: dict[str, object] = {
        "__metadata__": {"class_names": json.dumps(spec.class_names), "sha256": sha256}
    }
    counts = {name: len(spec.parts[name].labels) for name in PARTS}
    tensors: list[tuple[str, str, list[int], int]] = [
        *((f"{name}.labels", "I64", [count], 8) for name, count in counts.items()),
        *((f"{n}.images", "U8", [c, 3, spec.size, spec.size], 1) for n, c in counts.items()),
    ]
    start = 0  # offsets count from the end of the header
    for name, kind, shape, width in tensors:
        end = start + width * math.prod(shape)
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
