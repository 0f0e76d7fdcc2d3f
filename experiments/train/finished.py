"""Finished runs tested again from their weights, to write the predictions and measures they lack.

The student, and the modules of a method that predicts with its own, are rebuilt from the stored
spec, and tested as the run's last test was: on the same machine the files are the same, bit for
bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

import distillers
import models
from datasets import Data
from experiments.errors import InputError, explain
from experiments.matrix.run_spec import RunSpec, TeacherSpec, build_dataset
from experiments.memo import Memo
from experiments.rundir.layout import HEAD, WEIGHTS, teacher_predictions
from experiments.train import ensembles, networks, numerics, predictions, teachers
from models import Outputs
from models.checkpoints.files import load_checkpoint, sha256
from results import predictions as files
from results import records
from results.predictions import FILE, MEASURES, Predictions, Taught
from results.schema import MeasuredTeacher, Measures, Record, TeacherUsed

Paths = tuple[Path, ...]


@dataclass(frozen=True)
class Finished:
    """A finished run: its directory dataset/pair/method/trial-id, its record, and its spec."""

    directory: Path
    record: Record
    spec: RunSpec

    @classmethod
    def read(cls, directory: Path) -> Finished:
        """Raises InputError if there is no result, or one of a run that today's code cannot be."""
        record = records.read(directory)
        if record is None:
            problem = records.problem(directory)
            why = f"{records.RESULT} is unreadable: {problem}" if problem else "it is not finished"
            raise InputError(f"evaluate {directory}: has no result yet: {why}")
        try:
            return cls(directory.absolute(), record, RunSpec.model_validate(record.spec))
        except ValidationError as error:
            raise explain(error, RunSpec, directory / records.RESULT, ("spec",)) from error

    @property
    def runs(self) -> Path:
        """The directory of all runs."""
        return self.directory.parents[3]

    def predictions(self) -> Predictions | None:
        """Those that are stored, if they are of this training."""
        found = files.read(self.directory / FILE)
        return found if found and files.belong(self.record, found) else None

    def measures(self) -> Measures | None:
        """Those that are stored, if they are of this training."""
        found = files.read_measures(self.directory)
        return found if found and files.belong(self.record, found) else None

    @property
    def teacher(self) -> MeasuredTeacher | None:
        used = self.record.teacher
        return MeasuredTeacher(name=used.name, sha256=used.sha256) if used else None


@dataclass(frozen=True)
class Filled:
    """A run's predictions and measures, and the files that were written, with those of others."""

    run: Finished
    measures: Measures
    wrote: Paths = ()


