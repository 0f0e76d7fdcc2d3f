"""Write a finished run's student as a file for others."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

import models
from experiments.errors import InputError
from experiments.rundir.layout import HEAD, WEIGHTS
from models.checkpoints.files import load, save_weights, sha256
from models.checkpoints.formats import read_checkpoint
from models.checkpoints.identify import identify
from results import records
from results.schema import Record

ENDINGS = {"repdistiller": ".pth", "ours": ".safetensors"}


def export(asked: str, directory: Path, kind: str, output: Path | None) -> Iterator[str]:
    """Write the student of the finished run in ``directory``; yields what to tell the user.

    kind    a key of ENDINGS: whose format
    output  None: a name that says what it is, in the current directory
    Raises InputError if the run is unfinished or the file cannot be written there.
    """
    record = _record(asked, directory)
    student = _student(directory, record)
    output = output or Path(_name(record) + ENDINGS[kind])
    if (output.suffix == ENDINGS["ours"]) != (kind == "ours"):
        raise InputError(
            f"--output {output}: .safetensors is the ending of --format ours, and only of it"
        )
    write = _repdistiller if kind == "repdistiller" else _ours
    for path in write(student, record, directory, _free(output)):
        yield f"wrote {path}"
    yield from _remarks(record, directory, kind)


def _record(asked: str, directory: Path) -> Record:
    """The result of a run, whose spec has what is named in the file. Else an InputError."""
    record = records.read(directory)
    if record is None:
        problem = records.problem(directory)
        why = f"its {records.RESULT} is unreadable: {problem}" if problem else "it is not finished"
        raise InputError(f"export {asked}: {directory} has no result yet: {why}")
    spec, where = record.spec, directory / records.RESULT
    missing = [key for key in ("student", "dataset", "method", "trial") if spec.get(key) is None]
    if missing:
        raise InputError(f"{where}: spec.{missing[0]}: missing: the file would not say what it is")
    if isinstance(spec["dataset"], str):  # the oldest records have only its name
        spec["dataset"] = {"name": spec["dataset"]}
    return record


def _student(directory: Path, record: Record) -> models.Classifier:
    """The student that the result describes, checked against the stored hash of its weights."""
    weights, stated = directory / WEIGHTS, record.weights.sha256
    if stated and stated != sha256(weights):
        raise InputError(f"{weights}: is not what its result.json names ({stated[:10]}…)")
    checkpoint = read_checkpoint(weights)
    fit = identify(checkpoint, record.spec["student"])
    if fit.num_classes is None:
        raise InputError(f"{weights}: {fit.name}: number of classes unknown")
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
    """The path, if nothing is there yet and its directory exists."""
    if os.path.lexists(output):
        raise InputError(f"--output {output}: exists already and is not overwritten")
    if not output.absolute().parent.is_dir():
        raise InputError(f"--output {output}: no directory {output.absolute().parent}")
    return output


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
    """safetensors with metadata; a method's own modules go into a file beside it."""
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
    """The modules that the method itself predicts with; empty for most methods."""
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
        "may not have been trained: use the student alone for its features only",
    ]
