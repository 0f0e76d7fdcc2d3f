"""What lies where in a run's directory."""

from __future__ import annotations

from pathlib import Path

from experiments.errors import InputError, beside

CHECKPOINT = "checkpoint"
HEAD = "method.safetensors"  # for methods that predict with modules of their own
WEIGHTS = "weights.safetensors"  # what a finished run leaves in its directory
ERROR = "error.txt"  # why a run failed; while it is there, nobody tries again


def weights_of(directory: Path) -> Path:
    """Where a teacher trained by the harness keeps its weights."""
    return directory / WEIGHTS


def find(verb: str, runs: Path, run: str) -> Path:
    """A run's directory by its path, its id, or the id's beginning; ``verb`` is who asks."""
    if Path(run).is_dir() and (Path(run) / "spec.yaml").exists():
        return Path(run)
    paths = sorted(p for p in runs.glob(f"*/*/*/*-{run}*") if ".stale-" not in p.name)
    if len(paths) == 1:
        return paths[0]
    if paths:
        raise InputError(f"{verb} {run}: {len(paths)} runs begin like this, e.g. {paths[0]}")
    raise InputError(
        f"{verb} {run}: no such run in {runs}{beside(Path(run))}; `status MATRIX --each` lists ids"
    )
