"""What SLURM's queue knows about runs that are not done, merged into what the disk says."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments import slurm
from experiments.cluster import job_words, questions, submitted
from experiments.cluster.questions import SILENT, Answers, QueueState, Task, state_of
from experiments.cluster.submitted import SubmittedArray
from experiments.plan.plan import Plan
from experiments.rundir import claims
from experiments.rundir.status import ACTIVE, NOT_STARTED, Seen, State, Status


@dataclass(frozen=True)
class Known:
    """Who was sent to train the runs, and what SLURM said: all that is needed for its part.

    latest  run id -> the last array task that was sent for it
    holder  run id -> the array task that its claim names, of runs that are claimed
    sent    the arrays that were looked at
    """

    latest: Mapping[str, Task] = field(default_factory=dict)
    holder: Mapping[str, Task] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    sent: Sequence[SubmittedArray] = ()

    def states(self) -> dict[str, QueueState]:
        """Run id -> the state of the task that decides about it."""
        runs = dict.fromkeys([*self.latest, *self.holder])
        found = {
            run: decide(self.latest.get(run), self.holder.get(run), self.answers) for run in runs
        }
        return {run: state for run, state in found.items() if state is not None}

    @property
    def silent(self) -> tuple[str, ...]:
        """The errors of clusters, or accounts, that did not answer what was needed, each once."""
        unknown = (state.reason for state in self.states().values() if state.state == SILENT)
        return tuple(dict.fromkeys([*self.answers.silent.values(), *unknown]))


@dataclass(frozen=True)
class View:
    """A look at the runs: their statuses, SLURM's part of them, and who did not answer."""

    statuses: dict[str, Status]
    queue: dict[str, QueueState]
    silent: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()  # errors of accounts that did not answer


# ---- looking -------------------------------------------------------------------------------------


def look(
    plan: Plan, seen: Seen | None = None, measures: bool = False, failed: bool = False
) -> View:
    """Every run's status, from the disk and the queue; what SLURM does not answer is UNKNOWN.

    The disk is read first. What then would be called lost is read again: its job may have ended
    well in between. ``seen``: see `read_statuses`; ``failed``: ask about failed runs' jobs, too.
    """
    seen = {} if seen is None else seen
    runs = plan.workspace.runs
    statuses = plan.statuses(measures, seen)
    known = _ask(runs, statuses.values(), failed, plan.expansion.sent_as)
    queue = known.states()
    over = [run for run, state in queue.items() if not state.state]
    if any(statuses[run].state != State.FAILED for run in over):
        for run in over:
            seen.pop(run, None)
        statuses = plan.statuses(measures, seen)
        holders = _holders(runs, statuses.values(), known.sent)
        queue = replace(known, holder=holders).states()
    lacks = tuple(dict.fromkeys(known.answers.lacks.values()))
    return View(merge(statuses, queue), queue, known.silent, lacks)


def survey(plan: Plan) -> tuple[dict[str, Status], dict[str, QueueState]]:
    """Every run's status, from the disk and the queue, and the queue's part of it, by run id.

    Raises SlurmError where SLURM is installed but does not answer.
    """
    view = look(plan)
    require_answer(view.silent)
    return view.statuses, view.queue


def statuses(plan: Plan, measures: bool = False) -> dict[str, Status]:
    """Every run's status; if SLURM does not answer, with a note on stderr.

    ``measures``: see `Plan.statuses`.
    """
    view = look(plan, measures=measures)
    note_silence(view)
    return view.statuses


def note_silence(view: View) -> None:
    """Say on stderr who did not answer."""
    for error in view.silent:
        print(f"note: SLURM did not answer; showing what the disk says ({error})", file=sys.stderr)


def query(
    runs: Path,
    statuses: Iterable[Status],
    with_ends: bool = True,
    sent_as: Iterable[tuple[str, str]] = (),
) -> dict[str, QueueState]:
    """Run id -> queue state of unfinished runs, with one call of squeue and one of sacct.

    ``with_ends``: False where it does not matter how tasks ended that are in the queue no more; the
    accounts need not answer then. ``sent_as``: of the plan's expansion.

    Empty where SLURM is not installed. Raises SlurmError where it is installed but does not answer:
    "not in the queue" and "unknown" must not be confused.
    """
    known = _ask(runs, statuses, sent_as=sent_as)
    require_answer(known.silent if with_ends else set(known.answers.silent.values()))
    return known.states()


def require_answer(silent: Collection[str]) -> None:
    """Raise SlurmError where a cluster did not answer: ``silent`` are the errors."""
    if silent:
        raise slurm.SlurmError("; ".join(silent))