@dataclass
class Evaluator:
    """Tests runs again; every data set is loaded once.

    root           where the data sets are
    options        of data sets, by name, beyond what specs hold (paths)
    teacher_files  weights of given teachers, by name
    wanted         how predictions are stored (`results.predictions.WANTED`)
    notes          what could not be had, each once
    """

    root: Path
    device: torch.device
    options: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    teacher_files: Mapping[str, Path] = field(default_factory=dict)
    wanted: str = "auto"
    notes: list[str] = field(default_factory=list)
    _data: dict[str, Data] = field(default_factory=dict)

    def fill(self, run: Finished) -> Filled:
        """Write what a run lacks; its teacher's predictions too.

        Raises InputError if the run's accuracy is not that of its record; nothing is written then.
        """
        found, measures = run.predictions(), run.measures()
        if found is None and (measures is None or self.wanted != "none"):
            found, measures = self._tested(run), None
        taught, wrote = self._taught(run)
        if measures is not None and not _is_outdated(measures, found, taught):
            return Filled(run, measures, wrote)
        assert found is not None  # without measures it has just been made
        stored = self.wanted != "none" or run.predictions() is not None
        names = (FILE, MEASURES) if stored else (MEASURES,)
        measures = files.write(run.directory, found, stored, taught)
        return Filled(run, measures, (*wrote, *(run.directory / name for name in names)))

    def data(self, spec: RunSpec) -> Data:
        """The data set of a run, from memory if another run was on it."""
        key = json.dumps(spec.dataset.model_dump(mode="json"), sort_keys=True)
        if key not in self._data:
            options = {**spec.dataset.options, **self.options.get(spec.dataset.name, {})}
            device = self.device.type
            self._data[key] = build_dataset(spec.dataset, spec.recipe, self.root, options, device)
        return self._data[key]

    # ---- the student ---------------------------------------------------------------------------

    def _tested(self, run: Finished) -> Predictions:
        """The predictions of the run's last test, from that test taken again."""
        spec, recipe, data = run.spec, run.spec.recipe, self.data(run.spec)
        stated = run.record.data.sha256
        if stated not in (None, data.fingerprint):
            raise InputError(f"{run.directory}: was trained on other data than {self.root} has")
        numerics.check(recipe, self.device.type)
        numerics.set_numerics(recipe, self.device)
        with networks.preserved_generators():
            student = self._student(run, data.info.num_classes)
            predict = self._predict(run, student, data)
        collect = predictions.collector(data, self.wanted)
        needs = distillers.find(spec.method).needs_of(spec.options)
        # As in `train.result`.
        stage = "main" if data.epoch_split == data.scored_on else "done"
        with networks.seeded(run.record.run, stage, recipe.epochs, "evaluate"):
            batches = data.test_batches()
            scores = networks.evaluate(student, batches, recipe, needs, predict, collect=collect)
        _check(run, scores["top1"])
        return predictions.assembled(collect.gathered(), data, spec.dataset.name, run.record.run)

    def _student(self, run: Finished, classes: int) -> models.Classifier:
        spec, weights = run.spec, run.directory / WEIGHTS
        stated = run.record.weights.sha256
        if stated not in (None, sha256(weights)):
            raise InputError(f"{weights}: is not what its result.json names")
        source = None
        if spec.source:
            source = _directory(run.runs, spec.source.dataset, spec.source.run) / WEIGHTS
        student = networks.student(spec, source, classes, spec.recipe, self.device)
        load_checkpoint(student, weights)
        return student

    def _predict(
        self, run: Finished, student: models.Classifier, data: Data
    ) -> Callable[[Outputs], Tensor]:
        """The method's prediction, with its modules where it has its own."""
        spec, epochs = run.spec, run.spec.recipe.epochs
        if not networks.has_own_head(spec):
            return lambda outputs: outputs.logits
        # Of the teacher, setting up reads shapes; what it copies is in the file.
        teacher = self._network_of_teacher(run, data)
        info = replace(data.info, batch_size=spec.recipe.batch_size, epochs=epochs)
        method = networks.method(spec, student, teacher, info, self.device)
        method.load_state_dict(safetensors.torch.load_file(run.directory / HEAD))
        method.eval()
        with networks.seeded(run.record.run, "main", epochs, "on_epoch"):
            method.on_epoch(epochs)
        return method.predict

    # ---- the teacher ---------------------------------------------------------------------------

    def _taught(self, run: Finished) -> tuple[Taught | None, Paths]:
        """The teacher and its predictions, and the files written for them."""
        spec, used = run.spec.teacher, run.teacher
        if spec is None or used is None:
            return None, ()
        if spec.run is not None:
            place, wrote = self._trained_teacher(run, spec, used)
        else:
            place, wrote = self._teacher_of_files(run, spec, used)
        return predictions.taught_by(used, place, run.record.data.sha256), wrote

    def _trained_teacher(
        self, run: Finished, spec: TeacherSpec, used: MeasuredTeacher
    ) -> tuple[Path | None, Paths]:
        """The predictions of a teacher that was trained here, made if its run lacks them.

        Those of its run are of its own data; a student may be on another part of them.
        """
        directory = _directory(run.runs, run.spec.dataset.name, spec.run or "")
        if records.read(directory) is None:
            return self._unknown(used, f"its run {spec.run} is not in {run.runs}")
        trained = Finished.read(directory)
        if used.sha256 not in (None, trained.record.weights.sha256):
            return self._unknown(used, f"{directory} has been trained again since")
        if trained.record.data.sha256 not in (None, run.record.data.sha256):
            return self._teacher_of_files(run, spec, used)
        if self.wanted == "none" or trained.predictions() is not None:
            return directory / FILE, ()
        return directory / FILE, self.fill(trained).wrote

    def _teacher_of_files(
        self, run: Finished, spec: TeacherSpec, used: MeasuredTeacher
    ) -> tuple[Path | None, Paths]:
        """The predictions of a given teacher or of an ensemble, made if the weights are here."""
        dataset, data = run.spec.dataset.name, run.record.data.sha256 or ""
        recorded = run.record.teacher or TeacherUsed()
        place = teacher_predictions(run.runs, dataset, recorded, data)
        if self.wanted == "none" or place.exists():
            return place, ()
        weights = [path for part in spec.parts if (path := self._weights(run, part))]
        if len(weights) < len(spec.parts):
            return self._unknown(used, "its file is named in a matrix: pass --matrix")
        test, recipe = self.data(run.spec), run.spec.recipe
        numerics.set_numerics(recipe, self.device)
        try:
            loaded = ensembles.load(spec, weights, test, recipe, self.device, memo=Memo(self.root))
        except teachers.Blocked as error:
            return self._unknown(used, str(error))
        if recorded.sha256 not in (None, loaded.record.sha256):
            return self._unknown(used, "one of its members has been trained again since")
        if loaded.record.pixels != recorded.pixels:
            return self._unknown(used, "the run gave it pixels under another normalisation")
        predictions.of_teacher(loaded, spec, run.runs, test, recipe, self.wanted, dataset)
        return place, (place,)

    def _weights(self, run: Finished, teacher: TeacherSpec) -> Path | None:
        """The weights of one network that taught a run; None of a file that nobody names."""
        if teacher.run:
            return _directory(run.runs, run.spec.dataset.name, teacher.run) / WEIGHTS
        return self.teacher_files.get(teacher.name)

    def _unknown(self, teacher: MeasuredTeacher, why: str) -> tuple[None, Paths]:
        """No predictions of the teacher; a note says why."""
        note = f"agreement with teacher {teacher.name} unknown: {why}"
        if note not in self.notes:
            self.notes.append(note)
        return None, ()

    def _network_of_teacher(self, run: Finished, data: Data) -> models.Classifier | None:
        """The teacher, with its weights where they are known."""
        spec = run.spec.teacher
        if spec is None:
            return None
        weights, recipe = self._weights(run, spec), run.spec.recipe
        if weights is not None and weights.is_file():
            return teachers.network(spec, weights, data, recipe, self.device).module
        return networks.freeze(
            networks.build(spec.name, data.info.num_classes, recipe, self.device)
        )


def _check(run: Finished, top1: float) -> None:
    stated = run.record.top1
    if abs(top1 - stated) > files.TOLERANCE:
        raise InputError(
            f"{run.directory}: top-1 {top1:.2f} % here, {stated:.2f} % in its result: other code, "
            "data or numerics than when it was trained; nothing was written"
        )


def _is_outdated(measures: Measures, found: Predictions | None, taught: Taught | None) -> bool:
    """Whether measures lack what these predictions and those of the teacher can give."""
    if found is None:
        return False
    logits = found.logits is not None and taught is not None and taught[1].logits is not None
    lacks_kl = logits and measures.kl is None
    lacks_teacher = taught is not None and measures.agreement is None
    return measures.predictions is None or lacks_teacher or lacks_kl


def _directory(runs: Path, dataset: str, run: str) -> Path:
    """The directory of a run with a given id on a data set; a path that is not there if unknown."""
    place = runs / dataset.replace("/", ".")
    return next(place.glob(f"*/*/*-{run}"), place / f"no run {run}")
