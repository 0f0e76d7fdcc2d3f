"""What tuning gained: every tuned row against the row of the method's own options.

The tests are those of `verdicts`. Each method has a baseline of its own here; all comparisons of a
table are still paid for together. Where the own options were chosen, both rows are one run and the
difference is 0 without any noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from results import statistics
from results.cells import Cell
from results.leaderboard import Leaderboard, summary
from results.statistics import MIN_UNITS, Difference, Estimate
from results.tuning import Tuning
from results.verdicts import groups_of


@dataclass(frozen=True)
class PairGain:
    """Both rows on one pair; means and standard deviations in percent, differences in points.

    n         trials of the tuned row, and of the other where it has none
    gain      None unless both have every trial
    estimate  the gain with its interval, for all pairs and methods together; None without one
    same      whether the own options were chosen
    """

    own: tuple[float, float]
    tuned: tuple[float, float]
    n: int
    gain: Difference | None = None
    estimate: Estimate | None = None
    same: bool = False


@dataclass(frozen=True)
class Gain:
    """A method's gain; ``these`` and ``like_these`` as in `verdicts.Comparison`, of the average."""

    method: str
    row: str  # the label of its tuned row
    pairs: Mapping[str, PairGain]
    these: Estimate | None = None
    like_these: Estimate | None = None

    @property
    def complete(self) -> bool:
        """Whether every pair has its gain, so that there is an average."""
        return all(pair.gain is not None for pair in self.pairs.values())

    @property
    def same(self) -> bool:
        """Whether the own options were chosen on every pair."""
        return all(pair.same for pair in self.pairs.values())

    @property
    def mean(self) -> float:
        """Points, over all pairs."""
        return float(np.mean([pair.gain.mean for pair in self.pairs.values() if pair.gain]))

    @property
    def improved(self) -> int:
        """On how many pairs the tuned options are better."""
        return sum(pair.gain is not None and pair.gain.mean > 0 for pair in self.pairs.values())


def gains(board: Leaderboard, tuning: Tuning) -> list[Gain]:
    """In the order of the board, of the methods whose tuned row it has."""
    cells: dict[tuple[str, str], list[Cell]] = {}
    for cell in board.cells:
        cells.setdefault((cell.method, cell.pair), []).append(cell)
    step = _step(board.cells)
    found = []
    for method, row in rows_of(board, tuning):
        pairs = {
            pair: _compared(cells.get((method, pair), ()), cells.get((row, pair), ()), step)
            for pair in board.pairs
        }
        found.append(Gain(method, row, pairs))
    return _averaged(_judged(found, board.level), board)


def rows_of(board: Leaderboard, tuning: Tuning) -> list[tuple[str, str]]:
    """(method, its tuned row) for the tuned rows of the board, in its order."""
    own = {row: method for method, row in tuning.tuned.items()}
    return [(own[row], row) for row in board.methods if row in own]


def scores_of(cells: Sequence[Cell]) -> dict[int, float]:
    """The test accuracies by trial; empty unless every planned trial is there."""
    scores = {cell.trial: cell.record.top1 for cell in cells if cell.record is not None}
    return scores if len(scores) == len(cells) else {}


def _step(cells: Sequence[Cell]) -> float:
    """Points between neighboring accuracies; 0 where the size of the test set is unknown."""
    counts = (cell.record.accuracy.samples for cell in cells if cell.record)
    return 100 / min((n for n in counts if n), default=float("inf"))


def _compared(own: Sequence[Cell], tuned: Sequence[Cell], step: float) -> PairGain:
    present = [[c.record.top1 for c in cells if c.record] for cells in (own, tuned)]
    made = PairGain(summary(present[0]), summary(present[1]), len(present[1]) or len(present[0]))
    a, b = scores_of(own), scores_of(tuned)
    if not a or a.keys() != b.keys():
        return made
    trials = sorted(a)
    if _runs(own) == _runs(tuned):
        return replace(made, gain=Difference(0.0, 0.0, max(len(trials) - 1, 1)), same=True)
    gain = statistics.paired([b[t] for t in trials], [a[t] for t in trials], step)
    return replace(made, gain=gain)


def _runs(cells: Sequence[Cell]) -> list[str]:
    return sorted(cell.record.run for cell in cells if cell.record)


def _judged(found: Sequence[Gain], level: float) -> list[Gain]:
    """With an interval for every gain of a pair: Student's t, Bonferroni over all of them."""
    number = sum(bool(p.gain) and not p.same for gain in found for p in gain.pairs.values())
    return [
        replace(gain, pairs={p: _with_interval(x, number, level) for p, x in gain.pairs.items()})
        for gain in found
    ]


def _with_interval(pair: PairGain, number: int, level: float) -> PairGain:
    if pair.gain is None or pair.same:
        return pair
    return replace(pair, estimate=statistics.estimate(pair.gain, number, level))


def _averaged(found: Sequence[Gain], board: Leaderboard) -> list[Gain]:
    """With the intervals of the averages, of the methods that have every pair."""
    whole = [gain for gain in found if gain.complete]
    like_these = _like_these(whole, board)
    made = []
    for gain in found:
        if gain.complete:
            over = statistics.over_pairs([p.gain for p in gain.pairs.values() if p.gain])
            these = statistics.estimate(over, len(whole), board.level)
            gain = replace(gain, these=these, like_these=like_these.get(gain.method))
        made.append(gain)
    return made


def units_of(board: Leaderboard, whole: Sequence[Gain]) -> list[int]:
    """Per pair of the board, the group of pairs that share runs of the rows compared."""
    rows = {row for gain in whole for row in (gain.method, gain.row)}
    return groups_of([cell for cell in board.cells if cell.method in rows], board.pairs)


def _like_these(whole: Sequence[Gain], board: Leaderboard) -> dict[str, Estimate]:
    units = units_of(board, whole)
    if not whole or len(set(units)) < MIN_UNITS:
        return {}
    means = [[p.gain.mean for p in gain.pairs.values() if p.gain] for gain in whole]
    estimates = statistics.across_units(np.array(means).T, units, board.level)
    return dict(zip([gain.method for gain in whole], estimates, strict=True))
