"""`benchmark.py export`: a finished run's student as a file for others."""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

import distillers
import models
from experiments.commands.common import (
    Verbs,
    add_verb,
)
from experiments.commands.evaluate import which
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.rundir.layout import HEAD, WEIGHTS, find
from models.checkpoint import load, save_weights, sha256
from models.formats import read_checkpoint
from results import records
from results.schema import Record

ENDINGS = {"repdistiller": ".pth", "ours": ".safetensors"}


def export(args: argparse.Namespace) -> int:
    """Write a finished run's student as a file that RepDistiller or we can read."""
    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    directory = find("export", args.runs, args.run)
    record = records.read(directory)
    if record is None:
        raise InputError(f"export {args.run}: {directory} has no result yet: it is not finished")
    student = _student(directory, record)
    output = args.output or Path(_name(record) + ENDINGS[args.format])
    if (output.suffix == ENDINGS["ours"]) != (args.format == "ours"):
        raise InputError(
            f"--output {output}: .safetensors is the ending of --format ours, and only of it"
        )
    write = _repdistiller if args.format == "repdistiller" else _ours
    for path in write(student, record, directory, _free(output)):
        print(f"wrote {path}")
    for line in _remarks(record, directory, args.format):
        print(line)
    return 0


def _student(directory: Path, record: Record) -> models.Classifier:
    """The network that the result is about, and no other."""
    weights, stated = directory / WEIGHTS, record.weights.sha256
    found = sha256(weights)
    if stated and stated != found:
        raise InputError(f"{weights}: is not what its result.json names ({stated[:10]}…)")
    checkpoint = read_checkpoint(weights)
    fit = which(checkpoint, record.spec["student"])
    if fit.num_classes is None:
        raise InputError(f"{weights}: {fit.name}: does not tell its classes")
    with torch.random.fork_rng(devices=[]):
        student = models.build(fit.name, fit.num_classes)
    kinds = (v.dtype for v in checkpoint.state.values() if v.is_floating_point())
    load(student.to(next(kinds)), checkpoint)  # a run may have trained in double precision
    return student


def _name(record: Record) -> str:
    """ "resnet8-cifar100-kd-0-3f2a91c07d": what it is, and which run."""
    spec = record.spec
    parts = (spec["student"], spec["dataset"]["name"], spec["method"], spec["trial"], record.run)
    return "-".join(str(part).replace("/", ".") for part in parts)


def _free(output: Path) -> Path:
    """The path, if there is nothing yet and something can be."""
    if os.path.lexists(output):
        raise InputError(f"--output {output}: exists already, and is not overwritten")
    if not output.absolute().parent.is_dir():
        raise InputError(f"--output {output}: no directory {output.absolute().parent}")
    return output


# ---- the formats ---------------------------------------------------------------------------------


def _repdistiller(student: nn.Module, record: Record, directory: Path, output: Path) -> list[Path]:
    """{"model", "epoch", "accuracy"}, of tensors and plain values only (weights_only=True)."""
    last = record.accuracy.last
    content: dict[str, Any] = {"model": student.state_dict(), "epoch": last.epoch}
    head = _head(directory)
    if head:  # the accuracy is the method's: it does not hold for the student's own classifier
        content["method"] = {"name": record.spec["method"], "state": head}
        content["method"]["accuracy"] = last.top1
    else:
        content["accuracy"] = last.top1
    buffer = io.BytesIO()
    torch.save(content, buffer)
    records.write_atomic(output, buffer.getvalue())
    return [output]


def _ours(student: nn.Module, record: Record, directory: Path, output: Path) -> list[Path]:
    """safetensors with what is known of them; a method's own modules in a file beside it."""
    spec, head = record.spec, _head(directory)
    facts = {"dataset": spec["dataset"]["name"], "source": f"{spec['method']}, run {record.run}"}
    accuracy = {} if head else {"accuracy": float(record.top1)}
    beside = _free(output.with_name(f"{output.stem}.{HEAD}")) if head else None
    save_weights(student, output, facts | accuracy)
    if beside is None:
        return [output]
    records.write_atomic(beside, safetensors.torch.save(head))
    return [output, beside]


def _head(directory: Path) -> dict[str, Tensor]:
    """The modules that the method predicts with, where it has such."""
    path = directory / HEAD
    return safetensors.torch.load_file(path) if path.is_file() else {}


def _remarks(record: Record, directory: Path, kind: str) -> list[str]:
    """The accuracy, and what it is the accuracy of."""
    spec, top1 = record.spec, record.top1
    what = f"{spec['student']} on {spec['dataset']['name']}, {spec['method']}: {top1:.2f} %"
    head = _head(directory)
    if not head:
        return [what]
    place = 'under "method"' if kind == "repdistiller" else "in the second file"
    numbers = sum(value.numel() for value in head.values())
    return [
        f"{what} with the method's own modules ({numbers:,} numbers, {place})",
        f"note: {spec['method']} predicts with them, not with the student's own classifier, which "
        "may not have been trained: alone, the student is good for its features",
    ]


def add_export_arguments(verb: argparse.ArgumentParser) -> None:
    """Which run, in whose format, where to."""
    verb.add_argument("run", help="a finished run's id (as status shows it), or its directory")
    verb.add_argument("--runs", type=Path, default=CHECKOUT / "runs", help="where runs are kept")
    verb.add_argument("--format", choices=["repdistiller", "ours"], default="repdistiller")
    verb.add_argument("--output", type=Path, help="default: a name that says what it is, here")


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_export_arguments(add_verb(verbs, "export", export))