def _ask(
    runs: Path,
    statuses: Iterable[Status],
    failed: bool = False,
    sent_as: Iterable[tuple[str, str]] = (),
) -> Known:
    """Ask SLURM about the latest task of every unfinished run, and about claims' tasks.

    ``sent_as``: the placeholders that runs may have been sent as, see `Expansion`.
    """
    wanted = (*NOT_STARTED, *ACTIVE, *([State.FAILED] if failed else []))
    unfinished = [status for status in statuses if status.state in wanted]
    if not slurm.is_here() or not unfinished:
        return Known()
    names = _names((status.spec.id for status in unfinished), sent_as)
    try:
        sent = submitted.load_here(runs)
    except slurm.SlurmError as error:  # which arrays are this cluster's cannot be said
        latest = _latest_tasks(submitted.load(runs), names)
        silent = dict.fromkeys([None, *(task.cluster for task in latest.values())], str(error))
        return Known(latest, {}, Answers(silent=silent))
    latest = _latest_tasks(sent, names)
    holders = _holders(runs, unfinished, sent)
    return Known(latest, holders, questions.ask([*latest.values(), *holders.values()]), sent)


def _names(runs: Iterable[str], sent_as: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """What arrays call these runs -> the runs: by their ids, and by those of their placeholders."""
    names = {run: [run] for run in runs}
    for run, placeholder in sent_as:
        if run in names:
            names.setdefault(placeholder, []).append(run)
    return names


def _latest_tasks(
    arrays: Iterable[SubmittedArray], names: Mapping[str, Sequence[str]]
) -> dict[str, Task]:
    """Run -> the last array task that contains it; only of arrays with a job id."""
    latest: dict[str, Task] = {}
    for array in arrays:
        if array.job is None:
            continue
        for i, runs in enumerate(array.tasks):
            known = (run for name in runs for run in names.get(name, ()))
            latest.update({run: Task.of(array, i) for run in known})
    return latest


def _holders(
    runs: Path, statuses: Iterable[Status], sent: Iterable[SubmittedArray]
) -> dict[str, Task]:
    """Run -> the array task that its claim names, of claimed runs; of arrays sent from here.

    A claim without a task, or of an unknown array, is not SLURM's to judge: it holds until stale.
    """
    arrays = {(array.cluster, array.job): array for array in sent if array.job}
    found = {}
    for status in statuses:
        if status.state != State.RUNNING:
            continue
        claim = claims.newest(status.spec.directory(runs))
        address = claims.address_of(claim) if claim else None
        job, _, index = address[1].partition("_") if address else ("", "", "")
        array = arrays.get((address[0], job)) if address else None
        if array is not None and index.isdecimal():
            found[status.spec.id] = Task.of(array, int(index))
    return found


# ---- deciding: pure ------------------------------------------------------------------------------


def decide(latest: Task | None, holder: Task | None, answers: Answers) -> QueueState | None:
    """What SLURM says about a run; None if nothing.

    latest  the last task that was sent for it
    holder  the task that its claim names, if it is claimed: while that runs, the others say nothing
    """
    of_latest = state_of(latest, answers) if latest else None
    asked = holder is not None and answers.covers(holder)
    of_holder = state_of(holder, answers) if holder and asked else None
    if of_holder is None:
        return of_latest
    if of_holder.state == SILENT or slurm.is_running(of_holder.state):
        return of_holder
    if of_holder.state or of_latest is None:  # it waits to go on
        return replace(of_holder, frees=True)
    return replace(of_latest, frees=True)


def merge(statuses: Mapping[str, Status], queue: Mapping[str, QueueState]) -> dict[str, Status]:
    """The disk decides; the queue tells "pending" from "to do", and "lost" from "running"."""
    return {
        run: _merge_one(status, queue[run]) if run in queue else status
        for run, status in statuses.items()
    }


def _merge_one(status: Status, queue: QueueState) -> Status:
    if status.state == State.RUNNING and not queue.frees:
        return _claimed(status, queue)
    if status.state not in (*NOT_STARTED, State.RUNNING):
        return status
    task, state = queue.task, queue.state
    if state == SILENT:
        detail = f"SLURM does not answer; it was last sent as job {task}"
        return replace(status, state=State.UNKNOWN, detail=detail)
    if not state:
        blocked = f"; blocked: {status.blocked}" if status.blocked else ""
        detail = f"job {task} ended: {queue.reason}{blocked}"
        return replace(status, state=State.LOST, detail=detail, seconds_left=None)
    if slurm.is_running(state):
        detail = job_words.running(task, state, queue.reason)
        return replace(status, state=State.RUNNING, detail=detail)
    detail = job_words.waiting(task, state, queue.reason, queue.held)
    return replace(status, state=State.PENDING, detail=detail, seconds_left=None)


def _claimed(status: Status, queue: QueueState) -> Status:
    """A run that is being trained; a job that stands still is named."""
    if queue.state in job_words.STAND_STILL:
        detail = job_words.running(queue.task, queue.state, queue.reason)
        return replace(status, detail=detail, seconds_left=None)
    return status
