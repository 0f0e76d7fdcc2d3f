"""Checks that need time or the disk, before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch

import models
from experiments.errors import InputError
from experiments.matrix.run_spec import RunSpec
from experiments.plan.plan import Plan
from experiments.train import networks


def check_accuracy(name: str, measured: float, expected: float, tolerance: float) -> None:
    """Raise InputError if a given teacher is far from its expected accuracy, in percent."""
    if abs(measured - expected) > tolerance:
        raise InputError(
            f"teachers.{name}: expected_accuracy {expected:g} ± {tolerance:g} %, "
            f"measured {measured:.2f} % on this data set: wrong file, data or normalisation?"
        )


def check_accuracies(plan: Plan, specs: Iterable[RunSpec]) -> None:
    """Measure the given teachers of ``specs`` whose expected accuracy is stated in the matrix."""
    assert plan.data is not None  # a strict plan has its data
    needed = {spec.teacher.name for spec in specs if spec.teacher and spec.teacher.sha256}
    for name in sorted(needed):
        entry = plan.matrix.teachers[name]
        if entry.expected_accuracy is None:
            continue
        device = torch.device(plan.workspace.device if torch.cuda.is_available() else "cpu")
        recipe = plan.matrix.recipe
        module = networks.build(name, plan.data.info.num_classes, recipe, device)
        models.load_checkpoint(module, plan.teacher_files[name])
        batches = plan.data.to(device).test_batches()
        measured = networks.evaluate(module, batches, recipe)["top1"]
        try:
            check_accuracy(name, measured, entry.expected_accuracy, entry.tolerance)
        except InputError as error:
            raise InputError(f"{plan.source}: {error}") from error


def check_writable(runs: Path) -> None:
    """Raise InputError if nothing can be written in the runs directory."""
    place = runs
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--runs {runs}: {place} is a file, expected a directory")
    if not os.access(place, os.W_OK):
        raise InputError(f"--runs {runs}: no permission to write in {place}")
