"""A quick look at every file of a user's own set, before anything is trained on it.

It reads headers, and decodes only where they leave something open: files that may be cut off, and
pictures whose pixels may differ from what ``convert("RGB")`` gives. These enter the identity of the
set, so that results and caches of the time when everything was read that way are not mixed with
today's; sets without such pictures keep theirs. What was found is kept next to the data.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from .cache import draft_of
from .errors import DataError
from .image_files import Listing
from .pictures import converted, differs_from_plain, opened
from .unreadable import is_cut_off, together

VERSION = 1  # of the reading: raised when the same file gives other pixels
SLICE = 4096  # files that wait for a thread
T = TypeVar("T")
R = TypeVar("R")


def identified(
    name: str, train: Listing, test: Listing, workers: int, folders: Sequence[Path]
) -> tuple[Listing, Listing]:
    """The parts, the second's hash covering the pictures that are not read as they once were.

    Raises DataError that names all files that cannot be read.
    """
    text = f"{VERSION} {train.sha256} {test.sha256}"
    file = f"survey-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    digest = next(filter(None, (_stored(folder / file) for folder in folders)), None)
    if digest is None:
        digest = look_through(name, (train, test), workers)
        _store(folders, file, digest)
    if digest == _digest(()):
        return train, test
    return train, replace(test, sha256=f"{test.sha256} {digest}")


def look_through(name: str, parts: Sequence[Listing], workers: int) -> str:
    """The sha256 of the files whose pixels differ from ``convert("RGB")``, by their names.

    Raises DataError that names all files that cannot be read.
    """
    paths = [part.full(place) for part in parts for place in range(len(part))]
    found = list(each(_look, paths, workers, f"looking through {name}"))
    problems = [str(one) for one in found if isinstance(one, DataError)]
    if problems:
        raise together(name, len(paths), problems)
    names = chain.from_iterable(part.paths for part in parts)
    return _digest(path for path, differs in zip(names, found, strict=True) if differs)


def each(look: Callable[[T], R], items: Sequence[T], workers: int, what: str = "") -> Iterator[R]:
    """``look`` at every item, in order, in so many threads, with a progress bar after a second."""
    with (
        ThreadPoolExecutor(max(1, workers)) as pool,
        tqdm(None, what, len(items), leave=False, disable=None, delay=1, unit="file") as bar,
    ):
        for start in range(0, len(items), SLICE):
            for found in pool.map(look, items[start : start + SLICE]):
                bar.update()
                yield found


def _look(path: str) -> bool | DataError:
    """Whether the picture's pixels differ from ``convert("RGB")``; the error if it is damaged."""
    try:
        with opened(path) as picture:
            # A PNG may be damaged in the middle, and of other formats only decoding tells.
            if picture.format not in ("JPEG", "MPO") or is_cut_off(path):
                converted(picture, as_shown=True)
            return differs_from_plain(picture)
    except DataError as error:
        return error


def _digest(paths: Iterable[str]) -> str:
    digest = hashlib.sha256(f"{VERSION}".encode())
    for path in paths:
        digest.update(f"{path}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


# ---- kept between starts -------------------------------------------------------------------------


def _stored(path: Path) -> str | None:
    """What an earlier look found; None if there was none, or its file is damaged."""
    if not path.is_file():
        return None
    try:
        digest = json.loads(path.read_text(encoding="utf-8"))["differing"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) and len(digest) == 64 else None


def _store(folders: Sequence[Path], name: str, digest: str) -> None:
    """Write it to the first folder that can be written; without one, every start looks again."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            draft = draft_of(folder / name)
            try:
                with draft.open("x", encoding="utf-8") as file:
                    json.dump({"differing": digest}, file)
                draft.replace(folder / name)
            finally:
                draft.unlink(missing_ok=True)
            return
