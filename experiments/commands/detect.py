"""How many trials and pairs show a difference of a given size, and what they cost."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from experiments.plan.cost import Cost
from experiments.plan.summary import duration
from experiments.rundir.status import Status
from experiments.wording import plural
from results import power
from results.cells import of_one_protocol
from results.leaderboard import Leaderboard
from results.power import ENOUGH, MOST_PAIRS, MOST_TRIALS, Spread
from results.statistics import MIN_UNITS
from results.verdicts import groups_of


@dataclass(frozen=True)
class Question:
    """How to find a method that is ``effect`` points above the baseline of ``board``.

    trials   that the matrix plans
    seconds  of one run on one worker, on average; None if unknown
    """

    board: Leaderboard
    trials: int
    effect: float
    seconds: float | None

    def answer(self) -> Iterator[str]:
        """The answer, in lines."""
        board, rest = self.board, plural(self.comparisons, "comparison")
        yield (
            f"to find a method {self.effect:g} points above {board.baseline or 'another'} with "
            f"{100 * ENOUGH:.0f} % power, at {100 * (1 - board.level):.4g} % confidence for {rest} "
            "together:"
        )
        spread, cells = power.observed(of_one_protocol(board.cells), board.baseline)
        source = f"of {plural(cells, 'cell')} on record" if cells else "usual on CIFAR-100"
        yield (
            f"  spread ({source}): {spread.trial:.2f} points between trials, "
            f"{spread.pair:.2f} between method and pair"
        )
        yield f"  on these pairs: {self._these(spread)}"
        yield f"  on pairs like these: {self._like_these(spread)}"

    @property
    def comparisons(self) -> int:
        return max(1, len(set(self.board.methods) - self.board.departing) - 1)

    def _these(self, spread: Spread) -> str:
        pairs, rest = len(self.board.pairs), (self.comparisons, self.board.level)
        now = power.within(self.effect, spread, pairs, self.trials, *rest)
        needed = power.fewest_trials(self.effect, spread, pairs, rest[0], power.within, rest[1])
        return f"{self._now(now)}; {self._needed(pairs, needed)}"

    def _like_these(self, spread: Spread) -> str:
        """Pairs that share runs, as the student alone, count as one."""
        pairs, rest = len(self.board.pairs), (self.comparisons, self.board.level)
        units = len(set(groups_of(self.board.cells, self.board.pairs)))
        more = power.fewest_pairs(self.effect, spread, self.trials, *rest)
        many = self._cost(more, self.trials) if more else f"{MOST_PAIRS} would not be enough"
        many = f"with more pairs that share no runs: {many}"
        if units < MIN_UNITS:
            return f"needs {MIN_UNITS} pairs that share no runs, here {units}; {many}"
        now = power.across(self.effect, spread, units, self.trials, *rest)
        needed = power.fewest_trials(self.effect, spread, units, rest[0], power.across, rest[1])
        shared = f" ({units} that share no runs)" if units < pairs else ""
        return f"{self._now(now)}{shared}; {self._needed(pairs, needed)}; {many}"

    def _now(self, chance: float) -> str:
        size = f"{plural(len(self.board.pairs), 'pair')} × {plural(self.trials, 'trial')}"
        return f"{size}, as planned, have {100 * chance:.0f} % power"

    def _needed(self, pairs: int, trials: int | None) -> str:
        if trials is None:
            return f"{plural(MOST_TRIALS, 'trial')} would not be enough"
        return f"enough: {self._cost(pairs, trials)}"

    def _cost(self, pairs: int, trials: int) -> str:
        """ "6 pairs × 9 trials, 540 runs, 5 hours of one worker" """
        runs = pairs * trials * len(self.board.methods)
        size = f"{plural(pairs, 'pair')} × {plural(trials, 'trial')}, {plural(runs, 'run')}"
        if self.seconds is None:
            return size
        return f"{size}, about {duration(runs * self.seconds)} of one worker"


def seconds_per_run(statuses: Mapping[str, Status], cost: Cost) -> float | None:
    """What a run takes on average: predicted where it is to do, recorded where it is done."""
    predicted = [value for value in cost.of.values() if value is not None]
    recorded = [s.record.seconds for s in statuses.values() if s.record and s.record.seconds]
    known = [*predicted, *recorded]
    return statistics.fmean(known) if known else None
