"""From a matrix file and a place on disk to a plan: everything checked, nothing written."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
from datasets import Data
from experiments import environment
from experiments.errors import InputError
from experiments.matrix import expand, schema, transfer
from experiments.matrix.expand import Expansion, Facts
from experiments.matrix.run_spec import build_dataset
from experiments.matrix.schema import Matrix
from experiments.matrix.select import select
from experiments.plan.capability import Capabilities, kind
from experiments.plan.workspace import (
    Selection,
    Workspace,
    _check_fit,
    _from,
    _load_plugins,
    _teacher_file,
    _teacher_hash,
)
from experiments.rundir.layout import weights_of
from experiments.rundir.status import State, Status, probe_statuses, read_statuses
from experiments.train import numerics
from experiments.worker.job import Job


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
        found = read_statuses(self.expansion.runs, self.workspace.runs, self._why_not)
        return probe_statuses(found, self.origin.statuses()) if self.origin else found

    @property
    def sources(self) -> dict[str, Path]:
        """The weights of the students that are probed, by their runs' ids."""
        trained = self.origin.expansion.runs if self.origin else ()
        return {s.id: weights_of(s.directory(self.workspace.runs)) for s in trained}

    @functools.cached_property
    def _capabilities(self) -> Capabilities | None:
        """None without data. Made when it is first asked: reading data takes a second."""
        data = self.data or _data_if_there(self.matrix, self.workspace, self.source)
        return Capabilities(data.info) if data else None

    def _why_not(self, found: Mapping[str, Status]) -> dict[str, str]:
        """Before a training every method is built; else what is done proves it for its like."""
        specs = [s.spec for s in found.values() if s.state != State.DONE]
        if not self.strict:
            proven = {kind(s.spec) for s in found.values() if s.state == State.DONE}
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
    table = schema.load(source, processes=workspace.processes)
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
        expansion = select(expansion, **vars(selection))
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


def _data_if_there(table: Matrix, workspace: Workspace, source: str) -> Data | None:
    try:
        return build_data(table, workspace, source)
    except InputError:
        return None


def build_data(table: Matrix, workspace: Workspace, source: str) -> Data:
    """The matrix's data set, on the CPU."""
    try:
        return build_dataset(table.dataset, table.recipe, workspace.data, table.dataset.options)
    except datasets.DataError as error:
        raise InputError(f"{source}: dataset: {error}") from error


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
