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
Scores = Mapping[
    tuple[str, str], Sequence[float]
]  # (method, pair) -> by trial, complete cells only

THESE, LIKE_THESE = "these pairs", "pairs like these"


@dataclass(frozen=True)
class Comparison:
    """One method against the baseline over all pairs of a table.

    these       for these pairs: its noise is that of the trials; None with one trial
    like_these  for pairs like these; None with too few pairs that share no runs
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
    pairs, methods = (
        tuple(dict.fromkeys(getattr(c, k) for c in cells)) for k in ("pair", "method")
    )
    scores = _complete(cells, value)
    whole = [m for m in methods if all((m, pair) in scores for pair in pairs)]
    trials = len(next(iter(scores.values()), ()))
    units = groups_of([c for c in cells if c.method in whole], pairs)
    step, samples = _resolution_of_test(cells)
    compared = _comparisons(scores, pairs, whole, baseline, units, step, level)
    errors = _image_errors(cells, pairs, baseline, compared)
    compared = {m: replace(c, image_error=errors.get(m)) for m, c in compared.items()}
    judged, best = _best(scores, pairs, methods, whole, units, step, level)
    values = [float(np.mean(s)) for s in scores.values()]
    return Verdicts(
        baseline=baseline,
        comparisons=compared,
        best=best,
        judged=judged,
        pairs=len(pairs),
        trials=trials,
        units=len(set(units)),
        samples=samples,
        level=level,
        typical=float(np.median(values)) if values else None,
    )


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


def _resolution_of_test(cells: Sequence[Cell]) -> tuple[float, int | None]:
    """The step between neighboring accuracies in points, and the number of test images."""
    counts = {c.record.accuracy.samples for c in cells if c.record} - {None}
    samples = min((n for n in counts if n), default=None)
    return (100 / samples if samples else 0.0), samples


def _comparisons(
    scores: Scores,
    pairs: Sequence[str],
    whole: Sequence[str],
    baseline: str | None,
    units: Sequence[int],
    step: float,
    level: float,
) -> dict[str, Comparison]:
    others = [method for method in whole if method != baseline]
    if baseline is None or baseline not in whole or not others:
        return {}
    differences = {
        m: [statistics.paired(scores[m, p], scores[baseline, p], step) for p in pairs]
        for m in others
    }
    means = np.array([[d.mean for d in differences[m]] for m in others]).T
    enough = len(set(units)) >= MIN_UNITS
    across: Sequence[Estimate | None] = [None] * len(others)
    if enough:
        across = statistics.across_units(means, units, level)
    return {
        method: Comparison(
            method,
            {pair: d.mean for pair, d in zip(pairs, differences[method], strict=True)},
            _these(differences[method], len(others), level),
            like_these,
        )
        for method, like_these in zip(others, across, strict=True)
    }


def _these(differences: Sequence[Difference], comparisons: int, level: float) -> Estimate | None:
    return statistics.estimate(statistics.over_pairs(differences), comparisons, level)


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


def _best(
    scores: Scores,
    pairs: Sequence[str],
    methods: Sequence[str],
    whole: Sequence[str],
    units: Sequence[int],
    step: float,
    level: float,
) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """The columns of which something can be said, and the best methods of each."""
    inside: dict[str, dict[str, bool]] = {}
    for pair in pairs:
        there = [m for m in methods if (m, pair) in scores]
        if len(there) > 1 and len(scores[there[0], pair]) > 1:
            cube = _cube(scores, [pair], there)
            inside[pair] = dict(
                zip(there, statistics.best_by_trials(cube, step, level), strict=True)
            )
    if len(pairs) > 1 and len(whole) > 1:
        cube = _cube(scores, pairs, whole)
        if len(set(units)) >= MIN_UNITS:
            found = statistics.best_set(cube.mean(axis=2), units, level)
            inside[""] = dict(zip(whole, found, strict=True))
        elif cube.shape[2] > 1:
            found = statistics.best_by_trials(cube, step, level)
            inside[""] = dict(zip(whole, found, strict=True))
    best = {
        column: frozenset(method for method, is_in in found.items() if is_in)
        for column, found in inside.items()
        if not all(found.values())
    }
    return frozenset(inside), best


def _cube(scores: Scores, pairs: Sequence[str], methods: Sequence[str]) -> Array:
    """(pairs, methods, trials)"""
    return np.array([[scores[method, pair] for method in methods] for pair in pairs], dtype=float)
