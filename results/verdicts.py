"""What a table's numbers allow to conclude: methods against the baseline, and the best ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from results import predictions, statistics
from results.cells import Cell
from results.schema import Record
from results.statistics import LEVEL, MIN_UNITS, Difference, Estimate

if TYPE_CHECKING:
    from results.statistics import Array

Value = Callable[[Record], float | None]
# (method, pair) -> the scores by trial, of complete cells only
Scores = Mapping[tuple[str, str], Sequence[float]]

THESE, LIKE_THESE = "these pairs", "pairs like these"


@dataclass(frozen=True)
class Comparison:
    """One method against the baseline over all pairs of a table.

    these        for these pairs: its noise is that of the trials; None with one trial
    like_these   for pairs like these; None with too few pairs that share no runs
    image_error  standard error of the mean difference from the choice of the test's images, in
                 points; None where it is not known which images the runs got right
    """

    method: str
    by_pair: Mapping[str, float]
    these: Estimate | None
    like_these: Estimate | None
    image_error: float | None = None

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.by_pair.values())))

    @property
    def improved(self) -> int:
        """On how many pairs the method's mean is above the baseline's."""
        return sum(value > 0 for value in self.by_pair.values())

    @property
    def worst(self) -> tuple[str, float]:
        """The pair with the lowest difference, and that difference."""
        return min(self.by_pair.items(), key=lambda item: item[1])

    @property
    def headline(self) -> Estimate | None:
        """What the verdict of a row is about: pairs like these where that can be said."""
        return self.like_these or self.these


@dataclass(frozen=True)
class Verdicts:
    """The conclusions of one table.

    comparisons  by method; only methods that, like the baseline, have every pair
    best         column (a pair, or "" for the average) -> methods that cannot be told apart from
                 its best; columns where that is true of all, or nothing can be said, are left out
    judged       the columns of which something can be said
    units        how many pairs share no runs
    samples      images of the test set; None if unknown
    """

    baseline: str | None
    comparisons: Mapping[str, Comparison]
    best: Mapping[str, frozenset[str]]
    judged: frozenset[str]
    pairs: int
    trials: int
    units: int
    samples: int | None
    level: float = LEVEL
    typical: float | None = None  # accuracy in percent, the median of all cells

    @property
    def basis(self) -> str | None:
        """Which inference the rows' verdicts are of; None if there are none."""
        found = [c.headline for c in self.comparisons.values() if c.headline]
        if not found:
            return None
        return LIKE_THESE if self.units >= MIN_UNITS else THESE

    def resolution(self, basis: str) -> float | None:
        """The smallest difference, in points, by which a typical interval excludes 0."""
        name = "like_these" if basis == LIKE_THESE else "these"
        estimates = [getattr(c, name) for c in self.comparisons.values()]
        found = [e for e in estimates if e]
        return statistics.median_half_width(found) if found else None


def verdicts(
    cells: Sequence[Cell],
    baseline: str | None,
    value: Value = lambda record: record.top1,
    level: float = LEVEL,
) -> Verdicts:
    """The conclusions from a table's runs; ``value`` is what they are compared by, in percent."""
    table = _Table(cells, value, level)
    compared = table.comparisons(baseline)
    errors = _image_errors(cells, table.pairs, baseline, compared)
    inside = table.inside()
    means = [float(np.mean(scores)) for scores in table.scores.values()]
    return Verdicts(
        baseline=baseline,
        comparisons={m: replace(c, image_error=errors.get(m)) for m, c in compared.items()},
        best={column: found for column, (found, others) in inside.items() if others},
        judged=frozenset(inside),
        pairs=len(table.pairs),
        trials=len(next(iter(table.scores.values()), ())),
        units=table.independent,
        samples=table.samples,
        level=level,
        typical=float(np.median(means)) if means else None,
    )


