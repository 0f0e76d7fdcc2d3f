"""The data set that runs agree on, from what a matrix or a job says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
from datasets import Data

from .matrix import DatasetEntry
from .recipe import Recipe
from .spec import DataSpec


def build(
    dataset: DatasetEntry | DataSpec,
    recipe: Recipe,
    root: Path,
    options: dict[str, Any],
    device: str = "cpu",
    shard: tuple[int, int] = (0, 1),
) -> Data:
    """The data set under ``root``; ``options`` are its own, with those that no run's id knows.

    shard  number of this process and how many share a run. Raises DataError.
    """
    return datasets.build(
        dataset.name,
        root=root,
        subset=dataset.subset,
        validation=dataset.validation,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        device=device,
        shard=shard,
        **options,
    )
