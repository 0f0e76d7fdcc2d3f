"""Decode image files to pixels: the part of a folder data set that runs in worker processes.

Every view of a sample has its own seed, so neither the number of processes nor the step at which an
epoch starts changes a pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from .base import Settings
from .cache import Cached, CacheSpec, ImageSource, cached
from .errors import DataError
from .image_files import Listing
from .pictures import fitted, pixels, read
from .survey import each
from .unreadable import together


@dataclass(frozen=True)
class Request:
    """One image: its file and a seed per training view; no seeds mean the test image."""

    path: str
    seeds: tuple[int, ...] = ()


class Decoder(Dataset[Tensor]):
    """Images of ``size``²: RandomResizedCrop and flip for training, the centre crop for testing.

    margin    pixels by which the shorter side exceeds the centre crop
    as_shown  as in `pictures.read`
    """

    def __init__(self, size: int, margin: int, flip: bool, as_shown: bool = False) -> None:
        from torchvision.transforms import v2  # slow to import, and rarely needed

        self.size, self.margin, self.as_shown = size, margin, as_shown
        self.augment = v2.Compose(
            [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(0.5 if flip else 0.0)]
        )

    def __getitems__(self, requests: Sequence[Request]) -> Tensor | str:
        """uint8 (B, views, 3, size, size) of a batch, or the message about an unreadable file.

        An exception would arrive in the trainer with the worker's whole traceback.
        """
        try:
            return torch.from_numpy(np.stack([self._views(request) for request in requests]))
        except DataError as error:
            return str(error)

    def _views(self, request: Request) -> np.ndarray:
        """(views, 3, size, size), decoding the file once."""
        image = read(request.path, self.as_shown)
        if not request.seeds:
            return pixels(fitted(image, self.size, self.margin))[None]
        views = []
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            for seed in request.seeds:
                torch.default_generator.manual_seed(seed)
                views.append(pixels(self.augment(image)))
        return np.stack(views)


def decoded_once(listing: Listing, size: int, workers: int, as_shown: bool = False) -> ImageSource:
    """The files of a part as images of ``size``² for a cache, decoded by ``workers`` threads."""

    def image(place: int) -> np.ndarray:
        return pixels(fitted(read(listing.full(place), as_shown), size))

    return ImageSource(listing.labels, in_threads(image, workers))


def in_threads(image: Callable[[int], np.ndarray], workers: int) -> Callable[[range], np.ndarray]:
    """A function from a range of places to their images; Pillow releases the GIL to decode."""

    def chunk(span: range) -> np.ndarray:
        with ThreadPoolExecutor(max(1, workers)) as pool:
            return np.stack(list(pool.map(image, span)))

    return chunk


def decoded_set(
    settings: Settings,
    train: Listing,
    test: Listing,
    class_names: Sequence[str],
    size: int,
    threads: int,
    cache: str | None,
    as_shown: bool = False,
) -> Cached:
    """Both parts at ``size`` pixels a side, from a cache file that is built the first time.

    Raises DataError that names every file that cannot be read, not only the first.
    """
    name, parts = settings.name, {"train": train, "test": test}
    sources = {part: decoded_once(files, size, threads, as_shown) for part, files in parts.items()}
    with tqdm(
        None, f"decoding {name}", len(train) + len(test), leave=False, disable=None, delay=1
    ) as bar:
        watched = {
            part: replace(source, chunk=_watched(source.chunk, name, (train, test), threads, bar))
            for part, source in sources.items()
        }
        key = f"{train.sha256} {test.sha256}"
        spec = CacheSpec(name, key, size, watched, tuple(class_names))
        return cached(spec, settings.root, cache)


def _watched(
    chunk: Callable[[range], np.ndarray],
    name: str,
    parts: Sequence[Listing],
    threads: int,
    bar: tqdm,
) -> Callable[[range], np.ndarray]:
    """``chunk`` with a progress bar, and with one error about all bad files of the set."""

    def watched(span: range) -> np.ndarray:
        try:
            images = chunk(span)
        except DataError as error:
            raise _all_unreadable(name, parts, threads) or error from error
        bar.update(len(span))
        return images

    return watched


def _all_unreadable(name: str, parts: Sequence[Listing], threads: int) -> DataError | None:
    """One error about all files that cannot be read, so that one repair is enough."""
    paths = [part.full(place) for part in parts for place in range(len(part))]
    problems = [
        problem for problem in each(_problem, paths, threads, "looking for more") if problem
    ]
    return together(name, len(paths), problems) if problems else None


def _problem(path: str) -> str:
    try:
        read(path)
    except DataError as error:
        return str(error)
    return ""
