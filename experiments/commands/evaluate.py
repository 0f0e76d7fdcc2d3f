"""`benchmark.py evaluate`: what anyone's checkpoint is worth on a data set's test part."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

import datasets
import distillers
import models
from datasets import Data, Info
from experiments.commands.common import (
    Verbs,
    add_verb,
    positive,
)
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix.recipe import Recipe
from experiments.plan.workspace import Workspace
from experiments.rundir.layout import HEAD, WEIGHTS
from experiments.train import networks
from models import checkpoint as checkpoints
from models.fitting import Fit, fits, fitting, nearest
from models.formats import Checkpoint, read_checkpoint
from results import records

RECIPE = Recipe(channels_last=True)  # the faster format, on a CPU too; full precision


@dataclass(frozen=True)
class Scores:
    """On ``n`` images of the data set ``name``: accuracies in percent, mean cross-entropy."""

    name: str
    n: int
    top1: float
    top5: float
    loss: float


def evaluate(args: argparse.Namespace) -> int:
    """Load a checkpoint, anyone's, and measure it on a data set's test part."""
    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    checkpoint = read_checkpoint(args.file, args.part)
    found, device = which(checkpoint, args.model), device_of(args)
    data = build_data(args, checkpoint, device)
    model = load(checkpoint, found, data.info, device)
    for note in notes(checkpoint):
        print(f"note: {note}", file=sys.stderr)
    print(f"network  {model.name} with {model.num_classes} classes, from {checkpoint.format}")
    print("\n".join(lines(measure(model, data, args.batch_size))))
    return 0


# ---- which network -------------------------------------------------------------------------------


def which(checkpoint: Checkpoint, asked: str | None = None) -> Fit:
    """The network that the file says it is; else the one asked for; else the only one that fits.

    Raises ModelError where that is not one network, or not the one asked for.
    """
    said = checkpoint.about
    if said and asked not in (None, said.architecture):
        raise models.ModelError(f"{checkpoint.path}: says that it is {said}, not {asked}")
    if said:
        return Fit(said.architecture, said.num_classes)
    found = fits(checkpoint, [asked] if asked else ())
    if len(found) == 1:
        return found[0]
    if asked:
        return Fit(asked, None)  # loading says what is wrong
    if found:
        raise models.ModelError(f"{checkpoint.path}: {fitting(checkpoint)}: choose with --model")
    raise models.ModelError(f"{checkpoint.path}: {fitting(checkpoint)}{_nearest(checkpoint)}")


def _nearest(checkpoint: Checkpoint) -> str:
    found = nearest(checkpoint)
    return f"; nearest is {found[0]}: {found[1]}" if found else ""


def load(
    checkpoint: Checkpoint, found: Fit, info: Info | None, device: torch.device
) -> models.Classifier:
    """The network with its weights. Its classes are the data's, where there is data."""
    classes = info.num_classes if info else found.num_classes
    if classes is None:
        raise InputError(f"{checkpoint.path}: does not tell its classes: give --dataset")
    if info and found.num_classes not in (None, classes):
        raise InputError(f"{checkpoint.path}: {found}, but {info.name} has {classes}")
    with torch.random.fork_rng(devices=[]):
        model = networks.build(found.name, classes, RECIPE, device)
    checkpoints.load(model, checkpoint)
    return model


# ---- on which data -------------------------------------------------------------------------------


def device_of(args: argparse.Namespace) -> torch.device:
    """The one asked for; "auto" is the GPU where there is one."""
    return torch.device(Workspace(Path(), args.data, args.device).resolved().device)


def build_data(args: argparse.Namespace, checkpoint: Checkpoint, device: torch.device) -> Data:
    """The data set asked for, or the one that the file or its run names."""
    stated, options = _stated(checkpoint)
    name = args.dataset or stated
    if name is None:
        raise InputError(
            f"{checkpoint.path}: does not say on which data it was trained: give --dataset "
            f"({', '.join(datasets.names())})"
        )
    options = options if name == stated else {}
    given = dict(map(_option, args.option))
    return datasets.build(name, root=args.data, device=device, **(options | given))


def _stated(checkpoint: Checkpoint) -> tuple[str | None, dict[str, Any]]:
    """Data set and its options; a finished run's weights lie beside their result."""
    run = checkpoint.path.name == WEIGHTS and records.read(checkpoint.path.parent)
    if run:
        return run.spec["dataset"]["name"], run.spec["dataset"].get("options", {})
    return (checkpoint.about.dataset if checkpoint.about else None), {}


def _option(text: str) -> tuple[str, Any]:
    """ "image_size=16" as YAML would have it."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise InputError(f"--option {text}: expected KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--option {text}: {value!r} is no YAML") from error


def measure(model: models.Classifier, data: Data, batch_size: int) -> Scores:
    """The network's accuracy and loss on the test part."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = RECIPE.tf32
    scores = networks.evaluate(model, data.test_batches(batch_size=batch_size), RECIPE)
    return Scores(data.info.name, data.sizes["test"], **scores)


def lines(scores: Scores) -> Sequence[str]:
    """What a person reads."""
    return (
        f"data     {scores.name}, test part, n = {scores.n:,}",
        f"top-1    {scores.top1:.2f} %",
        f"top-5    {scores.top5:.2f} %",
        f"loss     {scores.loss:.4f}",
    )


def notes(checkpoint: Checkpoint) -> Iterator[str]:
    """What a reader of the accuracy should know of a file that a run has left."""
    here = checkpoint.path.parent
    if checkpoint.path.name == WEIGHTS and (here / HEAD).exists():
        record = records.read(here)
        method = record.spec["method"] if record else "its method"
        yield (
            f"{method} predicts with modules of its own ({HEAD} beside the file); this is the "
            "student's own classifier, which may not have been trained"
        )


def add_checkpoint_arguments(verb: argparse.ArgumentParser) -> None:
    """A weights file, which network it is, and the data to measure it on."""
    verb.add_argument("file", type=Path, help="weights: ours, or anyone's")
    verb.add_argument("--model", help="the network, where the file does not say and several fit")
    verb.add_argument("--part", choices=["student", "teacher"], default="student", help=_PART)
    verb.add_argument("--dataset", help="on whose test part; default: what the file says")
    verb.add_argument("--data", type=Path, default=CHECKOUT / "data", help="root of the data sets")
    verb.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="of the data set"
    )
    verb.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    verb.add_argument("--batch-size", type=positive, default=250)


_PART = "of a distiller that was saved whole (student)"


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_checkpoint_arguments(add_verb(verbs, "evaluate", evaluate))
