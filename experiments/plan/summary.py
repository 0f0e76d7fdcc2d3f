"""Statuses and durations in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from experiments.matrix import tuning
from experiments.matrix.expansion import Candidate, Entry
from experiments.matrix.run_spec import RunSpec
from experiments.plan.plan import Plan
from experiments.rundir.status import ACTIVE, NOT_STARTED, State, Status, count_states
from experiments.wording import plural

TEACHER = "teacher"  # in place of a method's label


def format_counts(plan: Plan, statuses: Mapping[str, Status]) -> str:
    """ "digits.yaml: 28 runs: 20 done, 8 to do"."""
    counts = count_states(statuses.values())
    listed = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"{plan.source}: {plural(len(statuses), 'run')}: {listed}"


def labels(plan: Plan) -> dict[str, str]:
    """How the matrix calls every run's method, by run id; `teacher_label` where it only teaches."""
    expansion = plan.expansion
    shown = {entry.spec.id: entry.label for entry in reversed(expansion.entries)}
    searched = {one.spec.id: tuning.search_label(one.label) for one in expansion.candidates}
    return {spec.id: teacher_label(spec) for spec in expansion.teachers} | searched | shown


def teacher_label(spec: RunSpec) -> str:
    """What a run that others learn from is called; where it has a teacher, "assistant by kd"."""
    label = f"assistant by {spec.method}" if spec.teacher else TEACHER
    return tuning.search_label(label) if spec.dataset.is_of_search else label


def pairs(plan: Plan) -> dict[str, str]:
    """How the matrix calls the pair of every run that has a teacher, by run id.

    That of a chain says more than the run's own, which is its last two networks.
    """
    expansion = plan.expansion
    listed: list[Candidate | Entry] = [*expansion.candidates, *expansion.entries]
    return {one.spec.id: one.pair for one in reversed(listed) if one.spec.teacher}


def run_name(spec: RunSpec, label: str | None, pair: str | None = None) -> str:
    """`str(spec)` with the matrix's label for its method and its pair, as far as it has them."""
    return f"{pair or spec.pair}, {label}, trial {spec.trial}" if label else str(spec)


def groups(plan: Plan, statuses: Mapping[str, Status]) -> dict[tuple[str, str], list[Status]]:
    """The trials of every (pair, label); a teacher's pair is its network, its label "teacher".

    Assistants that are runs of the matrix's own are shown once.
    """
    found: dict[tuple[str, str], list[Status]] = {}
    shown = {entry.spec.id for entry in plan.expansion.entries}
    for spec in plan.expansion.teachers:
        if not (spec.teacher and spec.id in shown):
            found.setdefault((spec.pair, teacher_label(spec)), []).append(statuses[spec.id])
    for one in plan.expansion.candidates:
        key = one.pair, tuning.search_label(one.label)
        found.setdefault(key, []).append(statuses[one.spec.id])
    for entry in plan.expansion.entries:
        found.setdefault((entry.pair, entry.label), []).append(statuses[entry.spec.id])
    return found


def duration(seconds: float) -> str:
    """ "3 hours"."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return plural(round(seconds), "second")


def summarize(group: Iterable[Status]) -> str:
    """ "2/3 done, 1 running (epoch 17/240, 3 hours left)"."""
    group = list(group)
    parts = [f"{sum(s.state == State.DONE for s in group)}/{len(group)} done"]
    for s in group:
        if s.state == State.DONE or (s.state == State.TODO and not str(s.epochs) and not s.detail):
            continue
        parts.append(format_status(s))
    return "; ".join(dict.fromkeys(parts))


def format_status(s: Status) -> str:
    """One run's state with epoch, time left, the reason, and where to read more."""
    notes = []
    if str(s.epochs) and s.state in (*NOT_STARTED, *ACTIVE):
        notes.append(str(s.epochs))
    if s.seconds_left:
        notes.append(f"{duration(s.seconds_left)} left")
    notes += [s.detail] if s.detail else []
    more = f" (logs {s.spec.id})" if s.state in (State.FAILED, State.LOST) else ""
    return f"{s.state}: {', '.join(notes)}{more}" if notes else f"{s.state}{more}"
