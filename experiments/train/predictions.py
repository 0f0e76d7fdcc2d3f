"""The predictions of a test, collected while it runs; and those of teachers, made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets import Batch, Data
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import TeacherSpec
from experiments.rundir.layout import teacher_predictions
from experiments.train import networks
from experiments.train.distributed import SINGLE, ProcessGroup
from experiments.train.teachers import Teacher
from results import predictions as files
from results import records
from results.measures import Array, PerImage, per_image
from results.predictions import Header, Predictions, Taught
from results.schema import MeasuredTeacher

HELD = 1 << 26  # bytes of logits on the device before they are taken to the host
Rows = dict[str, Array]  # of some images, by column: their places in the test set are "indices"


class Collector:
    """Collects what is stored of a test; `networks.evaluate` calls it with every batch.

    It seldom waits for the device, and holds few logits where only columns are stored.
    """

    def __init__(self, form: str) -> None:
        """``form``: "full" or "compact", see `results.predictions`."""
        self.form = form
        self.batches: list[tuple[Tensor, ...]] = []
        self.bytes_held = 0
        self.parts: list[Rows] = []

    def __call__(self, logits: Tensor, predicted: Tensor, batch: Batch) -> None:
        """Take a batch: logits (B, C), the class predicted for each image (B,)."""
        self.batches.append((logits, predicted, batch.labels, batch.indices))
        self.bytes_held += logits.numel() * logits.element_size()
        if self.bytes_held > HELD:
            self._reduce()

    def _reduce(self) -> None:
        if not self.batches:
            return
        joined = (torch.cat(column).cpu().numpy() for column in zip(*self.batches, strict=True))
        logits, predicted, labels, indices = joined
        self.batches, self.bytes_held = [], 0
        rows: Rows = {"indices": indices, "labels": labels}
        if self.form == "full":
            rows["logits"] = files.halved(logits, predicted)
        else:
            rows |= vars(per_image(files.unambiguous(logits, predicted), labels))
        self.parts.append(rows)

    def gathered(self, group: ProcessGroup = SINGLE) -> Rows:
        """The images of all processes in the order of the test set; {} but on the main process."""
        self._reduce()
        parts = [part for part in group.gather_arrays(_joined(self.parts)) if part]
        if not parts:
            return {}
        rows = _joined(parts)
        order = rows.pop("indices").argsort()
        return {name: column[order] for name, column in rows.items()}


def _joined(parts: list[Rows]) -> Rows:
    """The rows of all parts, in turn; {} without any."""
    names = parts[0] if parts else ()
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def collector(data: Data, wanted: str) -> Collector:
    """A collector for the test part of ``data``; ``wanted`` is the matrix's `predictions`."""
    return Collector(files.form_of(wanted, data.scored, data.info.num_classes))


def assembled(rows: Rows, data: Data, dataset: str, run: str | None) -> Predictions:
    """What `Collector.gathered` returned, as the predictions of a run (None: of a teacher)."""
    header = Header(
        form="full" if "logits" in rows else "compact",
        run=run,
        dataset=dataset,
        data=data.fingerprint,
        classes=data.info.num_classes,
    )
    if "logits" in rows:
        return files.full(rows["logits"], rows["labels"], header)
    return files.compact(PerImage(**rows), header)


# ---- teachers ------------------------------------------------------------------------------------


def of_teacher(
    teacher: Teacher,
    spec: TeacherSpec,
    runs: Path,
    data: Data,
    recipe: Recipe,
    wanted: str,
    dataset: str,
    group: ProcessGroup = SINGLE,
) -> Path:
    """The file of a teacher's predictions on the test part of ``data``.

    A teacher that was trained here has its own. Others', and those of runs that lack theirs, are
    made if they are not there yet and ``wanted`` is not "none".
    """
    place = teacher_file(teacher, spec, runs, data, dataset)
    if wanted == "none" or group.on_main(place.exists):
        return place
    collect = collector(data, wanted)
    networks.evaluate(teacher.module, data.test_batches(), recipe, group=group, collect=collect)
    rows = collect.gathered(group)
    group.on_main(lambda: _write(place, assembled(rows, data, dataset, None)))
    return place


def teacher_file(teacher: Teacher, spec: TeacherSpec, runs: Path, data: Data, dataset: str) -> Path:
    """Where a teacher's predictions are or would be made.

    Its own, if they are of these data: a student may be trained on another part.
    """
    own = teacher.weights.with_name(files.FILE) if teacher.weights and spec.run else None
    if own is not None and own.exists():
        found = files.read(own)
        if found is None or found.header.data == data.fingerprint:
            return own
    return teacher_predictions(runs, dataset, teacher.record, data.fingerprint)


def _write(place: Path, found: Predictions) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    records.write_atomic(place, files.encode(found))


def taught_by(
    teacher: MeasuredTeacher | None, path: Path | None, fingerprint: str | None
) -> Taught | None:
    """A teacher with its predictions on the data of that fingerprint; None without such a file."""
    if teacher is None or path is None:
        return None
    found = files.read(path)
    return (teacher, found) if found and found.header.data == fingerprint else None
