"""Decode image files to pixels: the part of a folder data set that runs in worker processes.

Every view of a sample has its own seed, so neither the number of processes nor the step at which an
epoch starts changes a pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .base import Settings
from .cache import Cached, CacheSpec, ImageSource, cached
from .errors import DataError
from .image_files import Listing, fitted, pixels, read


@dataclass(frozen=True)
class Request:
    """One image: its file and a seed per training view; no seeds mean the test image."""

    path: str
    seeds: tuple[int, ...] = ()


class Decoder(Dataset[Tensor]):
    """Images of ``size``²: RandomResizedCrop and flip for training, the centre crop for testing.

    margin  pixels by which the shorter side exceeds the centre crop
    """

    def __init__(self, size: int, margin: int, flip: bool) -> None:
        from torchvision.transforms import v2  # slow to import, and rarely needed

        self.size, self.margin = size, margin
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
        image = read(request.path)
        if not request.seeds:
            return pixels(fitted(image, self.size, self.margin))[None]
        views = []
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            for seed in request.seeds:
                torch.default_generator.manual_seed(seed)
                views.append(pixels(self.augment(image)))
        return np.stack(views)


def decoded_once(listing: Listing, size: int, workers: int) -> ImageSource:
    """The files of a part as images of ``size``² for a cache, decoded by ``workers`` threads."""

    def image(place: int) -> np.ndarray:
        return pixels(fitted(read(listing.full(place)), size))

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
) -> Cached:
    """Both parts at ``size`` pixels a side, from a cache file that is built the first time."""
    parts = {"train": decoded_once(train, size, threads), "test": decoded_once(test, size, threads)}
    key = f"{train.sha256} {test.sha256}"
    spec = CacheSpec(settings.name, key, size, parts, tuple(class_names))
    return cached(spec, settings.root, cache)
