#!/usr/bin/env python3
"""Look into anyone's checkpoint: what it is, which network it fits, what it is worth; convert it.

    tools/import_checkpoint.py FILE                                  only look
    tools/import_checkpoint.py FILE --dataset cifar100 --data DIR    measure it on the test part
    tools/import_checkpoint.py FILE … --to teacher.safetensors       and write it as a file of ours

Read are our own files and those of RepDistiller, mdistiller, SimKD, ReviewKD, OpenMMLab,
pytorch-cifar, torchvision and timm. Nothing in a file is executed: what holds more than tensors and
plain values is refused, with its reason. A file of ours says which network it holds, with how many
classes, and, where it was measured, on which data and how well.

Exit codes: 0; 1 the weights fit no network of the zoo, or several; 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import datasets
import distillers
import models
from datasets import Data
from experiments.commands.common import Parser
from experiments.commands.evaluate import add_checkpoint_flags, device_of
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.train import evaluation
from experiments.train.evaluation import Scores
from models.checkpoint import save_weights, sha256
from models.fitting import Fit, fits, nearest, parameters
from models.formats import Checkpoint, read_checkpoint
from models.identify import identify

BAD_INPUT = (InputError, models.ModelError, datasets.DataError, distillers.MethodError, OSError)


def inspect(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """What is in the file, as pairs of a heading and a text."""
    path, state = checkpoint.path, checkpoint.state
    size = f"{path.stat().st_size / 1e6:,.1f} MB"
    yield "file", f"{path} ({size}, sha256 {sha256(path)[:16]}…)"
    yield "format", checkpoint.format
    if checkpoint.part:
        yield "part", f"{checkpoint.part} of a distiller (--part chooses)"
    if checkpoint.stripped:
        yield "without", f"the prefixes {' '.join(checkpoint.stripped)}"
    yield "holds", f"{len(state)} tensors, {parameters(state):,} parameters"
    for name, value in checkpoint.extra.items():
        yield "beside", f"{name}: {value}"
    if checkpoint.about:
        yield "says", _said(checkpoint)


def _said(checkpoint: Checkpoint) -> str:
    assert checkpoint.about is not None
    about = checkpoint.about
    accuracy = f": {about.accuracy:.2f} %" if about.accuracy is not None else ""
    known = [f"on {about.dataset}{accuracy}"] if about.dataset else []
    known += [f"from {about.source}"] if about.source else []
    return ", ".join([str(about), *known])


def fitting(checkpoint: Checkpoint) -> Iterator[tuple[str, str]]:
    """Which networks the weights fit, or which comes nearest."""
    found = fits(checkpoint)
    for fit in found:
        yield "fits", str(fit)
    if not found:
        yield "fits", "no network of the zoo"
        close = nearest(checkpoint)
        if close:
            yield "nearest", f"{close[0]}: {close[1]}"


# ---- measuring and converting --------------------------------------------------------------------


def convert(
    model: models.Classifier, checkpoint: Checkpoint, facts: dict[str, Any], to: Path
) -> None:
    """Write the weights as a file of ours, with where they come from."""
    if to.suffix != ".safetensors":
        raise InputError(f"--to {to}: expected a name that ends in .safetensors")
    if to.exists():
        raise InputError(f"--to {to}: exists already, and is not overwritten")
    if not to.absolute().parent.is_dir():
        raise InputError(f"--to {to}: no directory {to.absolute().parent}")
    source = f"{checkpoint.path.name}, sha256 {sha256(checkpoint.path)}"
    save_weights(model, to, {"source": source, **_known(checkpoint), **facts})


def _known(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a file of ours already said of itself stays true."""
    if checkpoint.about is None:
        return {}
    return checkpoint.about.model_dump(
        exclude_none=True, exclude={"format", "architecture", "num_classes"}
    )


def facts_of(scores: Scores, data: Data) -> dict[str, Any]:
    """What a measurement lets a file say."""
    facts = {"dataset": scores.name, "accuracy": round(scores.top1, 4)}
    normalisation = getattr(data, "normalisation", None)  # data sets may have their own way
    return facts | ({"normalisation": normalisation} if normalisation else {})


def examine(args: argparse.Namespace) -> int:
    """Everything that was asked for, in its order."""
    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    checkpoint = read_checkpoint(args.file, args.part)
    _print(inspect(checkpoint))
    _print(fitting(checkpoint))
    measured = args.dataset is not None or args.data is not None
    args.data = args.data or CHECKOUT / "data"
    if not (measured or args.to):
        return 0 if args.model or checkpoint.about or len(fits(checkpoint)) == 1 else 1
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


def _print(pairs: Iterator[tuple[str, str]]) -> None:
    for heading, text in pairs:
        print(f"{heading:<8} {text}", flush=True)


# ---- the command line ----------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, measure, convert; bad input is one line on standard error and exit code 2."""
    args = _parser().parse_args(arguments)
    try:
        return examine(args)
    except BAD_INPUT as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoint_flags(parser)
    parser.set_defaults(data=None)  # told from its default: who gives it wants a measurement
    parser.add_argument("--to", type=Path, metavar="OUT.safetensors", help="write a file of ours")
    parser.add_argument("--plugin", type=Path, action="append", default=[], help="registers models")
    return parser


if __name__ == "__main__":
    sys.exit(main())
