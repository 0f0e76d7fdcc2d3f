"""Which runs wait for which: a graph of any depth. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from experiments.matrix.expansion import Choice
from experiments.matrix.run_spec import RunSpec
from experiments.rundir.status import ACTIVE, NOT_STARTED, State, Status

NeedsEnd = Callable[[RunSpec], tuple[str, ...]]  # ids of runs that must have ended in any way


def of_nobody(spec: RunSpec) -> tuple[str, ...]:
    """No run waits for the mere end of others."""
    return ()


def of_choices(choices: Iterable[Choice]) -> NeedsEnd:
    """A run whose options are still to be chosen waits for all runs that the choice is made of."""
    runs = {choice.id: tuple(run for ids in choice.runs for run in ids) for choice in choices}
    return lambda spec: runs.get(spec.choice or "", ())


@dataclass
class Graph:
    """What the unfinished runs wait for.

    under_way  runs that are being trained and whose end a job can wait for
    needs_end  runs that must have ended, done or not; `RunSpec.needs` must be done
    """

    statuses: dict[str, Status]
    under_way: Collection[str] = ()
    needs_end: NeedsEnd = of_nobody
    depths: dict[str, int | None] = field(default_factory=dict)
    ends: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)  # those to come

    def awaited_done(self) -> set[str]:
        """The runs whose weights others read."""
        return {run for s in self.statuses.values() for run in s.spec.needs}

    def awaited_end(self) -> set[str]:
        """The runs of which unfinished others need only know how they ended."""
        left = (s for s in self.statuses.values() if s.state in NOT_STARTED)
        return {run for ends in {self.ends_to_come(s) for s in left} for run in ends}

    def ends_to_come(self, status: Status) -> tuple[str, ...]:
        """Of the runs that must have ended, those that have not."""
        needed = self.needs_end(status.spec)
        if needed not in self.ends:  # many runs wait for one choice
            known = (run for run in needed if run in self.statuses)
            unfinished = (*NOT_STARTED, *ACTIVE)
            self.ends[needed] = tuple(r for r in known if self.statuses[r].state in unfinished)
        return self.ends[needed]

    def depth(self, status: Status) -> int | None:
        """How many runs must end one after the other before this one, which is to do, can start.

        None if that cannot be waited for: one of them is trained elsewhere, or is not to do.
        """
        run = status.spec.id
        if run not in self.depths:
            places = [self._place(self.statuses[needed]) for needed in self._to_come(status)]
            known = [place for place in places if place is not None]
            self.depths[run] = max(known, default=0) if len(known) == len(places) else None
        return self.depths[run]

    def _to_come(self, status: Status) -> list[str]:
        needs = (run for run in status.spec.needs if run in self.statuses)
        undone = [run for run in needs if self.statuses[run].state != State.DONE]
        return [*undone, *self.ends_to_come(status)]

    def _place(self, needed: Status) -> int | None:
        """The least depth of those that wait for this run; None if nobody can."""
        if needed.state in NOT_STARTED:
            depth = self.depth(needed)
            return None if depth is None else depth + 1
        return 1 if needed.state in ACTIVE and needed.spec.id in self.under_way else None
