"""The stages of a matrix that tunes, in the order in which they are trained. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.matrix.expansion import Expansion
from experiments.matrix.run_spec import RunSpec
from experiments.matrix.tuning import tuned_label


def stages(expansion: Expansion) -> dict[str, list[RunSpec]]:
    """The runs of every stage that has some; each run once, in the stage that needs it first."""
    tuned = {tuned_label(choice.label) for choice in expansion.choices}
    teachers, entries = expansion.teachers, expansion.entries
    parts = {
        "teachers of the search": [s for s in teachers if s.dataset.is_of_search],
        "search": [candidate.spec for candidate in expansion.candidates],
        "teachers": [s for s in teachers if not s.dataset.is_of_search],
        "final, own options": [e.spec for e in entries if e.label not in tuned],
        "final, tuned": [e.spec for e in entries if e.label in tuned],
    }
    told: set[str] = set()
    found: dict[str, list[RunSpec]] = {}
    for name, specs in parts.items():
        runs = {spec.id: spec for spec in specs if spec.id not in told}
        told |= runs.keys()
        if runs:
            found[name] = list(runs.values())
    return found


@dataclass(frozen=True)
class Budget:
    """A stage: its runs, those that are to do, and their seconds on one worker (None: unknown)."""

    stage: str
    runs: int
    todo: int
    seconds: float | None


def budgets(expansion: Expansion, seconds: Mapping[str, float | None]) -> list[Budget]:
    """What every stage costs; ``seconds``: of the runs that are to do, as predicted."""
    found = []
    for stage, specs in stages(expansion).items():
        times = [seconds[spec.id] for spec in specs if spec.id in seconds]
        known = [time for time in times if time is not None]
        whole = sum(known) if len(known) == len(times) else None
        found.append(Budget(stage, len(specs), len(times), whole))
    return found


def shares(found: Sequence[Budget]) -> list[float | None]:
    """The part of all seconds that every stage takes; None where they are not known, or 0."""
    times = [budget.seconds for budget in found]
    total = sum(time for time in times if time is not None)
    if None in times or not total:
        return [None] * len(found)
    return [(time or 0.0) / total for time in times]
