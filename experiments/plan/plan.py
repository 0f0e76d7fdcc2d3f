"""From a matrix file and a runs directory to a plan: everything checked, nothing written."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import environment
from experiments.activity import activity
from experiments.matrix import checks, data_of, expand, schema, teacher_patterns, transfer
from experiments.matrix.expansion import Expansion, Facts
from experiments.matrix.run_spec import RunSpec
from experiments.matrix.schema import Matrix
from experiments.matrix.select import select
from experiments.memo import Memo
from experiments.plan import broken_plugins, choosing, data_sets, weights
from experiments.plan.broken_plugins import LeftOut
from experiments.plan.data_sets import DataSets
from experiments.plan.earlier_code import Earlier, reconcile
from experiments.plan.kinds import Code
from experiments.plan.serving import Service
from experiments.plan.stored_expansion import ExpansionMemo
from experiments.plan.workspace import (
    Selection,
    Workspace,
    load_plugins,
    resolve,
    teacher_hash,
    teacher_path,
)
from experiments.rundir.layout import weights_of
from experiments.rundir.status import Seen, Status, probe_statuses, read_statuses
from experiments.wording import plural
from experiments.worker.job import Job
from results import board_file

if TYPE_CHECKING:  # what imports PyTorch is imported where it is used: `status` does without
    from datasets import Data
    from experiments.plan.preflight import Given


@dataclass
class Plan:
    """A resolved matrix and the disk it is compared with.

    ``expansion`` has placeholders until options are chosen, see `tuning`; `statuses` replaces them.
    """

    source: str
    matrix: Matrix
    expansion: Expansion
    data: Data | None  # None to look at results whose ids do not depend on the data
    data_sets: DataSets  # of all runs: entries may have other parts than the matrix
    workspace: Workspace
    plugins: tuple[Path, ...]
    teacher_files: dict[str, Path]
    strict: bool  # see `prepare`
    origin: Plan | None = None  # of the students that are probed here, see `transfer`
    # Finished runs of earlier code of their plugins, see `earlier_code`:
    stale: Mapping[str, Earlier] = field(default_factory=dict)
    accepted: Mapping[str, Earlier] = field(default_factory=dict)
    left_out: LeftOut = broken_plugins.NOTHING  # runs of the matrix whose plugin is broken
    code: Code | None = None  # of an expansion that was remembered; no plugin is imported then

    def statuses(self, measures: bool = False, seen: Seen | None = None) -> dict[str, Status]:
        """Every run's status at this moment, by run id, teachers first.

        ``measures``: records of a board file have theirs. ``seen``: see `read_statuses`.
        Raises InputError if a method cannot be built at all and the plan is ``strict``.
        """
        seen = {} if seen is None else seen
        statuses = self._read(measures, seen)
        if self.settle(statuses):
            statuses = self._read(measures, seen)
        statuses = choosing.after_choices(statuses, self.expansion.choices)
        return self._with_weights(statuses, seen)

    def _read(self, measures: bool, seen: Seen) -> dict[str, Status]:
        stale = {run: earlier.detail for run, earlier in self.stale.items()}
        runs, place = self.expansion.runs, self.workspace.runs
        with activity(f"reading the states of {plural(len(runs), 'run')}"):
            return read_statuses(runs, place, self._service.reasons, stale, measures, seen)

    def settle(self, statuses: Mapping[str, Status]) -> bool:
        """Put runs in place of the placeholders whose options can be chosen; whether there are any.

        What is chosen stays chosen as long as this plan lives.
        """
        found = choosing.settled(self.expansion, statuses)
        if found is self.expansion:
            return False
        self.expansion = found
        if any(entry.spec.plugins for entry in found.entries):  # runs of earlier code, as before
            again = reconcile(found, self.workspace.runs, self.load_code)
            self.expansion = again.expansion
            self.stale = {**self.stale, **again.stale}
            self.accepted = {**self.accepted, **again.accepted}
        return True

    def _with_weights(self, statuses: dict[str, Status], seen: Seen | None) -> dict[str, Status]:
        """The statuses, knowing what they read: students of probes, and whose weights are whole."""
        runs, memo = self.workspace.runs, Memo(self.workspace.data)
        students = self.origin.statuses(seen=seen) if self.origin else None
        if students is not None:
            statuses = probe_statuses(statuses, students)
        if board_file.is_board_file(runs):  # it holds records alone
            return statuses
        if students is not None:
            return weights.of_sources(statuses, students, runs, memo)
        return weights.of_teachers(statuses, runs, memo)

    @functools.cached_property
    def _service(self) -> Service:
        return Service(self)

    @property
    def of_students(self) -> Plan:
        """The plan of the students that are trained: itself, but for probes their `origin`."""
        return self.origin or self

    @property
    def sources(self) -> dict[str, Path]:
        """The weights of the students that are probed, by run id."""
        trained = self.origin.expansion.runs if self.origin else ()
        return {s.id: weights_of(s.directory(self.workspace.runs)) for s in trained}

    def load_code(self) -> None:
        """Import the plugins, which a plan whose expansion was remembered has not done."""
        if self.code:
            load_plugins(self.source, self.plugins, len(self.plugins), strict=False)

    def check_accuracies(self, specs: Iterable[RunSpec]) -> None:
        """Measure the given teachers of ``specs`` whose expected accuracy the matrix states.

        Raises InputError where one is off by more than its tolerance.
        """
        from experiments.plan import preflight

        assert self.data is not None  # a strict plan has its data
        memo, recipe = Memo(self.workspace.data), self.matrix.recipe
        for teacher in self.given_teachers(specs):
            with activity(f"checking the accuracy of teacher {teacher.spec.name}"):
                preflight.check_accuracy(teacher, self.data, recipe, self.workspace.device, memo)

    def given_teachers(self, specs: Iterable[RunSpec]) -> list[Given]:
        """Those that ``specs`` learn from, by name."""
        from experiments.plan.preflight import Given

        teachers = {part for spec in specs if spec.teacher for part in spec.teacher.parts}
        needed = {teacher.name for teacher in teachers if teacher.sha256}
        return [
            Given.of(self.source, name, self.matrix, self.teacher_files[name])
            for name in sorted(needed)
        ]

    @property
    def processes(self) -> int:
        """How many processes train each job."""
        return self.matrix.processes

    @property
    def threads(self) -> int:
        """The most threads that a run takes on a CPU."""
        own = (spec.recipe.threads for spec in self.expansion.runs)
        return max(own, default=self.matrix.recipe.threads)

    def template(self, save_minutes: float, tensorboard: Path | None = None) -> Job:
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
            predictions=self.matrix.predictions,
            choices=self.expansion.choices,
            tensorboard=tensorboard,
            stated_teachers=tuple(
                name
                for name, entry in self.matrix.teachers.items()
                if entry.expected_accuracy is not None
            ),
        )


def prepare(
    source: str,
    workspace: Workspace,
    selection: Selection | None = None,
    strict: bool = True,
    transfer_to: str | None = None,
    looks: bool = False,
) -> Plan:
    """Read a matrix, resolve it, and check everything that can be checked before training.

    Methods are checked later: `Plan.statuses` builds those whose runs are not done.

    strict       False to look at results only: what only training needs (data, given teachers,
                 this machine's numerics) is not required
    transfer_to  a data set of the matrix's ``transfer:`` block; the plan is then about the probes
    looks        only states are asked for: a plan that is not strict may come from memory, without
                 the code that the runs are made by

    Raises InputError, MethodError, ModelError or DataError in one line.
    """
    if transfer_to is not None:
        return _probes(prepare(source, workspace, selection, strict=False), transfer_to, strict)
    workspace = workspace.resolved(looks)
    matrix = schema.load(source, processes=workspace.processes)
    folder = Path(source).resolve().parent
    plugins = (
        *(resolve(folder, Path(os.path.expanduser(p))) for p in matrix.plugins),
        *workspace.plugins,
    )
    if looks and not strict:
        plan = _looked_at(source, matrix, workspace, plugins)
    else:
        plan = _resolved(source, matrix, workspace, plugins, strict)
    expansion = select(plan.expansion, **vars(selection)) if selection else plan.expansion
    with activity("looking for runs of earlier code"):
        found = reconcile(expansion, workspace.runs, plan.load_code)
    if strict:
        _check_teachers(plan)
    return replace(plan, expansion=found.expansion, stale=found.stale, accepted=found.accepted)


def _looked_at(
    source: str, matrix: Matrix, workspace: Workspace, plugins: tuple[Path, ...]
) -> Plan:
    """The plan of a matrix whose states are asked for: as remembered, else resolved and kept."""
    files = {name: teacher_path(name, matrix, workspace) for name in matrix.teachers}
    memo = ExpansionMemo(source, matrix, workspace.data, plugins, tuple(files.values()))
    stored = memo.known()
    if stored:
        runs, data = stored.expansion, data_sets.of_matrix(matrix, workspace, source)
        plan = Plan(source, matrix, runs, None, data, workspace, plugins, files, strict=False)
        return replace(plan, code=stored.code)
    with activity("loading PyTorch"):  # two seconds, or ten on a busy machine
        import torch  # noqa: F401
    plan = _resolved(source, matrix, workspace, plugins, strict=False)
    if not plan.left_out:
        memo.store(plan.expansion)
    return plan


def _resolved(
    source: str, matrix: Matrix, workspace: Workspace, plugins: tuple[Path, ...], strict: bool
) -> Plan:
    """The plan of a whole matrix, its plugins imported and its names and options checked."""
    broken = load_plugins(source, plugins, len(matrix.plugins), strict)
    matrix, left_out = broken_plugins.without(matrix, list(broken.values()), source)
    broken_plugins.tell(left_out)
    plugins = tuple(plugin for plugin in plugins if plugin not in broken)
    matrix = teacher_patterns.concrete(matrix, source)
    checks.check_names(matrix, source)
    data = data_sets.of_matrix(matrix, workspace, source)
    own, facts = _required_data(source, matrix, workspace, strict, data)
    files = {name: teacher_path(name, matrix, workspace) for name in matrix.teachers}
    hashes = {n: teacher_hash(source, n, matrix, path, strict) for n, path in files.items()}
    with activity("expanding the matrix"):
        expansion = expand.expand(matrix, replace(facts, teacher_sha256=hashes), source)
    if strict:
        _check_rows(source, matrix, workspace, data, expansion)
    return Plan(
        source, matrix, expansion, own, data, workspace, plugins, files, strict, left_out=left_out
    )


def _check_rows(
    source: str, matrix: Matrix, workspace: Workspace, data: DataSets, expansion: Expansion
) -> None:
    """Raise InputError for numerics or data of single entries that cannot be had."""
    from experiments.plan import preflight

    if workspace.here or workspace.device == "cpu":
        preflight.check_numerics_of_rows(source, matrix, workspace.device)
    data.check(expansion)


def _check_teachers(plan: Plan) -> None:
    """Raise InputError for a given teacher whose file does not fit the matrix."""
    from experiments.plan import preflight
    from experiments.plan.preflight import Given

    assert plan.data is not None  # a strict plan has its data
    for name, path in plan.teacher_files.items():
        with activity(f"loading teacher {name}"):
            given = Given.of(plan.source, name, plan.matrix, path)
            preflight.check_teacher_fits(given, plan.data)


def _probes(origin: Plan, name: str, strict: bool) -> Plan:
    """The plan of the probes of ``origin``'s students on the data set ``name``."""
    source = f"{origin.source}: transfer"
    matrix = transfer.matrix_of(origin.matrix, name, origin.source)
    checks.check_data(matrix, source)
    data = data_sets.of_matrix(matrix, origin.workspace, source)
    own, facts = _required_data(source, matrix, origin.workspace, strict, data)
    if origin.expansion.choices:
        origin.statuses()  # makes the choices that can be made
    probes = transfer.expand(origin.expansion, matrix, facts, source)
    reconciled = reconcile(probes, origin.workspace.runs)
    return replace(
        origin,
        matrix=matrix,
        expansion=reconciled.expansion,
        stale=reconciled.stale,
        accepted=reconciled.accepted,
        data=own,
        data_sets=data,
        teacher_files={},
        strict=strict,
        origin=origin,
    )


def _required_data(
    source: str, matrix: Matrix, workspace: Workspace, strict: bool, data: DataSets
) -> tuple[Data | None, Facts]:
    """The matrix's data set and what its content is, as far as they are required.

    Training (``strict``) needs the data, and numerics that this machine has. Run ids need the
    content's hash where the data are the user's own.
    """
    if strict and (workspace.here or workspace.device == "cpu"):
        from experiments.plan import preflight

        preflight.check_numerics(source, matrix, workspace.device)
    plain = data_of.data_spec(matrix, Facts())
    own = data.of(plain) if strict or data_of.needs_content(matrix) else None
    if own is None or not data_of.needs_content(matrix):
        return own, Facts()
    return own, Facts(content=own.fingerprint, content_of=data.content)
