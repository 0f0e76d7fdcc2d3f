"""A matrix with its data and teachers, and what earlier work left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from experiments.cluster import submitted
from experiments.doctor import machine
from experiments.doctor.disk import Need
from experiments.doctor.finding import OK, WARN, Finding
from experiments.plan.cost import predict_cost, predictions_bytes
from experiments.plan.plan import prepare
from experiments.plan.summary import format_counts
from experiments.plan.workspace import Workspace
from experiments.rundir import claims
from experiments.rundir.status import NOT_STARTED, is_claimed
from experiments.wording import plural
from results import records


def check_matrix(source: str, workspace: Workspace) -> tuple[Need, list[Finding]]:
    """Check a matrix as before training: data, teachers' files, plugins, device, methods.

    Also returns what the rest of it will write to disk. Raises InputError or the error of what it
    uses (data, method, model, record).
    """
    plan = prepare(source, workspace)
    statuses = plan.statuses()
    assert plan.data is not None  # a strict plan has its data
    info = plan.data.info
    classes = plural(info.num_classes, "class", "classes")
    data = f"{info.name}: {plural(info.train_size, 'training image')}, {classes}"
    findings = [
        Finding(OK, "matrix", format_counts(plan, statuses)),
        Finding(OK, "data", f"{data} (root {workspace.data})"),
    ]
    if plan.data.shared_bytes:
        findings.append(machine.check_shared_memory(plan.data.shared_bytes))
    if plan.teacher_files:
        names = ", ".join(plan.teacher_files)
        findings.append(Finding(OK, "teachers", f"{names}: files have the right hash and shapes"))
    cost = predict_cost(statuses.values(), plan.data_sets, plan.workspace.device, timed=False)
    count = sum(status.state in NOT_STARTED for status in statuses.values())
    stored = predictions_bytes(cost, plan.data, plan.matrix.predictions)
    return Need(count, cost.disk_bytes, stored), findings


def check_leftovers(runs: Path) -> Iterator[Finding]:
    """Submissions that were cut off, and runs whose worker is gone."""
    unsent = [array for array in submitted.load(runs) if array.job is None]
    if unsent:
        fix = "the next `submit` adopts what SLURM has and sends the rest"
        if is_claimed(runs / submitted.FOLDER):
            fix = "another `submit` is running"
        yield Finding(WARN, "submissions", f"{plural(len(unsent), 'array')} without a job id", fix)
    newest = {path.parent: path for path in sorted(runs.glob("*/*/*/*/claim-[0-9]*"))}
    orphaned = [
        run
        for run, claim in newest.items()
        if not (run / records.RESULT).exists() and not claims.is_alive(claim)
    ]
    if orphaned:
        message = f"{len(orphaned)} whose worker is gone, e.g. {orphaned[0]}"
        fix = "`run` or `submit` resumes them; `status MATRIX` lists them"
        yield Finding(WARN, "unfinished runs", message, fix)
    if not unsent and not orphaned:
        yield Finding(OK, "leftovers", f"none in {runs}")
