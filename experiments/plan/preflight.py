"""Checks before anything is trained: numerics, given teachers, the runs directory."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import models
from datasets import Data
from datasets.memory import MemoryData
from distillers import Needs
from experiments.errors import InputError
from experiments.matrix import variants
from experiments.matrix.recipe import Recipe
from experiments.matrix.recipes import Recipes
from experiments.matrix.run_spec import TeacherSpec
from experiments.matrix.schema import Matrix, TeacherEntry
from experiments.memo import Memo
from experiments.train import networks, numerics, teachers
from experiments.train.teacher_quality import Quality
from models.checkpoints.files import sha256
from results import exclusive

TIMED = 32  # images of a test that predict how long a whole one takes


def check_numerics(source: str, matrix: Matrix, device: str) -> None:
    """Refuse numerics that this machine lacks; they are never replaced silently."""
    recipes = Recipes(matrix, source)
    for where, fields in (("recipe", recipes.common), ("teacher_recipe", recipes.teachers)):
        _require(f"{source}: {where}.", fields, device)


def check_numerics_of_rows(source: str, matrix: Matrix, device: str) -> None:
    """`check_numerics` for entries that have a recipe of their own; names and values are right."""
    for row in variants.rows(matrix):
        if row.entry.recipe:
            _require(f"{source}: {row.place}: ", variants.recipe_fields(matrix, row.entry), device)


def _require(where: str, fields: Mapping[str, Any], device: str) -> None:
    lacking = numerics.missing(fields, device)
    if lacking:
        raise InputError(
            f"{where}{lacking}: not available on this machine ({device}); "
            f"change it or choose another --device"
        )


@dataclass(frozen=True)
class Given:
    """A given teacher of a matrix: ``where`` its entry is, and its weights file ``path``."""

    where: str
    entry: TeacherEntry
    path: Path
    spec: TeacherSpec

    @classmethod
    def of(cls, source: str, name: str, matrix: Matrix, path: Path) -> Given:
        entry = matrix.teachers[name]
        spec = TeacherSpec(name=name, normalisation=entry.pixels)
        return cls(f"{source}: teachers.{name}", entry, path, spec)

    def load(self, data: Data, recipe: Recipe, device: torch.device) -> teachers.Network:
        """The network. Raises InputError if the file is of another, or of other pixels."""
        try:
            return teachers.network(self.spec, self.path, data, recipe, device)
        except models.ModelError as error:
            raise InputError(f"{self.where}.file: {error}") from error


def check_teacher_fits(teacher: Given, data: Data) -> None:
    """Refuse a checkpoint of another architecture or class count now, not in a job."""
    with torch.random.fork_rng(devices=[]):
        teacher.load(data, Recipe(), torch.device("cpu"))


def check_accuracy(teacher: Given, data: Data, recipe: Recipe, device: str, memo: Memo) -> None:
    """Measure a given teacher, unless ``memo`` knows its accuracy, and compare it with its entry's.

    Raises InputError. The teacher is measured on the CPU if this machine has no GPU, which may not
    be the machine that trains.
    """
    entry = teacher.entry
    if entry.expected_accuracy is None:
        return
    measured = Examination(teacher, data, recipe, device, memo).measured().top1
    if abs(measured - entry.expected_accuracy) > entry.tolerance:
        raise InputError(
            f"{teacher.where}: expected_accuracy {entry.expected_accuracy:g} ± "
            f"{entry.tolerance:g} %, measured {measured:.2f} % on this data set: wrong file, data "
            "or normalisation?"
        )


class Examination:
    """The test of a given teacher on this machine, before anything is trained.

    ``device`` is what trains; without a GPU here, the CPU stands in for it. Nothing is moved there
    before it is measured.
    """

    def __init__(self, teacher: Given, data: Data, recipe: Recipe, device: str, memo: Memo) -> None:
        self.device = torch.device(device if torch.cuda.is_available() else "cpu")
        self.recipe, self.data, self.memo = recipe, data, memo
        self.network = teacher.load(data, recipe, torch.device("cpu"))
        self.sha256 = sha256(teacher.path)

    def known(self) -> Quality | None:
        """What the memory of earlier tests has."""
        of = (self.network, self.sha256, self.data, self.recipe, self.device, self.memo)
        return teachers.known(*of)

    def measured(self) -> Quality:
        """Quality now, unless it is known."""
        network, data = self._placed()
        return teachers.measure(network, self.sha256, data, self.recipe, self.device, self.memo)

    def seconds(self) -> float | None:
        """About how long a test takes; None for data that are decoded image by image."""
        network, data = self._placed()
        if not isinstance(data, MemoryData):
            return None
        batch = next(iter(data.test_batches(batch_size=TIMED)))
        batch = networks.formatted(batch, self.recipe)
        with torch.no_grad():
            for _ in range(2):  # the first to warm up
                start = time.perf_counter()
                logits = networks.run(network.module, batch, Needs(), self.recipe).logits
                logits.cpu()  # waits for the device
        return (time.perf_counter() - start) * data.sizes["test"] / len(batch)

    def _placed(self) -> tuple[teachers.Network, Data]:
        numerics.set_numerics(self.recipe, self.device)
        self.network.module.to(self.device)
        return self.network, self.data.to(self.device)


def check_writable(runs: Path) -> str:
    """Try what runs need of the runs directory, and leave nothing there.

    Returns a line to print where results are not published by hard links, else "". Raises
    InputError where nothing can be written, or where results could not be published once.
    """
    place = runs
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--runs {runs}: {place} is a file, expected a directory")
    if not os.access(place, os.W_OK):
        raise InputError(f"--runs {runs}: no permission to write in {place}")
    try:
        reason = exclusive.why_no_links(place)
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"--runs {runs}: nothing can be kept in {place}: {why}") from error
    if not reason:
        return ""
    return f"note: {place} has no hard links ({reason}): results are published by renaming"
