"""`report`: how far a matrix is, and what a person can do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from experiments import slurm
from experiments.commands.board import is_waiting
from experiments.commands.teacher_scores import arrow
from experiments.plan import summary
from experiments.plan.plan import Plan
from experiments.rundir.status import ACTIVE, NOT_STARTED, State, Status, count_states
from experiments.rundir.teachers import behind
from experiments.wording import form, plural
from results import board_file
from results.report.content import TEACHER, Progress, Step

if TYPE_CHECKING:
    from experiments.commands.report.flags import Commands


_GROUP = {summary.TEACHER: TEACHER}


def progress(plan: Plan, statuses: Mapping[str, Status], command: Commands) -> Progress:
    """The progress of a plan; ``command(verb)`` is the command line of a verb about it.

    Into a board file nothing is trained: there is nothing to do then.
    """
    on_board = board_file.is_board_file(plan.workspace.runs)
    groups = summary.groups(plan, statuses)
    return Progress(
        source=plan.source,
        counts=count_states(statuses.values()),
        groups=tuple(
            (arrow(pair), _GROUP.get(label, label), summary.summarize(group))
            for (pair, label), group in groups.items()
        ),
        steps=() if on_board else tuple(steps(plan, statuses, command)),
        active=not on_board and any(map(is_active, statuses.values())),
    )


def is_active(status: Status) -> bool:
    """Whether a run may still change by itself: nobody has to do something about it first."""
    return status.state in (State.TODO, *ACTIVE) or is_waiting(status)


def steps(plan: Plan, statuses: Mapping[str, Status], command: Commands) -> Iterator[Step]:
    """What is to do, in the order in which to do it."""
    by_state: dict[str, list[Status]] = {}
    for status in statuses.values():
        by_state.setdefault(status.state, []).append(status)
    blocked = [status for status in by_state.get(State.BLOCKED, []) if not is_waiting(status)]
    failed = by_state.get(State.FAILED, [])
    yield from _blocking(blocked, statuses, command)
    teachers = {run for s in blocked for run in behind(s, statuses)}
    yield from _failed([s for s in failed if s.spec.id not in teachers], command)
    if failed:
        reason = f"when the cause is mended: let {plural(len(failed), 'failed run')} be tried again"
        yield Step(reason, command("retry"))
    yield from _stale(plan, by_state.get(State.STALE, []), command)
    waiting = [s for s in statuses.values() if is_waiting(s)]
    if waiting:
        reason = f"{plural(len(waiting), 'probe')}: train their students first"
        yield Step(reason, command(trains(), students=True))
    open_ = [s for state in NOT_STARTED for s in by_state.get(state, [])]
    yield from _to_train([*open_, *failed, *blocked, *waiting], command)


def _blocking(
    blocked: Sequence[Status], statuses: Mapping[str, Status], command: Commands
) -> Iterator[Step]:
    """One step for each teacher, or one for all students, that others wait for in vain."""
    teachers = Counter(run for s in blocked for run in behind(s, statuses))
    for run, count in teachers.items():
        teacher = statuses[run]
        if teacher.state == State.FAILED:  # of a stale one, see `_stale`
            waits = f"{plural(count, 'run')} {form(count, 'waits', 'wait')}"
            reason = f"{waits} for the teacher {teacher.spec.pair}, which failed: {teacher.detail}"
            yield Step(reason, command("logs", about=teacher.spec.id))
    probes = [status for status in blocked if status.spec.source]
    if probes:
        reason = f"{plural(len(probes), 'probe')} blocked, e.g. {probes[0].detail}"
        yield Step(reason, command("status", students=True))


def _failed(failed: Sequence[Status], command: Commands) -> Iterator[Step]:
    """A look at one run for each reason."""
    reasons: dict[str, list[Status]] = {}
    for status in failed:
        reasons.setdefault(status.detail, []).append(status)
    for detail, group in reasons.items():
        reason = f"{plural(len(group), 'run')} failed: {detail or 'no reason was written'}"
        yield Step(reason, command("logs", about=group[0].spec.id))


def _stale(plan: Plan, stale: Sequence[Status], command: Commands) -> Iterator[Step]:
    """Results of earlier code can be accepted; all stale runs can be trained again."""
    earlier = [status for status in stale if status.spec.id in plan.stale]
    if earlier:
        reason = (
            f"{plural(len(earlier), 'run')} made by other code of a plugin: keep the results if "
            "the change alters no number"
        )
        yield Step(reason, command("accept"))
    if stale:
        again = f"train {plural(len(stale), 'stale run')} again, e.g. {stale[0].detail}"
        reason = f"or {again}" if earlier else again
        yield Step(reason, command(trains(), "--redo-stale"))


def _to_train(remaining: Sequence[Status], command: Commands) -> Iterator[Step]:
    counts = count_states(remaining)
    if counts:
        listed = ", ".join(f"{number} {state}" for state, number in counts.items())
        yield Step(f"train what is not done: {listed}", command(trains()))


def trains() -> str:
    """The verb that trains here: on a cluster jobs are sent."""
    return "submit" if slurm.is_here() else "run"
