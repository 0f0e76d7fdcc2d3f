"""From a matrix file and a place on disk to a plan: everything checked, nothing written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import datasets
import distillers
import models
from datasets import Data
from models.checkpoint import sha256

from . import census, expand, matrix, networks, teachers
from .census import Status
from .errors import InputError
from .expand import Expansion, Facts
from .matrix import Matrix, RecipeEntry
from .worker import Job


@dataclass(frozen=True)
class Selection:
    """The part of a matrix to work on; empty means all."""

    methods: Sequence[str] = ()
    pairs: Sequence[str] = ()
    trials: Sequence[int] = ()


@dataclass(frozen=True)
class Workspace:
    """Where things are and what computes. Paths are the caller's."""

    runs: Path
    data: Path
    device: str = "auto"
    plugins: tuple[Path, ...] = ()

    def resolved(self) -> Workspace:
        """ "auto" decided: the GPU where there is one."""
        available = torch.cuda.is_available()
        device = ("cuda" if available else "cpu") if self.device == "auto" else self.device
        if device == "cuda" and not available:
            raise InputError("--device cuda: this machine has no usable CUDA device; try cpu")
        return replace(self, device=device, runs=self.runs.absolute(), data=self.data.absolute())


@dataclass(frozen=True)
class Plan:
    """A matrix against the disk."""

    source: str
    matrix: Matrix
    expansion: Expansion
    data: Data
    workspace: Workspace
    plugins: tuple[Path, ...]
    teacher_files: dict[str, Path]
    reasons: dict[str, str] = field(default_factory=dict)

    def statuses(self) -> dict[str, Status]:
        """Every run's state at this moment, teachers first."""
        return census.census(self.expansion.runs, self.workspace.runs, self.reasons)

    def template(self, save_minutes: float) -> Job:
        """What all jobs of this matrix have in common."""
        return Job(
            specs=(),
            runs=self.workspace.runs,
            data_root=self.workspace.data,
            data_options=self.matrix.dataset.options,
            teacher=None,
            plugins=self.plugins,
            device=self.workspace.device,
            save_minutes=save_minutes,
        )


def prepare(
    source: str, workspace: Workspace, selection: Selection | None = None, check: bool = True
) -> Plan:
    """Read a matrix, resolve it and check everything that can be wrong before a run is started.

    ``check=False`` leaves out what only matters for training (capabilities, teacher files' fit).
    Raises InputError, MethodError, ModelError or DataError in one line.
    """
    workspace = workspace.resolved()
    table = matrix.load(source)
    here = Path(source).resolve().parent
    plugins = tuple(_from(here, p) for p in table.plugins) + workspace.plugins
    for plugin in plugins:
        distillers.load_plugin(plugin)
    expand.check_names(table, source)
    _check_machine(table.recipe, workspace.device, source)
    data = build_data(table, workspace, source)
    files = {name: _teacher_file(source, name, table, workspace) for name in table.teachers}
    facts = Facts(
        teacher_sha256={name: sha256(path) for name, path in files.items()},
        content=data.fingerprint if expand.needs_content(table) else None,
    )
    expansion = expand.expand(table, facts, source)
    if selection:
        expansion = expand.select(expansion, **vars(selection))
    reasons = {}
    if check:
        for name, path in files.items():
            _check_fit(source, name, path, data)
        reasons = census.capabilities(expansion.runs, data.info)
    return Plan(source, table, expansion, data, workspace, plugins, files, reasons)


def build_data(table: Matrix, workspace: Workspace, source: str) -> Data:
    """The matrix's data set, on the CPU."""
    try:
        return datasets.build(
            table.dataset.name,
            root=workspace.data,
            subset=table.dataset.subset,
            validation=table.dataset.validation,
            batch_size=table.recipe.batch_size,
            epochs=table.recipe.epochs,
            **table.dataset.options,
        )
    except datasets.DataError as error:
        raise InputError(f"{source}: dataset: {error}") from error


def check_accuracies(plan: Plan) -> None:
    """Measure the given teachers that state what they should reach, if runs still need them."""
    needed = {
        s.spec.teacher.name
        for s in plan.statuses().values()
        if s.state == census.TODO and s.spec.teacher and s.spec.teacher.sha256
    }
    for name in sorted(needed):
        entry = plan.matrix.teachers[name]
        if entry.expected_accuracy is None:
            continue
        device = torch.device(plan.workspace.device)
        recipe = plan.matrix.recipe
        module = networks.build(name, plan.data.info.num_classes, recipe, device)
        models.load_checkpoint(module, plan.teacher_files[name])
        batches = plan.data.to(device).test_batches()
        measured = networks.evaluate(module, batches, recipe)["top1"]
        try:
            teachers.check_accuracy(name, measured, entry.expected_accuracy, entry.tolerance)
        except InputError as error:
            raise InputError(f"{plan.source}: {error}") from error


def check_writable(runs: Path) -> None:
    """Refuse a runs directory in which nothing can be written, before anything is trained."""
    place = runs
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise InputError(f"--runs {runs}: no permission to write in {place}")


def _from(folder: Path, path: Path) -> Path:
    return path if path.is_absolute() else folder / path


def _teacher_file(source: str, name: str, table: Matrix, workspace: Workspace) -> Path:
    path = _from(workspace.data, table.teachers[name].file.expanduser())
    if not path.is_file():
        raise InputError(
            f"{source}: teachers.{name}.file: no file at {path} (relative paths start at the "
            f"data root, {workspace.data}); without the entry the harness trains the teacher itself"
        )
    return path


def _check_fit(source: str, name: str, path: Path, data: Data) -> None:
    """A checkpoint of another architecture or class count is found out now, not in a job."""
    with torch.random.fork_rng(devices=[]):
        model = models.build(name, data.info.num_classes)
    try:
        models.load_checkpoint(model, path)
    except models.ModelError as error:
        raise InputError(f"{source}: teachers.{name}.file: {error}") from error


def _check_machine(recipe: RecipeEntry, device: str, source: str) -> None:
    """Numerics that this machine cannot give are refused, never quietly replaced."""
    refused: dict[str, Any] = {}
    if device == "cpu":
        refused = {"fp16": recipe.precision == "fp16", "tf32": recipe.tf32}
    elif recipe.precision == "bf16" and not torch.cuda.is_bf16_supported():
        refused = {"bf16": True}
    for what, asked in refused.items():
        if asked:
            raise InputError(
                f"{source}: recipe: {what} is not to be had on this machine's {device}; "
                f"choose another precision or another --device"
            )
