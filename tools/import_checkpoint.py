#!/usr/bin/env python3
"""Inspect any checkpoint: its format, the network it fits, its accuracy; convert it to our format.

    tools/import_checkpoint.py FILE                                  inspect only
    tools/import_checkpoint.py FILE --dataset cifar100 --data DIR    evaluate on the test part
    tools/import_checkpoint.py FILE … --to teacher.safetensors       also write it in our format

Reads our own files and those of RepDistiller, mdistiller, SimKD, ReviewKD, OpenMMLab,
pytorch-cifar, torchvision and timm. Nothing in a file is executed: a file that holds more than
tensors and plain values is refused, with the reason. Our own files state the network, its number of
classes and, if it was evaluated, the data set and the accuracy.

Exit codes: 0 success; 1 the weights fit no network of the zoo, or several; 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import distillers
import models
from datasets import Data
from experiments.commands.common import Parser
from experiments.commands.entry import entry_point
from experiments.commands.evaluate import add_checkpoint_flags, asked_checkpoint, device_of
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.train import evaluation
from experiments.train.evaluation import Scores
from models.checkpoints.files import save_weights, sha256
from models.checkpoints.formats import Checkpoint
from models.checkpoints.identify import identify
from models.checkpoints.matching import Fit, fits, matches, nearest
from models.checkpoints.metadata import Metadata
from models.checkpoints.signatures import parameters


def inspect(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """The file's content, as pairs of a heading and a text."""
    path, state = checkpoint.path, checkpoint.state
    size = f"{path.stat().st_size / 1e6:,.1f} MB"
    yield "file", f"{path} ({size}, sha256 {sha256(path)[:16]}…)"
    yield "format", checkpoint.format
    if checkpoint.part:
        yield "part", f"{checkpoint.part} (choose with --part)"
    if checkpoint.stripped:
        yield "without", f"the prefixes {' '.join(checkpoint.stripped)}"
    yield "holds", f"{len(state)} tensors, {parameters(state):,} parameters"
    for name, value in checkpoint.extra.items():
        yield "also", f"{name}: {value}"
    for note in checkpoint.notes:
        yield "note", note
    if checkpoint.metadata:
        yield "says", _summary(checkpoint.metadata)


def _summary(metadata: Metadata) -> str:
    accuracy = f": {metadata.accuracy:.2f} %" if metadata.accuracy is not None else ""
    known = [f"on {metadata.dataset}{accuracy}"] if metadata.dataset else []
    known += [f"from {metadata.source}"] if metadata.source else []
    return ", ".join([str(metadata), *known])


def match(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """The networks that the weights fit, or the nearest one."""
    found = matches(checkpoint)
    for match in found:
        yield "fits", ", ".join([str(match.fit), *match.notes])
    if not found:
        yield "fits", "no network of the zoo"
        close = nearest(checkpoint)
        if close:
            yield "nearest", f"{close[0]}: {close[1]}"


# ---- evaluation and conversion -------------------------------------------------------------------


def convert(
    model: models.Classifier, checkpoint: Checkpoint, facts: dict[str, Any], to: Path
) -> None:
    """Write the weights in our format, with their source."""
    if to.suffix != ".safetensors":
        raise InputError(f"--to {to}: expected a name that ends in .safetensors")
    if to.exists():
        raise InputError(f"--to {to}: exists already and will not be overwritten")
    if not to.absolute().parent.is_dir():
        raise InputError(f"--to {to}: no directory {to.absolute().parent}")
    known = {"source": f"{checkpoint.path.name}, sha256 {sha256(checkpoint.path)}"}
    if checkpoint.metadata:  # what one of our own files already says remains true
        given = {"format", "architecture", "num_classes"}  # save_weights sets these
        known |= checkpoint.metadata.model_dump(exclude_none=True, exclude=given)
    save_weights(model, to, known | facts)


def facts_of(scores: Scores, data: Data) -> dict[str, Any]:
    """The metadata that follows from an evaluation."""
    facts = {"dataset": scores.name, "accuracy": round(scores.top1, 4)}
    normalisation = getattr(data, "normalisation", None)  # an optional attribute of data sets
    return facts | ({"normalisation": normalisation} if normalisation else {})


def examine(args: argparse.Namespace) -> int:
    """Inspect the file, then evaluate and convert it as requested; returns the exit code."""
    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    checkpoint = asked_checkpoint(args)
    for heading, text in (*inspect(checkpoint), *match(checkpoint)):
        print(f"{heading:<8} {text}", flush=True)
    measured = args.dataset is not None or args.data is not None
    args.data = args.data or CHECKOUT / "data"
    if not (measured or args.to):
        return 0 if args.model or checkpoint.metadata or len(fits(checkpoint)) == 1 else 1
    fit, device = identify(checkpoint, args.model), device_of(args)
    data = None
    if measured:
        data = evaluation.build_data(checkpoint, args.dataset, args.data, args.option, device)
    model = evaluation.load(checkpoint, fit, data.info if data else None, device)
    facts: dict[str, Any] = {}
    if data:
        scores = evaluation.measure(model, data, args.batch_size)
        facts = facts_of(scores, data)
        print("\n".join(evaluation.lines(scores)), flush=True)
    if args.to:
        convert(model, checkpoint, facts, args.to)
        print(f"wrote    {args.to}: {Fit(model.name, model.num_classes)}")
    return 0


# ---- the command line ----------------------------------------------------------------------------


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; bad input gives one line on standard error and exit code 2."""
    return examine(_parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoint_flags(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(data=None)  # None tells that it was not given: giving it means to measure
    parser.add_argument("--to", type=Path, metavar="OUT.safetensors", help="write a file of ours")
    parser.add_argument("--plugin", type=Path, action="append", default=[], help="registers models")
    return parser


if __name__ == "__main__":
    sys.exit(main())
