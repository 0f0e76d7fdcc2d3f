"""What lies where in a run's directory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from experiments.errors import InputError, beside
from results.schema import TeacherUsed

CHECKPOINT = "checkpoint"
HEAD = "method.safetensors"  # for methods that predict with modules of their own
WEIGHTS = "weights.safetensors"  # what a finished run leaves in its directory
ERROR = "error.txt"  # why a run failed; while it is there, nobody tries again
BLOCKED = "blocked.txt"  # why a run could not be tried, in one line; stops nobody


def weights_of(directory: Path) -> Path:
    """Where a teacher trained by the harness keeps its weights."""
    return directory / WEIGHTS


def teacher_predictions(runs: Path, dataset: str, teacher: TeacherUsed, fingerprint: str) -> Path:
    """Where predictions of a teacher from files are kept, for all runs on that data set.

    So are those of an ensemble.

    ``fingerprint`` is the sha256 of the data.
    """
    weights = (teacher.sha256 or "")[:10]
    if teacher.pixels:  # the same weights predict otherwise on other pixels
        text = json.dumps(teacher.pixels, sort_keys=True)
        weights += f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    file = f"{teacher.name}-{weights}-{fingerprint[:8]}.safetensors".replace("/", ".")
    return runs / dataset.replace("/", ".") / "teachers" / file


def find(verb: str, runs: Path, run: str) -> Path:
    """A run's directory by its path, its name there ("0-7a77…"), its id, or the beginning of one.

    ``verb`` is who asks. A pattern's characters in ``run`` stand for themselves.
    """
    if Path(run).is_dir() and (Path(run) / "spec.yaml").exists():
        return Path(run)
    begin = run.rstrip("/…")  # as tables shorten ids
    paths = called(runs, begin)
    if len(paths) == 1:
        return paths[0]
    if paths:
        raise InputError(f"{verb} {run}: {len(paths)} runs begin like this, e.g. {paths[0]}")
    raise InputError(
        f"{verb} {run}: no such run in {runs}{beside(Path(run))}; `status MATRIX --each` lists ids"
    )


def called(runs: Path, begin: str) -> list[Path]:
    """The runs' directories whose name or id begins so."""
    named = sorted(p for p in runs.glob("*/*/*/*-*") if ".stale-" not in p.name)
    return [path for path in named if _is_called(path.name, begin)]


def _is_called(name: str, begin: str) -> bool:
    """Whether a directory "<trial>-<id>" is meant by the beginning of its name or of its id.

    The name must be given with the dash: "0" alone begins ids, too.
    """
    return name.partition("-")[2].startswith(begin) or ("-" in begin and name.startswith(begin))
