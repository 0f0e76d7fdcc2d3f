"""`evaluate`: anyone's checkpoint, or finished runs, on a data set's test part."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.activity import activity
from experiments.commands.arguments import positive
from experiments.commands.common import Verbs, add_data_flags, add_file, add_runs_flag, add_verb
from experiments.wording import plural

if TYPE_CHECKING:
    import torch

    from models.checkpoints.formats import Checkpoint


def evaluate(args: argparse.Namespace) -> int:
    """Measure a checkpoint, anyone's, or finished runs on a data set's test part.

    FILE is a file of weights. A finished RUN (its id, its directory or the name of that) is
    measured by its predictions; those that it lacks, as runs of earlier versions do, are made from
    its weights and stored beside them. With --matrix and no run: all finished runs of the matrix.
    """
    import distillers
    from experiments.commands.evaluate_runs import evaluate_runs

    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    file = _file(args)
    if file is None:
        return evaluate_runs(args, device_of(args))
    args.file = file
    return _evaluate_file(args)


def _file(args: argparse.Namespace) -> Path | None:
    """The file of weights; None where runs are meant. InputError for flags of the other kind."""
    from experiments.errors import InputError

    if not args.run and args.matrix is None:
        raise InputError("evaluate: expected a FILE, a RUN, or --matrix")
    is_file = bool(args.run) and _names_a_file(args.run[0])
    if is_file and len(args.run) > 1:
        raise InputError(f"evaluate {args.run[1]}: expected one FILE, or runs only")
    about = ("model", "part", "rename", "no_transform_input", "normalisation", "mean", "std")
    of_file = (*about, "dataset", "batch_size")
    kinds = {"file": of_file, "run": ("matrix", "against")}
    of_other = kinds["run" if is_file else "file"]
    for name in of_other:
        if name in getattr(args, "flags_given", ()):
            flag = "--" + name.replace("_", "-")
            kind = "runs" if is_file else "a file of weights"
            other = f", which {args.run[0]} is not" if args.run else ""
            raise InputError(f"{flag}: only for {kind}{other}")
    if args.against and len(args.run) != 1:
        raise InputError("--against: expected one run to compare with it")
    return Path(args.run[0]) if is_file else None


def _names_a_file(text: str) -> bool:
    """An existing file, or the name of one: those of runs have no ending."""
    path = Path(text)
    return path.is_file() or (not path.is_dir() and path.suffix != "")


def _evaluate_file(args: argparse.Namespace) -> int:
    from experiments.train import evaluation
    from models.checkpoints.identify import identify

    with activity(f"reading {args.file} and the data"):
        checkpoint = asked_checkpoint(args)
        fit, device = identify(checkpoint, args.model), device_of(args)
        given = evaluation.stated(args.normalisation, args.mean, args.std)
        data = evaluation.build_data(checkpoint, args.dataset, args.data, args.option, device)
        converted = evaluation.pixels_of(checkpoint, given, data)
    model = evaluation.load(checkpoint, fit, data, device, converted)
    for note in evaluation.notes(checkpoint, model):
        print(f"note: {note}", file=sys.stderr)
    classes = plural(model.num_classes, "class", "classes")
    print(f"network  {model.name} with {classes}, from {checkpoint.format}", flush=True)
    with activity(f"evaluating {plural(data.sizes['test'], 'image')} on {device}"):
        scores = evaluation.measure(model, data, args.batch_size)
    print("\n".join(evaluation.lines(scores, converted)))
    return 0


def asked_checkpoint(args: argparse.Namespace) -> Checkpoint:
    """The checkpoint in the file and as the flags describe it."""
    from experiments.errors import InputError
    from models.checkpoints.formats import read_checkpoint

    pairs = [text.partition("=") for text in args.rename]
    for text, (old, equals, _) in zip(args.rename, pairs, strict=True):
        if not (old and equals):
            raise InputError(f"--rename {text}: expected OLD=NEW")
    renamed = [(old, new) for old, _, new in pairs]
    stays = False if args.no_transform_input else None
    return read_checkpoint(args.file, args.part, renamed, stays)


def device_of(args: argparse.Namespace) -> torch.device:
    """The device asked for; "auto" is the GPU if there is one."""
    import torch

    from experiments.plan.workspace import Workspace

    return torch.device(Workspace(Path(), args.data, args.device).resolved().device)


def add_checkpoint_flags(parser: argparse.ArgumentParser) -> None:
    """A weights file, which network it is, and the data to measure it on."""
    parser.add_argument("file", type=Path, help="a file of weights, ours or anyone's")
    add_flags_of_file(parser)


def add_flags_of_file(parser: argparse.ArgumentParser) -> None:
    """Which network a weights file is, and the data to measure it on."""
    _add_network_flags(parser)
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
    _add_pixel_flags(parser)
    parser.add_argument(
        "--batch-size", type=positive, default=250, help="images per batch (default: 250)"
    )
    add_data_flags(parser)


def _add_network_flags(parser: argparse.ArgumentParser) -> None:
    """Which network a file holds, and under which names."""
    parser.add_argument(
        "--model", help="name the network, if the file does not and several would fit"
    )
    parser.add_argument(
        "--part",
        choices=["student", "teacher", "raw", "ema"],
        default="student",
        help="of several networks in the file read this one: of a distiller that was saved whole "
        "(default: student), or raw or averaged weights (default: raw)",
    )
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="where a part of a tensor's name begins with OLD, read NEW (repeatable)",
    )
    parser.add_argument(
        "--no-transform-input",
        action="store_true",
        help="of GoogLeNet and Inception: the weights were trained with ImageNet's normalisation, "
        "unlike those that torchvision publishes",
    )


def _add_pixel_flags(parser: argparse.ArgumentParser) -> None:
    """The pixels that a network was trained on, where they are not the data set's."""
    parser.add_argument(
        "--normalisation",
        metavar="NAME",
        help="say how the pixels were normalised that it was trained on, if not as the data set's "
        "(pytorch-cifar, imagenet, half, none, …)",
    )
    for name in ("mean", "std"):
        parser.add_argument(
            f"--{name}",
            type=float,
            nargs=3,
            metavar=("R", "G", "B"),
            help=f"say the {name} of that normalisation instead, of pixels in 0…1",
        )


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_verb(verbs, "evaluate", evaluate)
    add_file(
        verb,
        "run",
        nargs="*",
        metavar="FILE|RUN",
        help="a file of weights, ours or anyone's; or finished runs",
    )
    add_flags_of_file(verb)
    add_runs_flag(verb)
    verb.add_argument(
        "--matrix",
        type=Path,
        help="fill in all finished runs of this matrix; with a RUN, only read from it where given "
        "teachers and data are",
    )
    verb.add_argument(
        "--against",
        metavar="RUN",
        help="compare with this run: McNemar's exact test, classes that gain and lose",
    )
