"""`evaluate`: the accuracy of anyone's checkpoint on a data set's test part."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.activity import activity
from experiments.commands.common import Verbs, add_data_flags, add_verb, positive
from experiments.wording import plural

if TYPE_CHECKING:
    import torch


def evaluate(args: argparse.Namespace) -> int:
    """Load a checkpoint, anyone's, and measure it on a data set's test part."""
    import distillers
    from experiments.train import evaluation
    from models.checkpoints.formats import read_checkpoint
    from models.checkpoints.identify import identify

    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    with activity(f"reading {args.file} and the data"):
        checkpoint = read_checkpoint(args.file, args.part)
        fit, device = identify(checkpoint, args.model), device_of(args)
        data = evaluation.build_data(checkpoint, args.dataset, args.data, args.option, device)
    model = evaluation.load(checkpoint, fit, data.info, device)
    for note in evaluation.notes(checkpoint):
        print(f"note: {note}", file=sys.stderr)
    classes = plural(model.num_classes, "class", "classes")
    print(f"network  {model.name} with {classes}, from {checkpoint.format}", flush=True)
    with activity(f"evaluating {plural(data.sizes['test'], 'image')} on {device}"):
        scores = evaluation.measure(model, data, args.batch_size)
    print("\n".join(evaluation.lines(scores)))
    return 0


def device_of(args: argparse.Namespace) -> torch.device:
    """The device asked for; "auto" is the GPU if there is one."""
    import torch

    from experiments.plan.workspace import Workspace

    return torch.device(Workspace(Path(), args.data, args.device).resolved().device)


def add_checkpoint_flags(parser: argparse.ArgumentParser) -> None:
    """A weights file, which network it is, and the data to measure it on."""
    parser.add_argument("file", type=Path, help="a file of weights, ours or anyone's")
    parser.add_argument(
        "--model", help="name the network, if the file does not and several would fit"
    )
    parser.add_argument(
        "--part",
        choices=["student", "teacher"],
        default="student",
        help="read this part of a distiller that was saved whole (default: student)",
    )
    parser.add_argument(
        "--dataset", help="measure on this data set's test part (default: what the file says)"
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set an option of the data set (repeatable)",
    )
    parser.add_argument(
        "--batch-size", type=positive, default=250, help="images per batch (default: 250)"
    )
    add_data_flags(parser)


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_checkpoint_flags(add_verb(verbs, "evaluate", evaluate))
