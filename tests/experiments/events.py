"""Event files read back with TensorBoard's own reader."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """Tag -> step -> value, as TensorBoard shows them; a step that is there twice is an error."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = reader.EventAccumulator(str(folder), size_guidance={reader.SCALARS: 0}).Reload()
    found = {}
    for tag in shown.Tags()["scalars"]:
        points = [(event.step, event.value) for event in shown.Scalars(tag)]
        found[tag] = dict(points)
        assert len(found[tag]) == len(points), f"{folder}: {tag}: {points}"
    return found


def text(folder: Path, tag: str = "spec") -> str:
    """The one text of this tag."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (event,) = reader.EventAccumulator(str(folder)).Reload().Tensors(f"{tag}/text_summary")
    return event.tensor_proto.string_val[0].decode()


def column(history: Path, name: str, stage: str = "main") -> dict[int, float]:
    """Epoch -> value of a column of ``history.csv``, as precise as an event file is."""
    with history.open() as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == stage and row[name]]
    return {int(row["epoch"]): pytest.approx(float(row[name]), rel=1e-6) for row in rows}


def files(folder: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
