"""Checks before anything is trained: numerics, given teachers, the runs directory."""

from __future__ import annotations

import os
from pathlib import Path

import torch

import models
from datasets import Data
from experiments.errors import InputError
from experiments.matrix import expand
from experiments.matrix.recipe import Recipe
from experiments.matrix.schema import Matrix, TeacherEntry
from experiments.memo import Memo
from experiments.train import networks, numerics, teachers
from models.checkpoints.files import sha256
from results import exclusive


def check_numerics(source: str, matrix: Matrix, device: str) -> None:
    """Refuse numerics that this machine lacks; they are never replaced silently."""
    recipes = expand.Recipes(matrix, source)
    for where, fields in (("recipe", recipes.common), ("teacher_recipe", recipes.teachers)):
        lacking = numerics.missing(fields, device)
        if lacking:
            raise InputError(
                f"{source}: {where}.{lacking}: not available on this machine ({device}); "
                f"change it or choose another --device"
            )


def check_teacher_fits(source: str, name: str, path: Path, data: Data) -> None:
    """Refuse a checkpoint of another architecture or class count now, not in a job."""
    with torch.random.fork_rng(devices=[]):
        model = models.build(name, data.info.num_classes)
    try:
        models.load_checkpoint(model, path)
    except models.ModelError as error:
        raise InputError(f"{source}: teachers.{name}.file: {error}") from error


def check_accuracy(
    where: str,
    name: str,
    entry: TeacherEntry,
    path: Path,
    data: Data,
    recipe: Recipe,
    device: str,
    memo: Memo,
) -> None:
    """Measure a given teacher, unless ``memo`` knows its accuracy, and compare it with its entry's.

    Raises InputError beginning with ``where``. The teacher is measured on the CPU if this machine
    has no GPU, which may not be the machine that trains.
    """
    if entry.expected_accuracy is None:
        return
    chosen = torch.device(device if torch.cuda.is_available() else "cpu")
    module = networks.build(name, data.info.num_classes, recipe, chosen)
    models.load_checkpoint(module, path)
    networks.freeze(module)
    numerics.set_numerics(recipe, chosen)
    data = data.to(chosen)
    measured = teachers.accuracy(module, sha256(path), data, recipe, chosen, memo)
    if abs(measured - entry.expected_accuracy) > entry.tolerance:
        raise InputError(
            f"{where}: expected_accuracy {entry.expected_accuracy:g} ± {entry.tolerance:g} %, "
            f"measured {measured:.2f} % on this data set: wrong file, data or normalisation?"
        )


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
