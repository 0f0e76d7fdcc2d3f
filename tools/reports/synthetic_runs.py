"""Made-up run directories of a large matrix, for `tools/reports/scale.py`; never trained."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Expansion, Facts
from experiments.matrix.run_spec import RunSpec
from experiments.matrix.schema import Matrix
from experiments.rundir import claims, start_log
from experiments.rundir.layout import CHECKPOINT, WEIGHTS
from results import board_file, records

TEACHERS = ("resnet20", "resnet32", "wrn_16_2", "vgg11", "resnet44", "resnet32x4", "resnet56")
STUDENTS = ("resnet8", "wrn_16_1", "ShuffleV1", "vgg8", "resnet14", "MobileNetV2", "resnet8x4")
METHODS = ("vanilla", "kd", "fitnet", "at", "rkd", "irg", "crd", "dkd", "gk_dfd", "crd+kd")
EPOCHS = 60
SHARED = 0.93  # different runs per entry: pairs share the runs of their student alone
# What becomes of the students' runs; teachers are always done, or nothing else would be.
SHARES = {"done": 0.75, "failed": 0.05, "running": 0.02, "stopped": 0.08, "untouched": 0.1}
ERROR = "Diverged: the loss is not finite at epoch 3, step 117 (last finite: ce 4.61)"

HEADER = "stage,epoch,lr,train_top1,train_loss,ce,crd,test_top1,test_top5,test_loss"
ROWS = (  # of a real run
    "main,1,0.04812084588247592,4.31,19.736824296569825,4.3433764434814455,15.393447853088379,"
    "6.15,21.7,4.149186132148291",
    "main,2,0.04272183077456632,7.15,19.040076698303224,4.069357441711426,14.970719256591797,"
    "7.48,26.74,4.01657505476018",
)


def matrix(runs: int) -> dict[str, Any]:
    """A matrix of about that many runs, which grows in all directions: pairs, methods, trials.

    As for a study of hyper-parameters, most of its methods are known ones under other weights. The
    data set is noise in the size of CIFAR-100, with images small enough not to matter here.
    """
    side = max(1, round((runs / 2.5) ** (1 / 3)))
    entries = runs / SHARED
    return {
        "dataset": {
            "name": "fake",
            "num_classes": 100,
            "image_size": 16,
            "train_size": 50_000,
            "test_size": 1_000,
        },
        "recipe": {"epochs": EPOCHS, "milestones": [38, 45, 53]},
        "pairs": _pairs(side),
        "methods": _methods(math.ceil(entries / side**2)),
        "trials": side,
    }


def _pairs(count: int) -> list[str]:
    shifts = range(len(STUDENTS))
    every = [
        f"{teacher} -> {STUDENTS[(i + shift) % len(STUDENTS)]}"
        for shift, (i, teacher) in itertools.product(shifts, enumerate(TEACHERS))
    ]
    if count > len(every):
        raise InputError(f"{count} pairs asked for, expected at most {len(every)}: fewer runs")
    return every[:count]


def _methods(count: int) -> list[Any]:
    """Every method as it is, then each with smaller and smaller weight of the cross-entropy."""
    entries: list[Any] = list(METHODS[:count])
    for i in range(count - len(entries)):
        name, weight = METHODS[i % len(METHODS)], round(0.99 - 0.01 * (i // len(METHODS)), 2)
        entries.append({"name": name, "label": f"{name} {weight}", "options": {"ce": weight}})
    return entries


@dataclass(frozen=True)
class Made:
    """A matrix file with its runs directory, how many runs it has, and how many by kind."""

    matrix: Path
    runs: Path
    count: int
    kinds: dict[str, int]


def make(folder: Path, runs: int) -> Made:
    """A matrix of about ``runs`` runs in ``folder`` and their directories, some of each kind.

    Runs that are "running" are claimed by this process. Raises RecordError or InputError without a
    real record to start from.
    """
    return make_of(matrix(runs), folder, _kinds)


def make_of(
    content: dict[str, Any], folder: Path, kinds_of: Callable[[Expansion], dict[str, str]]
) -> Made:
    """The runs of a matrix in ``folder``; ``kinds_of`` says of each what became of it."""
    path = folder / "matrix.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    expansion = expand(Matrix.model_validate(content), Facts())
    kinds = kinds_of(expansion)
    example = example_record()
    yamls: dict[str, str] = {}
    for spec in expansion.runs:
        _write(spec, folder / "runs", kinds[spec.id], example, yamls)
    counts = {kind: list(kinds.values()).count(kind) for kind in SHARES}
    return Made(path, folder / "runs", len(kinds), counts)


def _kinds(expansion: Expansion) -> dict[str, str]:
    """Run id -> its kind, always the same for the same matrix."""
    draw = random.Random(0)
    kinds = {
        spec.id: draw.choices(list(SHARES), list(SHARES.values()))[0] for spec in expansion.runs
    }
    return kinds | {teacher.id: "done" for teacher in expansion.teachers}


def example_record() -> dict[str, Any]:
    """A distilled run of a board that belongs to this checkout."""
    path = CHECKOUT / "results/boards/cifar100-all-cpu.jsonl"
    for record in board_file.read(path).values():
        if record.teacher:
            return record.model_dump(exclude_unset=True)
    raise InputError(f"{path}: no record of a distilled run to copy")


def _write(
    spec: RunSpec, runs: Path, kind: str, example: dict[str, Any], yamls: dict[str, str]
) -> None:
    """One run's directory as the harness leaves it; nothing for an untouched one."""
    if kind == "untouched":
        return
    directory = spec.directory(runs)
    directory.mkdir(parents=True)
    (directory / "spec.yaml").write_text(_spec_yaml(spec, yamls), encoding="utf-8")
    epochs = EPOCHS if kind == "done" else 1 + int(spec.id, 16) % (EPOCHS - 1)
    (directory / "history.csv").write_text(_history(epochs), encoding="utf-8")
    if kind == "done":
        (directory / WEIGHTS).write_bytes(_weights(spec.id))
        (directory / records.RESULT).write_text(result(spec, example), encoding="utf-8")
        return
    (directory / CHECKPOINT).write_bytes(_weights(spec.id))
    begun = [{**example["starts"][0], "epoch": 1, "steps": 0, "progress": True}]
    (directory / start_log.FILE).write_text(json.dumps(begun, indent=1) + "\n", encoding="utf-8")
    if kind == "failed":
        (directory / "error.txt").write_text(
            f"{ERROR}\n\nTraceback (most recent call last): …\n", encoding="utf-8"
        )
        return
    claim = claims.take(directory)
    if kind == "stopped" and claim is not None:
        claim.release()


