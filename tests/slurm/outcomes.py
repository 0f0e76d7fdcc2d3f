"""What an undisturbed run of a matrix gives, and whether a result that was published stays."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from results import records
from results.schema import Record
from tests.slurm import matrices
from tests.slurm.calling import benchmark
from tests.slurm.dev_cluster import FaultError


class References:
    """Results of local, undisturbed runs of matrices, each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def of(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Run id -> its `numbers`, for every run of a matrix."""
        text = matrices.text(content)
        place = self.folder / hashlib.sha256(text.encode()).hexdigest()[:10]
        with self._lock:
            if not (place / "made").exists():
                self._make(place, content)
        return {record.run: numbers(d, record) for d, record in records.scan(place / "runs")}

    def _make(self, place: Path, content: Mapping[str, Any]) -> None:
        matrices.write(content, place / "matrix.yaml")
        done = benchmark("run", place / "matrix.yaml", place / "runs")
        if done.code not in (0, 1):  # 1: runs failed, as one fault has it
            raise FaultError(f"the undisturbed run failed:\n{done.said}")
        (place / "made").write_text(done.said)


def numbers(directory: Path, record: Record) -> dict[str, Any]:
    """All of a result that must not depend on what happened meanwhile; weights from the disk."""
    weights = (directory / (record.weights.file or "")).read_bytes()
    return {
        "accuracy": record.accuracy,
        "steps": record.steps,
        "teacher": record.teacher,
        "weights": [record.weights.sha256, hashlib.sha256(weights).hexdigest()],
        "history": (directory / "history.csv").read_text(),
    }


class Watch(threading.Thread):
    """Looks at every result.json again and again: what has been published must never change."""

    def __init__(self, runs: Path) -> None:
        super().__init__(daemon=True)
        self.runs, self.ended = runs, threading.Event()
        self.seen: dict[Path, tuple[int, int, bytes]] = {}
        self.changed: set[str] = set()
        self.start()

    def run(self) -> None:
        while not self.ended.wait(0.2):
            self.look()

    def stop(self) -> None:
        self.ended.set()
        self.join()
        self.look()

    def look(self) -> None:
        for path in self.runs.glob("*/*/*/*/result.json"):
            first = self.seen.setdefault(path, _state(path))
            if first[1] and _state(path) != first and not _was_set_aside(path):
                self.changed.add(path.parent.name)
        gone = [path for path in self.seen if not path.exists() and not _was_set_aside(path)]
        self.changed |= {path.parent.name for path in gone}


def _was_set_aside(path: Path) -> bool:
    """Whether a person has had a run trained again (`retry --redo-teacher`)."""
    return any(path.parent.parent.glob(f"{path.parent.name}.stale-*"))


def _state(path: Path) -> tuple[int, int, bytes]:
    try:
        stat = path.stat()
        return stat.st_ino, stat.st_mtime_ns, path.read_bytes()
    except FileNotFoundError:
        return 0, 0, b""
