"""Runs of a small matrix as a cluster leaves them, made in a second: nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

import models
from experiments.matrix.run_spec import RunSpec
from experiments.rundir.layout import WEIGHTS
from models.checkpoints.files import save_weights, sha256
from results import predictions
from results.schema import PredictionsUsed, Record
from tests.experiments import cli

CLASSES, IMAGES = 4, 32
HISTORY = (
    "stage,epoch,lr,train_top1,train_loss,test_top1\nmain,1,0.1,30,1,25\nmain,2,0.05,40,1,50\n"
)
START = {
    "time": "2026-01-02T03:04:05+0000",
    "host": "node1",
    "job": "7_0",
    "device": "cpu",
    "versions": {"torch": "2.7.1", "python": "3.11.2"},
    "commit": "0" * 40,
    "dirty": False,
    "processes": 1,
    "progress": True,
    "epoch": 1,
    "steps": 0,
}
CLAIM = {"host": "node1", "pid": 1, "started": "5", "slurm": None}


def make(folder: Path) -> dict[str, Path]:
    """FOLDER/matrix.yaml and its runs: teacher, student and one run of KD done, two in all others.

    Returns their directories by state.
    """
    cli.write(folder, methods=["vanilla", "kd"])
    found = cli.expansion(methods=["vanilla", "kd"])
    runs = folder / "runs"
    teacher = found.teachers[0]
    alone, second, student, waiting = (entry.spec for entry in found.entries)
    weights = _finish(teacher, runs, None)
    for spec in (alone, student):
        _finish(spec, runs, weights if spec.teacher else None)
    _begin(waiting, runs)
    _begin(second, runs)
    (second.directory(runs) / "error.txt").write_text("Diverged: loss not finite\n\nTraceback\n")
    array = runs / ".slurm" / "kd-matrix-0a1b2c3d"
    array.mkdir(parents=True)
    (array / "array.json").write_text(json.dumps(_array(array.name, waiting.id)))
    (array / "7_0_0_log.out").write_text("epoch 1\n")
    states = {"done": student, "alone": alone, "teacher": teacher, "begun": waiting}
    places = {name: spec.directory(runs) for name, spec in states.items()}
    return {**places, "failed": second.directory(runs), "array": array}


def _array(name: str, run: str) -> dict[str, object]:
    plain = {"name": name, "matrix": "matrix.yaml", "user": "me", "time": 1.0, "tasks": [[run]]}
    return {**plain, "after": None, "minutes": 5, "job": "7", "code": None, "cluster": "c"}


def _begin(spec: RunSpec, runs: Path) -> None:
    directory = spec.directory(runs)
    directory.mkdir(parents=True)
    (directory / "spec.yaml").write_text(spec.as_yaml())
    (directory / "history.csv").write_text(HISTORY)
    (directory / "starts.json").write_text(json.dumps([START]))
    (directory / "claim-0001").write_text(json.dumps(CLAIM))
    (directory / "checkpoint").write_bytes(b"not read")


def _finish(spec: RunSpec, runs: Path, teacher: str | None) -> str:
    """The files of a finished run; returns the sha256 of its weights."""
    _begin(spec, runs)
    directory = spec.directory(runs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_weights(models.build(spec.student, num_classes=CLASSES), directory / WEIGHTS)
    digest = sha256(directory / WEIGHTS)
    labels = np.arange(IMAGES) % CLASSES
    logits = np.eye(CLASSES, dtype=np.float16)[np.where(np.arange(IMAGES) < 16, labels, 0)]
    header = predictions.Header(
        form="full", run=spec.id, dataset="fake", data="d" * 64, classes=CLASSES
    )
    found = predictions.full(logits, labels, header)
    measures = predictions.write(directory, found, True)
    record = _record(spec, measures.top1, digest, teacher)
    Record.model_validate(record)
    (directory / "result.json").write_text(json.dumps(record))
    assert measures.predictions == PredictionsUsed(
        file=predictions.FILE, form="full", sha256=sha256(directory / predictions.FILE)
    )
    return digest


def _record(spec: RunSpec, top1: float, weights: str, teacher: str | None) -> dict[str, object]:
    used = None
    if spec.teacher:
        used = {"name": "resnet14", "accuracy": top1, "sha256": teacher, "run": spec.teacher.run}
    return {
        "format": 1,
        "run": spec.id,
        "spec": spec.dump(),
        "accuracy": {
            "last": {"top1": top1, "top5": 100.0, "loss": 1.0, "epoch": 2},
            "best": {"top1": top1, "epoch": 2, "split": "test"},
            "validation": None,
            "samples": IMAGES,
        },
        "teacher": used,
        "source": None,
        "parameters": {"student": 10, "extra": 0, "extra_at_test": 0},
        "weights": {"file": WEIGHTS, "sha256": weights},
        "seconds": 1.0,
        "images_per_second": 100.0,
        "peak_memory_bytes": 10,
        "steps": 4,
        "schedule": {"epochs": 2, "initial_epochs": 0, "views": 1},
        "data": {"sha256": "d" * 64},
        "warnings": [],
        "starts": [START],
    }
