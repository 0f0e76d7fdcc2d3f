"""From a matrix file and a place on disk to a plan: everything checked, nothing written."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import datasets
import distillers
import models
from datasets import Data
from models.checkpoint import sha256

from . import census, environment, expand, matrix, networks, numerics, teachers, transfer
from .capability import Capabilities, kind
from .census import Status
from .data import build
from .errors import InputError, beside
from .expand import Expansion, Facts
from .matrix import Matrix
from .spec import RunSpec
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
    here: bool = True  # False: other machines compute
    processes: int | None = None  # in place of the matrix's

    def resolved(self) -> Workspace:
        """ "auto" decided: the GPU where there is one."""
        available = torch.cuda.is_available()
        device = ("cuda" if available else "cpu") if self.device == "auto" else self.device
        if device == "cuda" and not available and self.here:
            raise InputError("--device cuda: this machine has no usable CUDA device; try cpu")
        plugins = tuple(plugin.expanduser().absolute() for plugin in self.plugins)
        runs, data = self.runs.absolute(), self.data.absolute()
        return replace(self, device=device, runs=runs, data=data, plugins=plugins)


@dataclass(frozen=True)
class Plan:
    """A matrix against the disk."""

    source: str
    matrix: Matrix
    expansion: Expansion
    data: Data | None  # None: results are looked at, and the data does not enter their identity
    workspace: Workspace
    plugins: tuple[Path, ...]
    teacher_files: dict[str, Path]
    strict: bool  # see `prepare`
    origin: Plan | None = None  # of the students that are probed here, see `transfer`

    def statuses(self) -> dict[str, Status]:
        """Every run's state at this moment, teachers first.

        Raises InputError where a method cannot be built at all, unless results are only looked at.
        """
        found = census.census(self.expansion.runs, self.workspace.runs, self._why_not)
        return transfer.after(found, self.origin.statuses()) if self.origin else found

    @property
    def sources(self) -> dict[str, Path]:
        """The weights of the students that are probed, by their runs' ids."""
        trained = self.origin.expansion.runs if self.origin else ()
        return {s.id: teachers.weights_of(s.directory(self.workspace.runs)) for s in trained}

    @functools.cached_property
    def _capabilities(self) -> Capabilities | None:
        """None without data. Made when it is first asked: reading data takes a second."""
        data = self.data or _data_if_there(self.matrix, self.workspace, self.source)
        return Capabilities(data.info) if data else None

    def _why_not(self, found: Mapping[str, Status]) -> dict[str, str]:
        """Before a training every method is built; else what is done proves it for its like."""
        specs = [s.spec for s in found.values() if s.state != census.DONE]
        if not self.strict:
            proven = {kind(s.spec) for s in found.values() if s.state == census.DONE}
            specs = [spec for spec in specs if kind(spec) not in proven]
        try:
            return self._capabilities.reasons(specs) if specs and self._capabilities else {}
        except InputError as error:
            if self.strict:
                raise InputError(f"{self.source}: {error}") from error
            return {}  # results can be looked at while somebody edits a plugin

    @property
    def processes(self) -> int:
        """How many train each job together."""
        return self.matrix.processes

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
            code=environment.code(),
            processes=self.processes,
            sources=self.sources,
        )


def prepare(
    source: str,
    workspace: Workspace,
    selection: Selection | None = None,
    strict: bool = True,
    transfer_to: str | None = None,
) -> Plan:
    """Read a matrix, resolve it and check everything that can be wrong before a run is started.

    (But for the methods, which `Plan.statuses` builds, as far as their runs are not done.)
    ``strict=False`` is for looking at results, also where neither data nor teachers are: what only
    matters for training is not asked for. ``transfer_to`` names a data set of the matrix's
    ``transfer:`` block: then the plan is about the probes on it.
    Raises InputError, MethodError, ModelError or DataError in one line.
    """
    if transfer_to is not None:
        origin = prepare(source, workspace, selection, strict=False)
        return _probes(origin, transfer_to, strict)
    workspace = workspace.resolved()
    table = matrix.load(source, processes=workspace.processes)
    here = Path(source).resolve().parent
    plugins = tuple(_from(here, p.expanduser()) for p in table.plugins) + workspace.plugins
    _load_plugins(source, plugins, len(table.plugins))
    expand.check_names(table, source)
    if strict and (workspace.here or workspace.device == "cpu"):
        _check_machine(source, table, workspace.device)
    files = {name: _teacher_file(source, name, table, workspace) for name in table.teachers}
    own_data = expand.needs_content(table)
    data = build_data(table, workspace, source) if strict or own_data else None
    hashes = {n: _teacher_hash(source, n, table, path, strict) for n, path in files.items()}
    facts = Facts(teacher_sha256=hashes, content=data.fingerprint if data and own_data else None)
    expansion = expand.expand(table, facts, source)
    if selection:
        expansion = expand.select(expansion, **vars(selection))
    if strict and data:
        for name, path in files.items():
            _check_fit(source, name, path, data)
    return Plan(source, table, expansion, data, workspace, plugins, files, strict)


