"""From files to pixels: the part of a folder data set that decoding processes do.

Every view of a sample is drawn from a seed of its own, so that neither the number of processes nor
where an epoch is entered changes a pixel.
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
from .cache import Cached, Pictures, Recipe, cached
from .errors import DataError
from .pictures import Listing, fitted, pixels, read


@dataclass(frozen=True)
class Request:
    """One image: its file and a seed per view; without seeds as it is tested."""

    path: str
    seeds: tuple[int, ...] = ()


class Decoder(Dataset[Tensor]):
    """Images of ``size``² for training by RandomResizedCrop and flip, for testing the middle part.

    margin  pixels by which the shorter side is larger than the middle part that is tested on
    """

    def __init__(self, size: int, margin: int, flip: bool) -> None:
        from torchvision.transforms import v2  # here: it takes a second that few programs need

        self.size, self.margin = size, margin
        self.augment = v2.Compose(
            [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(0.5 if flip else 0.0)]
        )

    def __getitems__(self, requests: Sequence[Request]) -> Tensor | str:
        """uint8 (B, views, 3, size, size) of a batch; or what is wrong with a file.

        (An exception would come back with the whole traceback of the other process.)
        """
        try:
            return torch.from_numpy(np.stack([self._views(request) for request in requests]))
        except DataError as error:
            return str(error)

    def _views(self, request: Request) -> np.ndarray:
        """(views, 3, size, size); the file is decoded once."""
        picture = read(request.path)
        if not request.seeds:
            return pixels(fitted(picture, self.size, self.margin))[None]
        views = []
        with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator
            for seed in request.seeds:
                torch.default_generator.manual_seed(seed)
                views.append(pixels(self.augment(picture)))
        return np.stack(views)


def decoded_once(listing: Listing, size: int, workers: int) -> Pictures:
    """The files of a part as images of ``size``², for a cache; decoded by ``workers`` threads."""

    def image(place: int) -> np.ndarray:
        return pixels(fitted(read(listing.full(place)), size))

    return Pictures(listing.labels, in_threads(image, workers))


def in_threads(image: Callable[[int], np.ndarray], workers: int) -> Callable[[range], np.ndarray]:
    """A function from a range of places to their images; Pillow decodes without Python's lock."""

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
    """Both parts at ``size`` pixels a side, from the file of them that is made the first time."""
    parts = {"train": decoded_once(train, size, threads), "test": decoded_once(test, size, threads)}
    key = f"{train.sha256} {test.sha256}"
    recipe = Recipe(settings.name, key, size, parts, tuple(class_names))
    return cached(recipe, settings.root, cache)