class _Table:
    """The scores of a table that may be compared.

    whole    methods that have every pair
    units    per pair, a number of its group, see `groups_of`
    step     between neighboring accuracies, in points
    samples  images of the test set; None if unknown
    """

    def __init__(self, cells: Sequence[Cell], value: Value, level: float) -> None:
        self.pairs = tuple(dict.fromkeys(cell.pair for cell in cells))
        self.methods = tuple(dict.fromkeys(cell.method for cell in cells))
        self.scores, self.level = _complete(cells, value), level
        self.whole = [m for m in self.methods if all((m, p) in self.scores for p in self.pairs)]
        self.units = groups_of([c for c in cells if c.method in self.whole], self.pairs)
        counts = (cell.record.accuracy.samples for cell in cells if cell.record)
        self.samples = min((n for n in counts if n), default=None)
        self.step = 100 / self.samples if self.samples else 0.0

    @property
    def independent(self) -> int:
        """How many groups of pairs share no runs."""
        return len(set(self.units))

    def comparisons(self, baseline: str | None) -> dict[str, Comparison]:
        """By method; empty where the baseline lacks a pair."""
        others = [method for method in self.whole if method != baseline]
        if baseline is None or baseline not in self.whole or not others:
            return {}
        found = {m: [self._difference(m, baseline, p) for p in self.pairs] for m in others}
        like_these = self._like_these(found)
        return {
            method: Comparison(
                method,
                {pair: d.mean for pair, d in zip(self.pairs, differences, strict=True)},
                statistics.estimate(statistics.over_pairs(differences), len(others), self.level),
                like_these.get(method),
            )
            for method, differences in found.items()
        }

    def _difference(self, method: str, baseline: str, pair: str) -> Difference:
        scores = (self.scores[method, pair], self.scores[baseline, pair])
        return statistics.paired(*scores, self.step)

    def _like_these(self, found: Mapping[str, Sequence[Difference]]) -> dict[str, Estimate]:
        if self.independent < MIN_UNITS:
            return {}
        means = np.array([[d.mean for d in differences] for differences in found.values()]).T
        estimates = statistics.across_units(means, self.units, self.level)
        return dict(zip(found, estimates, strict=True))

    def inside(self) -> dict[str, tuple[frozenset[str], bool]]:
        """Column ("" is the average) -> what cannot be told apart from its best; are others there?

        Only columns of which something can be said.
        """
        columns = {pair: (self._there(pair), self._by_trials([pair])) for pair in self.pairs}
        if len(self.pairs) > 1:
            columns[""] = (self.whole, self._average())
        return {
            column: (
                frozenset(m for m, best in zip(methods, found, strict=True) if best),
                not all(found),
            )
            for column, (methods, found) in columns.items()
            if found
        }

    def _there(self, pair: str) -> list[str]:
        return [method for method in self.methods if (method, pair) in self.scores]

    def _by_trials(self, pairs: Sequence[str]) -> list[bool]:
        methods = self._there(pairs[0]) if len(pairs) == 1 else self.whole
        scores = self._cube(pairs, methods)
        if len(methods) < 2 or scores.shape[2] < 2:
            return []
        return statistics.best_by_trials(scores, self.step, self.level)

    def _average(self) -> list[bool]:
        if self.independent < MIN_UNITS or len(self.whole) < 2:
            return self._by_trials(self.pairs)
        means = self._cube(self.pairs, self.whole).mean(axis=2)
        return statistics.best_set(means, self.units, self.level)

    def _cube(self, pairs: Sequence[str], methods: Sequence[str]) -> Array:
        """(pairs, methods, trials)"""
        scores = [[self.scores[method, pair] for method in methods] for pair in pairs]
        return np.array(scores, dtype=float)


def _complete(cells: Sequence[Cell], value: Value) -> Scores:
    """The scores of cells that have as many trials as the fullest: others are never compared."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    planned: dict[tuple[str, str], int] = {}
    for cell in cells:
        key = (cell.method, cell.pair)
        planned[key] = planned.get(key, 0) + 1
        score = value(cell.record) if cell.record is not None else None
        if score is not None:
            found.setdefault(key, {})[cell.trial] = score
    most = max((set(trials) for trials in found.values()), key=len, default=set())
    return {
        key: [trials[t] for t in sorted(trials)]
        for key, trials in found.items()
        if set(trials) == most and len(trials) == planned[key]
    }


def groups_of(cells: Sequence[Cell], pairs: Sequence[str]) -> list[int]:
    """Per pair, a number of the group of pairs that it shares runs with, or will share.

    Pairs with one student share the student alone: its luck would count once per pair.
    """
    group = {pair: i for i, pair in enumerate(pairs)}
    owner: dict[str, str] = {}
    for cell in cells:
        run = cell.record.run if cell.record else cell.run
        other = owner.setdefault(run, cell.pair) if run else cell.pair
        old, new = group[cell.pair], group[other]
        if old != new:
            group = {pair: new if number == old else number for pair, number in group.items()}
    return [group[pair] for pair in pairs]


def _image_errors(
    cells: Sequence[Cell], pairs: Sequence[str], baseline: str | None, others: Iterable[str]
) -> dict[str, float]:
    """Of the methods of whose every run, and of the baseline's, the measures say it."""
    shares = _shares_correct(cells)
    if any((baseline, pair) not in shares for pair in pairs):
        return {}
    return {
        method: statistics.image_error(
            np.mean([shares[method, p] - shares[baseline, p] for p in pairs], axis=0)
        )
        for method in others
        if all((method, pair) in shares for pair in pairs)
    }


def _shares_correct(cells: Sequence[Cell]) -> dict[tuple[str | None, str], Array]:
    """(method, pair) -> the share of trials that got each image right, (N,)."""
    found: dict[tuple[str | None, str], list[Array | None]] = {}
    for cell in cells:
        measures = cell.record.measures if cell.record else None
        correct = predictions.correct_of(measures) if measures else None
        found.setdefault((cell.method, cell.pair), []).append(correct)
    whole = {key: [c for c in group if c is not None] for key, group in found.items()}
    return {
        key: np.mean(group, axis=0, dtype=np.float64)
        for key, group in whole.items()
        if len(group) == len(found[key]) and len({len(correct) for correct in group}) == 1
    }