def _probes(origin: Plan, name: str, strict: bool) -> Plan:
    """The plan of the probes of a plan's students on the data set ``name``."""
    source, workspace = f"{origin.source}: transfer", origin.workspace
    table = transfer.matrix_of(origin.matrix, name, origin.source)
    expand.check_data(table, source)
    if strict and (workspace.here or workspace.device == "cpu"):
        _check_machine(source, table, workspace.device)
    own_data = expand.needs_content(table)
    data = build_data(table, workspace, source) if strict or own_data else None
    facts = Facts(content=data.fingerprint if data and own_data else None)
    return replace(
        origin,
        matrix=table,
        expansion=transfer.expand(origin.expansion, table, facts, source),
        data=data,
        teacher_files={},
        strict=strict,
        origin=origin,
    )


def _load_plugins(source: str, plugins: Sequence[Path], of_matrix: int) -> None:
    """Import users' files; the first ``of_matrix`` of them stand in the matrix."""
    for i, plugin in enumerate(plugins):
        where = f"{source}: plugins.{i}" if i < of_matrix else "--plugin"
        if not plugin.is_file():
            raise InputError(f"{where}: no file at {plugin}{beside(plugin)}")
        try:
            distillers.load_plugin(plugin)
        except distillers.MethodError as error:
            raise InputError(f"{where}: {error}") from error


def _data_if_there(table: Matrix, workspace: Workspace, source: str) -> Data | None:
    try:
        return build_data(table, workspace, source)
    except InputError:
        return None


def build_data(table: Matrix, workspace: Workspace, source: str) -> Data:
    """The matrix's data set, on the CPU."""
    try:
        return build(table.dataset, table.recipe, workspace.data, table.dataset.options)
    except datasets.DataError as error:
        raise InputError(f"{source}: dataset: {error}") from error


def check_accuracies(plan: Plan, specs: Iterable[RunSpec]) -> None:
    """Measure the given teachers of ``specs`` that state what they should reach."""
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
            teachers.check_accuracy(name, measured, entry.expected_accuracy, entry.tolerance)
        except InputError as error:
            raise InputError(f"{plan.source}: {error}") from error


def check_writable(runs: Path) -> None:
    """Refuse a runs directory in which nothing can be written, before anything is trained."""
    place = runs
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--runs {runs}: {place} is a file, expected a directory")
    if not os.access(place, os.W_OK):
        raise InputError(f"--runs {runs}: no permission to write in {place}")


def _from(folder: Path, path: Path) -> Path:
    return path if path.is_absolute() else folder / path


def _teacher_file(source: str, name: str, table: Matrix, workspace: Workspace) -> Path:
    return _from(workspace.data, table.teachers[name].file.expanduser())


def _teacher_hash(source: str, name: str, table: Matrix, path: Path, strict: bool) -> str:
    """The sha256 of a given teacher; the matrix's word for it suffices to look at results."""
    stated = table.teachers[name].sha256
    if stated and not strict:
        return stated
    if not path.is_file():
        raise InputError(
            f"{source}: teachers.{name}.file: no file at {path} (relative paths start at --data)"
            + (beside(path) or "; without the entry the harness trains the teacher itself")
        )
    found = sha256(path)
    if stated and found != stated:
        raise InputError(
            f"{source}: teachers.{name}.sha256: expected {stated}, but {path} has {found}"
        )
    return found


def _check_fit(source: str, name: str, path: Path, data: Data) -> None:
    """A checkpoint of another architecture or class count is found out now, not in a job."""
    with torch.random.fork_rng(devices=[]):
        model = models.build(name, data.info.num_classes)
    try:
        models.load_checkpoint(model, path)
    except models.ModelError as error:
        raise InputError(f"{source}: teachers.{name}.file: {error}") from error


def _check_machine(source: str, table: Matrix, device: str) -> None:
    """Numerics that this machine cannot give are refused, never quietly replaced."""
    recipes = expand.Recipes(table, source)
    for where, fields in (("recipe", recipes.common), ("teacher_recipe", recipes.teachers)):
        lacking = numerics.missing(fields, device)
        if lacking:
            raise InputError(
                f"{source}: {where}.{lacking}: not to be had with this machine's {device}; "
                f"choose something else or another --device"
            )
