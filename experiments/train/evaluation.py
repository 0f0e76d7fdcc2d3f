"""Measure a checkpoint, anyone's, on a data set's test part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import datasets
import models
from datasets import Data
from experiments.errors import InputError
from experiments.matrix import yaml_loader
from experiments.matrix.recipe import Recipe
from experiments.rundir.layout import HEAD, WEIGHTS
from experiments.train import networks, pixels
from experiments.train.pixels import Pixels
from models import normalisation
from models.checkpoints import files as checkpoints
from models.checkpoints.formats import Checkpoint
from models.checkpoints.matching import Fit, notes_on
from models.normalisation import Normalisation
from results import records

# What `datasets.build` takes beside the data set's own options.
RESERVED = {
    "name": "give --dataset",
    "root": "give --data",
    "device": "give --device",
    "batch_size": "give --batch-size",
    "epochs": "nothing is trained here",
    "subset": "nothing is trained here",
    "validation": "nothing is trained here",
    "shard": "one process evaluates",
}
RECIPE = Recipe(channels_last=True)  # the faster memory format, on a CPU too; full precision


@dataclass(frozen=True)
class Scores:
    """On ``n`` images of the data set ``name``: accuracies in percent, mean cross-entropy."""

    name: str
    n: int
    top1: float
    top5: float
    loss: float


def load(
    checkpoint: Checkpoint,
    fit: Fit,
    data: Data | None,
    device: torch.device,
    converted: Pixels | None = None,
) -> models.Classifier:
    """Build the network and load its weights; the data, if given, determines the classes.

    ``converted`` is what `pixels_of` returned.
    """
    info = data.info if data else None
    classes = info.num_classes if info else fit.num_classes
    if classes is None:
        raise InputError(f"{checkpoint.path}: number of classes unknown; pass --dataset")
    if info and fit.num_classes not in (None, classes):
        raise InputError(f"{checkpoint.path}: {fit}, but {info.name} has {classes}")
    with torch.random.fork_rng(devices=[]):
        model = networks.build(fit.name, classes, RECIPE, device, converted)
    checkpoints.load(model, checkpoint)
    return model


def stated(name: str | None, mean: object, std: object) -> Normalisation | None:
    """What --normalisation, or --mean and --std say. Raises InputError."""
    flags = "--normalisation" if name is not None else "--mean, --std"
    if name is not None and (mean, std) != (None, None):
        raise InputError(f"{flags}: expected either this, or --mean and --std")
    try:
        return normalisation.stated(name, mean, std)
    except ValueError as error:
        raise InputError(f"{flags}: {error}") from error


def pixels_of(
    checkpoint: Checkpoint, given: Normalisation | None, data: Data | None
) -> Pixels | None:
    """The pixels that the network was trained on, where those of ``data`` must be converted.

    Raises ModelError where the file states others than ``given``.
    """
    said = checkpoint.metadata.normalisation if checkpoint.metadata else None
    pixels.check(given, said, str(checkpoint.path))
    if data is None:
        return None
    return pixels.of(given, said, data, str(checkpoint.path))


def build_data(
    checkpoint: Checkpoint,
    asked: str | None,
    root: Path,
    given: Sequence[str],
    device: torch.device,
) -> Data:
    """The data set ``asked`` for, else the one that the file or its run names.

    ``given`` are options of the data set, each as "KEY=VALUE". Raises InputError, DataError.
    """
    stated, stated_options = _stated(checkpoint)
    name = asked or stated
    if name is None:
        raise InputError(
            f"{checkpoint.path}: does not say on which data it was trained; pass --dataset "
            f"({', '.join(datasets.names())})"
        )
    stated_options = stated_options if name == stated else {}
    return datasets.build(name, root=root, device=device, **(stated_options | options(given)))


def _stated(checkpoint: Checkpoint) -> tuple[str | None, dict[str, Any]]:
    """Data set and its options; a finished run's weights lie beside their result."""
    run = checkpoint.path.name == WEIGHTS and records.read(checkpoint.path.parent)
    dataset = run.spec.get("dataset") if run else None
    if dataset:
        named = dataset if isinstance(dataset, dict) else {"name": dataset}
        return named["name"], named.get("options") or {}
    return (checkpoint.metadata.dataset if checkpoint.metadata else None), {}


def options(given: Sequence[str]) -> dict[str, Any]:
    """Options of a data set, each given as "KEY=VALUE". Raises InputError."""
    return dict(map(_option, given))


def _option(text: str) -> tuple[str, Any]:
    """ "image_size=16" as YAML would have it."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise InputError(f"--option {text}: expected KEY=VALUE")
    if key in RESERVED:
        raise InputError(f"--option {text}: {key} is no option of a data set: {RESERVED[key]}")
    return key, yaml_loader.parse(value, f"--option {text}")


def measure(model: models.Classifier, data: Data, batch_size: int) -> Scores:
    """The network's accuracy and loss on the test part."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = RECIPE.tf32
    batches = data.test_batches(batch_size=batch_size)
    total = -(-data.sizes["test"] // batch_size)
    # disable=None: a bar only where standard error is a terminal
    shown = tqdm(batches, "evaluating", total, leave=False, disable=None, delay=1)
    scores = networks.evaluate(model, shown, RECIPE)
    return Scores(data.info.name, data.sizes["test"], **scores)


def lines(scores: Scores, converted: Pixels | None = None) -> Sequence[str]:
    """The scores as the lines that are printed."""
    return (
        f"data     {scores.name}, test part, n = {scores.n:,}",
        *([f"pixels   converted to {converted}"] if converted else []),
        f"top-1    {scores.top1:.2f} %",
        f"top-5    {scores.top5:.2f} %",
        f"loss     {scores.loss:.4f}",
    )


def notes(checkpoint: Checkpoint, model: models.Classifier) -> Iterator[str]:
    """What was done to the file's weights, and caveats for their accuracy."""
    yield from notes_on(checkpoint, model)
    here = checkpoint.path.parent
    if checkpoint.path.name == WEIGHTS and (here / HEAD).exists():
        record = records.read(here)
        method = (record.spec.get("method") if record else None) or "its method"
        yield (
            f"{method} predicts with modules of its "
            f"own ({HEAD} beside the file); this is the student's own classifier, which may not "
            "have been trained"
        )
