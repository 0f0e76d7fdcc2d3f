"""`submit --after`: jobs that a person wants to have ended before ours begin."""

from __future__ import annotations

from collections.abc import Callable

from experiments import slurm
from experiments.cluster import policies
from experiments.errors import InputError
from experiments.matrix.slurm_options import SlurmOptions


def checked(options: SlurmOptions, note: Callable[[str], None]) -> SlurmOptions:
    """The options without jobs that have ended; SLURM takes any number for a job that did.

    Raises InputError for a job that nobody knows, and SlurmError where SLURM does not answer.
    """
    cluster = policies.addressed(options)
    if not options.after:
        return options
    kept = [job for job in options.after if _still_to_end(job, cluster, note)]
    return options.model_copy(update={"after": tuple(kept)})


def _still_to_end(job: str, cluster: str | None, note: Callable[[str], None]) -> bool:
    array = job.partition("_")[0]
    queued = slurm.state_of(job, cluster)
    if queued and not slurm.has_ended(job, cluster):
        return True
    accounts = slurm.accounted([array], cluster) if not queued else {}
    if not queued and not accounts:
        slurm.mine(cluster)  # raises where SLURM does not answer, which `state_of` does not tell
        raise InputError(f"--after {job}: SLURM knows no such job, or does not show it to you")
    note(f"job {job} has ended already: nothing waits for it")
    return False
