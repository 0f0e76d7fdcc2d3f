"""scikit-learn's bundled handwritten digits: a real task that needs no download."""

from __future__ import annotations

import gzip
import importlib.util
import warnings
from pathlib import Path

import numpy as np
import torch

from .base import Data, Settings
from .memory import Images, MemoryData, Part
from .randomness import generator
from .registry import Facts, register
from .samplers import stratified

TEST_SIZE = 360  # of 1,797: one fifth
# Of the training part's pixels (1,437 images), scaled to [0, 1]; the three channels are equal.
MEAN, STD = 0.3054, 0.3187


CLASS_NAMES = tuple(map(str, range(10)))


@register(
    "digits",
    facts=Facts(10, 16, 1_797 - TEST_SIZE, TEST_SIZE),
    class_names=lambda root, options: CLASS_NAMES,
)
def digits(settings: Settings) -> Data:
    """1,797 digits of 8×8 pixels, upsampled to 3×16×16; a fixed stratified fifth is the test part.

    Training shifts images by up to two pixels (one of the original), but never mirrors digits.
    """
    pixels, labels = _read()
    images = torch.from_numpy(upsample(pixels))
    whole = Part(images[:, None].repeat(1, 3, 1, 1), torch.from_numpy(labels))
    test = stratified(whole.labels, TEST_SIZE, generator("digits", "test part"))
    train = torch.ones(len(images), dtype=torch.bool).index_fill(0, test, False).nonzero()[:, 0]
    return MemoryData(
        settings,
        Images(
            train=whole.take(train),
            test=whole.take(test),
            class_names=CLASS_NAMES,
            mean=(MEAN,) * 3,
            std=(STD,) * 3,
            padding=2,
            flip=False,
        ),
    )


def _read() -> tuple[np.ndarray, np.ndarray]:
    """The images (N, 8, 8), values 0 … 16, and the labels (N,), both int64.

    From scikit-learn's file: importing the package imports SciPy and pandas, a thousand modules
    that no job needs.
    """
    package = importlib.util.find_spec("sklearn")
    folder = Path(package.origin).parent if package and package.origin else Path()
    file = folder / "datasets" / "data" / "digits.csv.gz"
    if not file.is_file():
        return _from_package()
    with gzip.open(file, "rt", encoding="ascii") as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].copy()


def _from_package() -> tuple[np.ndarray, np.ndarray]:
    """`_read` by scikit-learn's own means, whose file may lie elsewhere in another version."""
    with warnings.catch_warnings():  # joblib's, about a read-only /dev/shm that nothing here needs
        warnings.simplefilter("ignore")
        from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.int64), bunch.target.astype(np.int64)


def upsample(images: np.ndarray) -> np.ndarray:
    """(N, 8, 8) of values 0 … 16 to (N, 16, 16) uint8 of 0 … 255, bilinearly.

    Computed in integers, so that the pixels, and therefore the fingerprint, are the same on every
    machine: the two weights along each axis are 3/4 and 1/4.
    """
    for axis in (1, 2):
        widths = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(images, widths, mode="edge")
        size = images.shape[axis]
        before, after = (padded.take(np.arange(size) + k, axis) for k in (0, 2))
        pair = np.stack((3 * images + before, 3 * images + after), axis=axis + 1)
        shape = [2 * side if a == axis else side for a, side in enumerate(images.shape)]
        images = pair.reshape(shape)
    return ((images * 255 + 128) // 256).astype(np.uint8)  # 256 = 16 (values) × 4 × 4 (weights)
