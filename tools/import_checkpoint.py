#!/usr/bin/env python3
"""Inspect any checkpoint: its format, the network it fits, its accuracy; convert it to our format.

    tools/import_checkpoint.py FILE                                  inspect only
    tools/import_checkpoint.py FILE --dataset cifar100 --data DIR    evaluate on the test part
    tools/import_checkpoint.py FILE … --to teacher.safetensors       also write it in our format
    tools/import_checkpoint.py FILE … --to … --replace               … over one of lower accuracy

Reads our own files and those of RepDistiller, mdistiller, SimKD, ReviewKD, OpenMMLab,
pytorch-cifar, torchvision and timm. Nothing in a file is executed: a file that holds more than
tensors and plain values is refused, with the reason. Our own files state the network, its number of
classes and, if it was evaluated, the data set and the accuracy.

Exit codes: 0 success; 1 the weights fit no network of the zoo, or several; 2 bad input.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import distillers
import models
from datasets import Data
from experiments.commands.arguments import Parser, output_file
from experiments.commands.entry import entry_point
from experiments.commands.evaluate import add_checkpoint_flags, asked_checkpoint, device_of
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.train import evaluation
from experiments.train.evaluation import Scores
from models.checkpoints.files import save_weights, sha256
from models.checkpoints.formats import Checkpoint, read_checkpoint
from models.checkpoints.identify import identify
from models.checkpoints.matching import Fit, check_values, fits, matches, nearest
from models.checkpoints.metadata import Metadata
from models.checkpoints.signatures import parameters
from models.normalisation import Normalisation


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


def match(checkpoint: Checkpoint, asked: str | None) -> Iterator[tuple[str, str]]:
    """The networks that the weights fit, the one ``asked`` for alone if they do; or the nearest.

    Raises ModelError for tensors that are no weights.
    """
    found = (matches(checkpoint, [asked]) if asked else []) or matches(checkpoint)
    for one in found:
        check_values(checkpoint, one)
    for match in found:
        yield "fits", ", ".join([str(match.fit), *match.notes])
    if not found:
        yield "fits", "no network of the zoo"
        close = nearest(checkpoint)
        if close:
            yield "nearest", f"{close[0]}: {close[1]}"


# ---- evaluation and conversion -------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """Where to write, and over which files: "never", "worse" ones, or any that is "there"."""

    path: Path
    replace: str = "never"

    def check(self) -> None:
        """Raise InputError, before anything is measured, if nothing can be written there."""
        to = self.path
        if to.suffix != ".safetensors":
            raise InputError(f"--to {to}: expected a name that ends in .safetensors")
        if not to.absolute().parent.is_dir():
            raise InputError(f"--to {to}: no directory {to.absolute().parent}")
        if os.path.lexists(to) and self.replace == "never":
            raise InputError(
                f"--to {to}: exists already and will not be overwritten{_accuracy_of(to)}; "
                "--replace overwrites a file of lower accuracy"
            )

    def check_better(self, facts: dict[str, Any]) -> None:
        """Raise InputError if the file that is there may be better than what is to be written."""
        to = self.path
        if self.replace != "worse" or not to.exists():
            return
        there, new, data = _stated(to), facts.get("accuracy"), facts.get("dataset")
        old, old_data = (there.accuracy, there.dataset) if there else (None, None)
        if old is None or new is None or old >= new or old_data != data:
            raise InputError(
                f"--to {to}: holds {_percent(old, old_data)}, the new one has "
                f"{_percent(new, data)}: not replaced; --force overwrites it anyway"
            )


def _stated(path: Path) -> Metadata | None:
    """What a file of ours says; None for any other file."""
    try:
        return read_checkpoint(path).metadata
    except models.ModelError:
        return None


def _accuracy_of(path: Path) -> str:
    there = _stated(path) if path.is_file() else None
    known = there is not None and there.accuracy is not None
    return f" ({there}: {_percent(there.accuracy, there.dataset)})" if there and known else ""


def _percent(accuracy: float | None, dataset: str | None) -> str:
    """ "72.50 % on cifar100"."""
    if accuracy is None:
        return "an unknown accuracy"
    return f"{accuracy:.2f} % on {dataset or 'unknown data'}"


def convert(
    model: models.Classifier, checkpoint: Checkpoint, facts: dict[str, Any], to: Target
) -> None:
    """Write the weights in our format, with their source."""
    known = {"source": f"{checkpoint.path.name}, sha256 {sha256(checkpoint.path)}"}
    if checkpoint.metadata:  # what one of our own files already says remains true
        given = {"format", "architecture", "num_classes"}  # save_weights sets these
        known |= checkpoint.metadata.model_dump(exclude_none=True, exclude=given)
    to.check()
    to.check_better(known | facts)
    save_weights(model, to.path, known | facts)


def facts_of(scores: Scores, data: Data, own: Normalisation | None = None) -> dict[str, Any]:
    """The metadata that follows from an evaluation.

    ``own``: the normalisation that the network was trained under, if it is not the data set's.
    """
    facts = {"dataset": scores.name, "accuracy": round(scores.top1, 4)}
    of_data = getattr(data, "normalisation", None)  # an optional attribute of data sets
    normalisation = own.model_dump() if own else of_data
    return facts | ({"normalisation": normalisation} if normalisation else {})


def examine(args: argparse.Namespace) -> int:
    """Inspect the file, then evaluate and convert it as requested; returns the exit code."""
    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    checkpoint = asked_checkpoint(args)
    for heading, text in (*inspect(checkpoint), *match(checkpoint, args.model)):
        print(f"{heading:<8} {text}", flush=True)
    measured = args.dataset is not None or args.data is not None
    args.data = args.data or CHECKOUT / "data"
    if not (measured or args.to or args.model):
        return 0 if checkpoint.metadata or len(fits(checkpoint)) == 1 else 1
    given = evaluation.stated(args.normalisation, args.mean, args.std)
    to = Target(args.to, _replacing(args)) if args.to else None
    if to:
        to.check()
    fit, device = identify(checkpoint, args.model), device_of(args)
    data = None
    if measured:
        data = evaluation.build_data(checkpoint, args.dataset, args.data, args.option, device)
    converted = evaluation.pixels_of(checkpoint, given, data)
    model = evaluation.load(checkpoint, fit, data, device, converted)
    facts: dict[str, Any] = {"normalisation": given.model_dump()} if given else {}
    if data:
        scores = evaluation.measure(model, data, args.batch_size)
        facts |= facts_of(scores, data, converted.own if converted else given)
        print("\n".join(evaluation.lines(scores, converted)), flush=True)
    if to:
        convert(model, checkpoint, facts, to)
        print(f"wrote    {args.to}: {Fit(model.name, model.num_classes)}")
    return 0


def _replacing(args: argparse.Namespace) -> str:
    return "there" if args.force else "worse" if args.replace else "never"


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
    parser.add_argument(
        "--to", type=output_file, metavar="OUT.safetensors", help="write a file of ours"
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="let --to overwrite a file that states a lower accuracy on the same data",
    )
    parser.add_argument("--force", action="store_true", help="let --to overwrite any file")
    parser.add_argument("--plugin", type=Path, action="append", default=[], help="registers models")
    return parser


if __name__ == "__main__":
    sys.exit(main())
