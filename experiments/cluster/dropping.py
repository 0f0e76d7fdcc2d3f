"""What SLURM drops by itself: jobs that wait for one that did not end well."""

from __future__ import annotations

from collections.abc import Sequence

from experiments import slurm
from experiments.cluster.submitted import SubmittedArray


def dropped(sent: list[SubmittedArray]) -> list[SubmittedArray]:
    """Arrays that SLURM dropped: a teacher's job had failed before sbatch accepted them.

    Those that wait for a dropped one are among them: SLURM drops them later, link by link. Only an
    end that SLURM names counts: not to be in the queue proves nothing.
    """
    gone: list[SubmittedArray] = []
    for array in sent:  # whoever waits for another stands behind it
        if array.after and (_waits_for_one_of(gone, array) or _was_dropped(array)):
            gone.append(array)
    return gone


def withdraw(arrays: Sequence[SubmittedArray]) -> None:
    """Take what is left of dropped arrays out of the queue, so that they can be sent again."""
    for array in arrays:
        slurm.cancel([str(array.job)], array.cluster)


def _waits_for_one_of(arrays: Sequence[SubmittedArray], array: SubmittedArray) -> bool:
    awaited = {(array.cluster, task.partition("_")[0]) for task in array.after}
    return any((one.cluster, one.job) in awaited for one in arrays)


def _was_dropped(array: SubmittedArray) -> bool:
    job, cluster = str(array.job), array.cluster
    shown = [e.state for e in slurm.known([job], cluster).values() if e.name == array.name]
    if not shown:
        ends = slurm.accounted([job], cluster)
        shown = [end.state for end in ends.values() if end.name == array.name]
    return bool(shown) and "COMPLETED" not in shown and all(map(slurm.is_over, shown))