def _spec_yaml(spec: RunSpec, known: dict[str, str]) -> str:
    """Only the trial differs between the runs of a cell: writing YAML takes long."""
    cell = json.dumps({**spec.dump(), "trial": 0})
    if cell not in known:
        first = spec.model_copy(update={"trial": 0})
        known[cell] = yaml.safe_dump(first.dump(), sort_keys=False)
    return known[cell].replace("\ntrial: 0\n", f"\ntrial: {spec.trial}\n")


def _history(epochs: int) -> str:
    rows = [ROWS[i % len(ROWS)].split(",") for i in range(epochs)]
    lines = [",".join(["main", str(i), *row[2:]]) for i, row in enumerate(rows, start=1)]
    return "\n".join([HEADER, *lines, ""])


def _weights(run: str) -> bytes:
    """A few bytes that stand for a run's weights."""
    return f"the weights of {run}".encode()


def result(spec: RunSpec, example: dict[str, Any]) -> str:
    """The real record with this run's names and numbers."""
    chance = int(spec.id, 16) / 16 ** len(spec.id)
    top1 = 60 + 15 * chance
    last = {**example["accuracy"]["last"], "top1": top1, "epoch": EPOCHS}
    best = {**example["accuracy"]["best"], "top1": top1 + 0.2, "epoch": EPOCHS - 3}
    teacher = None
    if spec.teacher and spec.teacher.run:
        name, run = spec.teacher.name, spec.teacher.run
        teacher = {"name": name, "accuracy": 75.4, "sha256": _digest(run), "run": run}
    record = {
        **example,
        "run": spec.id,
        "spec": spec.dump(),
        "accuracy": {**example["accuracy"], "last": last, "best": best},
        "teacher": teacher,
        "weights": {"file": WEIGHTS, "sha256": _digest(spec.id)},
        "seconds": round(3000 * (1 + chance), 2),
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _digest(run: str) -> str:
    return hashlib.sha256(_weights(run)).hexdigest()


if __name__ == "__main__":
    print(f"{__doc__}\nNothing to run: it is a part of scale.py.")
