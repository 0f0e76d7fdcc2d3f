"""The cheap checks of `doctor` that `submit` makes before it calls sbatch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from experiments.cluster.site import Site
from experiments.doctor import disk, requests
from experiments.doctor import slurm as slurm_checks
from experiments.doctor.disk import Need
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.errors import together
from experiments.matrix.slurm_options import SlurmOptions


def check(
    there: Site,
    options: SlurmOptions,
    processes: int,
    runs: Path,
    need: Need,
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
