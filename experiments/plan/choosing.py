"""What the states of a search's runs mean for the final runs whose options are chosen. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from experiments.matrix import tuning
from experiments.matrix.expansion import Choice, Expansion
from experiments.rundir.outcome import is_divergence
from experiments.rundir.status import ACTIVE, NOT_STARTED, State, Status
from experiments.wording import plural

Statuses = Mapping[str, Status]


def settled(expansion: Expansion, statuses: Statuses) -> Expansion:
    """The expansion with runs in place of placeholders, of all choices that can be made.

    The same object where there is none.
    """
    placeholders = {entry.spec.choice for entry in expansion.entries}
    open_choices = [choice for choice in expansion.choices if choice.id in placeholders]
    chosen = {choice.id: chosen_number(choice, statuses) for choice in open_choices}
    made = {choice: number for choice, number in chosen.items() if number is not None}
    return tuning.settled(expansion, made) if made else expansion


def chosen_number(choice: Choice, statuses: Statuses) -> int | None:
    """The configuration that is chosen; None while it cannot be said."""
    fair = tuning.possible(choice, impossible(choice, statuses))
    if not any(fair.runs):  # nothing can be trained on these pairs
        return None
    scores = {run: score(statuses[run]) for runs in fair.runs for run in runs}
    return tuning.choose(fair, {run: top1 for run, top1 in scores.items() if top1 is not None})


def impossible(choice: Choice, statuses: Statuses) -> set[str]:
    """The runs of a choice that are n/a."""
    return {run for runs in choice.runs for run in runs if statuses[run].state == State.UNSUPPORTED}


def score(status: Status) -> float | None:
    """The accuracy of a run of the search on the held-out part; None while it has none."""
    if has_lost(status):
        return tuning.LOST
    return status.record.top1 if status.state == State.DONE and status.record else None


def has_lost(status: Status) -> bool:
    """Whether it diverged, which is an answer: that configuration is not chosen."""
    return status.state == State.FAILED and is_divergence(status.detail)


def lost_runs(expansion: Expansion, statuses: Statuses) -> set[str]:
    """The runs of the search that diverged. They need no second try."""
    runs = (candidate.spec.id for candidate in expansion.candidates)
    return {run for run in runs if has_lost(statuses[run])}


def after_choices(statuses: Statuses, choices: Iterable[Choice]) -> dict[str, Status]:
    """The statuses, those of placeholders with what they wait for, or what stands in their way."""
    known = {choice.id: choice for choice in choices}
    words: dict[str, tuple[str, str]] = {}  # by choice

    def after(status: Status) -> Status:
        choice = known.get(status.spec.choice or "")
        if choice is None or status.state != State.TODO:
            return status
        if choice.id not in words:
            words[choice.id] = _standing(choice, statuses)
        state, detail = words[choice.id]
        return replace(status, state=state, detail=detail, blocked="")  # as it is now

    return {run: after(status) for run, status in statuses.items()}


def _standing(choice: Choice, statuses: Statuses) -> tuple[str, str]:
    """The state of the placeholders of a choice that cannot be made now, and why."""
    fair = tuning.possible(choice, impossible(choice, statuses))
    bad = next((s for s in _of(fair, statuses) if _stands_in_the_way(s)), None)
    if bad is not None:
        why = f"{bad.state}: {bad.detail}" if bad.detail else bad.state
        return State.BLOCKED, f"its choice: run {bad.spec.id} of the search is {why}"
    ended = sum(all(score(statuses[run]) is not None for run in runs) for runs in fair.runs)
    of = plural(len(fair.runs), "configuration")
    return State.TODO, f"waits for its choice: {ended} of {of} done"


def _of(choice: Choice, statuses: Statuses) -> Iterable[Status]:
    return (statuses[run] for runs in choice.runs for run in runs)


def _stands_in_the_way(status: Status) -> bool:
    """Whether a run has no score, and nobody will train it unless a person does something."""
    return score(status) is None and status.state not in (*NOT_STARTED, *ACTIVE)
