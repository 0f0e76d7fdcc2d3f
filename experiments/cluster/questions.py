"""Ask SLURM about array tasks: the queue, and the accounts for what is no longer in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments import slurm
from experiments.cluster import job_words
from experiments.cluster.addresses import Address
from experiments.cluster.submitted import SubmittedArray

UNKNOWN = job_words.KNOWN_NO_MORE
SILENT = "?"  # the state of a task whose cluster does not answer


@dataclass(frozen=True)
class Task:
    """An array task. Without its array's record, ``name`` and ``log`` are None."""

    cluster: str | None
    id: str
    user: str
    name: str | None = None
    log: Path | None = None
    time: float = 0.0  # when it was submitted, in seconds since 1970
    is_mine: bool = True  # else a cluster may hide it
    after: tuple[str, ...] = ()  # the tasks and whole arrays that it waits for

    @classmethod
    def of(cls, array: SubmittedArray, index: int) -> Task:
        """A task of an array that has a job id."""
        task, log = f"{array.job}_{index}", array.log(index)
        after = (*array.after, *array.after_end)
        known = (array.user, array.name, log, array.time, array.is_mine, after)
        return cls(array.cluster, task, *known)

    @property
    def address(self) -> Address:
        return self.cluster, self.id

    @property
    def array(self) -> str:
        """The id of its array."""
        return self.id.partition("_")[0]

    @property
    def arrays(self) -> set[str]:
        """Its array, and those that it waits for."""
        return {self.array, *(job.partition("_")[0] for job in self.after)}


@dataclass(frozen=True)
class Answers:
    """What SLURM said.

    asked   the arrays that it was asked about, with their clusters
    known   tasks as the controllers know them: they remember for minutes those that have ended
    ends    the same by the accounts, with exit codes
    silent  the clusters whose controller did not answer, with the error
    lacks   the clusters whose accounts did not answer, with the error
    """

    asked: frozenset[Address] = frozenset()
    known: Mapping[Address, slurm.Queued] = field(default_factory=dict)
    ends: Mapping[Address, slurm.Ended] = field(default_factory=dict)
    silent: Mapping[str | None, str] = field(default_factory=dict)
    lacks: Mapping[str | None, str] = field(default_factory=dict)

    def covers(self, task: Task) -> bool:
        """Whether SLURM was asked about a task."""
        return (task.cluster, task.array) in self.asked

    def entry(self, task: Task) -> slurm.Queued | None:
        """A task as the controller knows it. Ids can be given out twice: the name must match."""
        found = self.known.get(task.address)
        return found if found and task.name in (None, found.name) else None

    def end(self, task: Task) -> slurm.Ended | None:
        """How a task ended, by the accounts, else by the controller; None if neither knows."""
        found = self.ends.get(task.address)
        if found and task.name in (None, found.name) and slurm.is_over(found.state):
            return found
        entry = self.entry(task)
        if entry is None or not slurm.is_over(entry.state):
            return None
        return slurm.Ended(entry.name, entry.state)


@dataclass(frozen=True)
class QueueState:
    """The array task that decides about a run: the latest, or that of the run's claim.

    state   squeue's ("PENDING", "RUNNING", …), "" if the task is over, or SILENT
    reason  why it waits, its node, or how it ended
    end     what the accounts say of its end
    held    tasks that it waits for and that SLURM holds because a node could not start them
    frees   whether the run's claim is a task's that no longer runs: nobody trains the run then
    is_forgotten  not in the queue, and the accounts, which know how it ended, do not answer
    """

    task: str
    state: str
    reason: str
    log: Path | None
    user: str
    cluster: str | None = None
    end: slurm.Ended | None = None
    held: tuple[str, ...] = ()
    frees: bool = False
    is_forgotten: bool = False

    @property
    def is_held(self) -> bool:
        """Whether SLURM holds the task indefinitely because a node could not start it."""
        return self.state == "PENDING" and self.reason in slurm.HELD

    @property
    def to_release(self) -> tuple[str, ...]:
        """The tasks that nothing but a release will start: itself, or those that it waits for."""
        return (self.task,) if self.is_held else self.held


def ask(tasks: Iterable[Task]) -> Answers:
    """Ask each cluster once about its tasks: squeue, then sacct for those that have ended.

    Who does not answer is named in the answers. Where the controller does not, the accounts may.
    """
    by_cluster: dict[str | None, list[Task]] = {}
    for task in tasks:
        by_cluster.setdefault(task.cluster, []).append(task)
    known: dict[Address, slurm.Queued] = {}
    ends: dict[Address, slurm.Ended] = {}
    silent: dict[str | None, str] = {}
    lacks: dict[str | None, str] = {}
    for cluster, theirs in by_cluster.items():
        try:
            arrays = set().union(*(task.arrays for task in theirs))
            found = slurm.known(arrays, cluster=cluster)
            known |= {(cluster, task): entry for task, entry in found.items()}
        except slurm.SlurmError as error:
            silent[cluster] = str(error)
        gone = {task.array for task in theirs if not _is_queued(known.get(task.address))}
        try:
            accounted = slurm.accounted(gone, cluster=cluster)
            ends |= {(cluster, task): end for task, end in accounted.items()}
        except slurm.SlurmError as error:
            lacks[cluster] = str(error)
    asked = frozenset((c, task.array) for c, theirs in by_cluster.items() for task in theirs)
    return Answers(asked, known, ends, silent, lacks)


def _is_queued(entry: slurm.Queued | None) -> bool:
    return entry is not None and not slurm.is_over(entry.state)


def _held_before(task: Task, answers: Answers) -> tuple[str, ...]:
    """Of the tasks that a task waits for, those that SLURM holds: their runs may be done."""
    return tuple(
        job
        for (cluster, job), entry in answers.known.items()
        if cluster == task.cluster
        and {job, job.partition("_")[0]}.intersection(task.after)
        and entry.state == "PENDING"
        and entry.reason in slurm.HELD
    )


def state_of(task: Task, answers: Answers) -> QueueState | None:
    """The state of one task; None of another person's that a cluster may hide."""
    entry, end = answers.entry(task), answers.end(task)
    place = QueueState(task.id, "", UNKNOWN, task.log, task.user, task.cluster, end)
    if entry is not None and _is_queued(entry):
        held = _held_before(task, answers) if entry.reason == "Dependency" else ()
        return replace(place, state=entry.state, reason=entry.reason, end=None, held=held)
    if end is not None:
        return replace(place, reason=job_words.how(end))
    if task.cluster in answers.silent:
        return replace(place, state=SILENT, reason=answers.silent[task.cluster])
    if task.cluster in answers.lacks:  # over, or not: the accounts would know
        return replace(place, state=SILENT, reason=answers.lacks[task.cluster], is_forgotten=True)
    # A cluster may hide other people's jobs: not seeing one of theirs proves nothing.
    return place if task.is_mine else None
