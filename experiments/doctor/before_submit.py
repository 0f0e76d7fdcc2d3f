"""The cheap checks of `doctor` that `submit` makes before it calls sbatch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from experiments.cluster.site import Site
from experiments.doctor import disk, requests
from experiments.doctor import slurm as slurm_checks
from experiments.doctor.disk import Need
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.errors import together
from experiments.matrix.slurm_options import SlurmOptions
from experiments.rundir.layout import weights_of
from experiments.rundir.status import NOT_STARTED, State, Status
from experiments.wording import form, plural


def check(
    there: Site,
    options: SlurmOptions,
    processes: int,
    runs: Path,
    need: Need,
    statuses: Mapping[str, Status],
) -> list[str]:
    """Lines about what is worth knowing; InputError for what would make jobs fail or never start.

    It calls SLURM only where an account is missing; ``there`` is known already.
    """
    found = [
        *requests.problems(there, options, processes),
        *_account(there, options),
        disk.check_runs(runs),
        disk.check_space(runs, need),
        *disk.check_inodes(runs, need),
        *_weights(statuses, runs),
    ]
    error = together(f"{line(f)} (nothing was submitted)" for f in found if f.level == FAIL)
    if error:
        raise error
    return [f"note: {line(finding)}" for finding in found if finding.level == WARN]


def line(finding: Finding) -> str:
    """A finding and its fix in one line."""
    said = f"{finding.subject}: {finding.message}"
    return " ".join(f"{said}; {finding.fix}".split()) if finding.fix else said


def _account(there: Site, options: SlurmOptions) -> Iterable[Finding]:
    """Whether jobs can be charged to anything, where SLURM insists on it."""
    has_one = any(policy.get("account") for policy in there.policies)
    if has_one or "associations" not in there.enforced or not there.policies:
        return []
    finding = slurm_checks.check_account(options)
    return [finding] if finding.level != OK else []


def _weights(statuses: Mapping[str, Status], runs: Path) -> Iterator[Finding]:
    """Teachers that are done, whose weights some student still needs and that are not there."""
    waiting = [
        s.spec.teacher.run for s in statuses.values() if s.state in NOT_STARTED and s.spec.teacher
    ]
    for run in dict.fromkeys(run for run in waiting if run):
        teacher = statuses.get(run)
        if teacher is None or teacher.state != State.DONE:
            continue
        path = weights_of(teacher.spec.directory(runs))
        if not path.is_file() or not os.path.getsize(path):
            count = waiting.count(run)
            students = f"{plural(count, 'student')} {form(count, 'needs', 'need')} it"
            yield Finding(
                WARN, f"teacher {teacher.spec}", f"its weights are gone ({path}); {students}"
            )
