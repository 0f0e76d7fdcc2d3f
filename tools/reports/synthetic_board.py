"""A made-up board of a large matrix, for `tools/reports/scale.py`; never trained."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.matrix.expand import expand
from experiments.matrix.expansion import Facts
from experiments.matrix.run_spec import RunSpec
from experiments.matrix.schema import Matrix
from tools.reports import synthetic_runs

CLASSES, IMAGES = 100, 10_000  # of CIFAR-100's test set


@dataclass(frozen=True)
class MadeBoard:
    """A matrix file, a board file with all its runs, and how many these are."""

    matrix: Path
    board: Path
    count: int


def make(folder: Path, runs: int) -> MadeBoard:
    """A matrix of about ``runs`` runs in ``folder``, and a board on which all of them are done.

    Every line has measures of the size that a run on CIFAR-100 has. Raises RecordError or
    InputError without a real record to start from.
    """
    content = synthetic_runs.matrix(runs)
    matrix, board = folder / "matrix.yaml", folder / "board.jsonl"
    matrix.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    specs = expand(Matrix.model_validate(content), Facts()).runs
    example = synthetic_runs.example_record()
    with board.open("w", encoding="utf-8") as file:
        for spec in specs:
            made = json.loads(synthetic_runs.result(spec, example))
            line = {**made, "measures": measures(spec, made["accuracy"]["last"]["top1"])}
            file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
    return MadeBoard(matrix, board, len(specs))


def measures(spec: RunSpec, top1: float) -> dict[str, Any]:
    """What a run's measures.json holds; numbers as long as real ones, and reproducible."""
    draw = random.Random(spec.id)
    digest = hashlib.sha256(spec.id.encode()).hexdigest()
    names = ("top5", "nll", "ece", "ece_adaptive", "brier", "agreement", "kl")
    return {
        "format": 1,
        "run": spec.id,
        "predictions": {"file": "predictions.safetensors", "form": "full", "sha256": digest},
        "teacher": {"name": spec.teacher.name, "sha256": digest} if spec.teacher else None,
        "samples": IMAGES,
        "top1": top1,
        **{name: 10 * draw.random() for name in names},
        "per_class": [float(draw.randrange(101)) for _ in range(CLASSES)],
        "correct": base64.b64encode(draw.randbytes(IMAGES // 8)).decode(),
    }


if __name__ == "__main__":
    print(f"{__doc__}\nNothing to run: it is a part of scale.py.")
