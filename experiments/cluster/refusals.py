"""What sbatch refuses because of a limit of the user's, or of an array's size: less may fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from experiments.cluster.arrays import Array
from experiments.slurm import SlurmError

Sent = TypeVar("Sent")

# QOSMaxSubmitJobPerUserLimit, AssocMaxSubmitJobLimit, QOSGrpSubmitJobsLimit …, MaxArraySize.
_SUBMIT_LIMIT = re.compile(r"\w*SubmitJob\w*Limit\w*|(?<=\()job submit limit")
_ARRAY_SIZE = "Invalid job array specification"


class LimitReached(SlurmError):  # noqa: N818
    """SLURM admits no more jobs of this user now; ``limit`` is its name for the reason."""

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit


def in_pieces(array: Array, send: Callable[[Array], Sent]) -> Iterator[Sent]:
    """Send an array, as several smaller ones where SLURM refuses its size.

    Raises LimitReached when not even one more job is admitted, and SlurmError for what has nothing
    to do with the number of jobs.
    """
    size = len(array.jobs)
    while array.tasks:
        size = min(size, len(array.jobs))
        try:
            sent = send(array.part(0, size))
        except SlurmError as error:
            size = _smaller(size, str(error), error)
            continue
        yield sent
        array = array.part(size)


def _smaller(size: int, message: str, error: SlurmError) -> int:
    """Half the size; raises where the error is none of a limit, or one job is too many."""
    limit = _SUBMIT_LIMIT.search(message)
    if limit and size == 1:
        raise LimitReached(limit[0], message) from error
    if size == 1 or not (limit or _ARRAY_SIZE in message):
        raise error
    return size // 2
