"""A matrix that trains in seconds, and the command line called in this process."""

from __future__ import annotations

import contextlib
import copy
import io
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import benchmark
from experiments.local.progress import Progress
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Expansion, Facts
from experiments.matrix.schema import Matrix
from experiments.plan import jobs
from experiments.worker import worker

MATRIX: dict[str, Any] = {
    "dataset": {
        "name": "fake",
        "num_classes": 4,
        "image_size": 16,
        "train_size": 64,
        "test_size": 32,
    },
    "recipe": {"epochs": 2, "batch_size": 32, "schedule": "cosine"},
    "pairs": ["resnet14 -> resnet8"],
    "methods": ["vanilla", "kd", "fitnet"],
    "trials": 2,
}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def changed(**changes: Any) -> dict[str, Any]:
    """MATRIX with other values; ``recipe__epochs=3`` reaches inside."""
    matrix = copy.deepcopy(MATRIX)
    for path, value in changes.items():
        *groups, key = path.split("__")
        place = matrix
        for group in groups:
            place = place.setdefault(group, {})
        place[key] = value
    return matrix


def expansion(facts: Facts | None = None, **changes: Any) -> Expansion:
    """The runs of a changed MATRIX."""
    return expand(Matrix.model_validate(changed(**changes)), facts or Facts())


def write(folder: Path, **changes: Any) -> Path:
    """A changed MATRIX as FOLDER/matrix.yaml."""
    path = folder / "matrix.yaml"
    path.write_text(yaml.safe_dump(changed(**changes), sort_keys=False))
    return path


@dataclass(frozen=True)
class Called:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def command(verb: str, matrix: Path, *more: str) -> Called:
    """`benchmark.py VERB MATRIX …` with runs and data beside the matrix."""
    here = matrix.parent
    places = ("--runs", str(here / "runs"), "--data", str(here / "data"))
    return call(verb, str(matrix), *places, *more)


def call(*arguments: str) -> Called:
    """`benchmark.py …` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = benchmark.main(arguments)
        except SystemExit as ending:  # argparse
            code = int(ending.code or 0)
    return Called(code, out.getvalue(), err.getvalue())


def run_inline(waiting: list[jobs.Task], devices: list[str], progress: Progress) -> bool:
    """Stands in for `local.queue.run`: runs the jobs one by one, in order (teachers come first)."""
    with tempfile.TemporaryDirectory() as folder, signals_kept():
        for number, task in enumerate(waiting):
            path = Path(folder) / f"{number}.json"
            task.job.write(path)
            worker.work(path, as_json=False)
    return True


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    """Whatever handles signals inside does so no more afterwards."""
    before = [signal.getsignal(name) for name in SIGNALS]
    try:
        yield
    finally:
        for name, handler in zip(SIGNALS, before, strict=True):
            signal.signal(name, handler)


def listing(folder: Path) -> list[tuple[str, int]]:
    """Every path below with its time of change: equal listings mean that nothing was written."""
    return sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*"))
