"""How many trials and pairs show a difference of a given size."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from results import statistics
from results.cells import Cell
from results.statistics import LEVEL, MIN_UNITS
from results.verdicts import verdicts

ENOUGH = 0.8  # the usual power
MOST_TRIALS, MOST_PAIRS = 30, 40  # nobody trains more
_TABLES = 60  # simulated for half-widths: power then has a standard error of about 0.03


@dataclass(frozen=True)
class Spread:
    """Standard deviations in points.

    trial  of one run's accuracy over trials
    pair   of a method's true difference to the baseline over pairs
    """

    trial: float
    pair: float


Power = Callable[[float, Spread, int, int, int, float], float]

USUAL = Spread(0.25, 0.4)  # CIFAR-100, 240 epochs: medians over published tables and pairs


def across(
    effect: float, spread: Spread, pairs: int, trials: int, comparisons: int, level: float = LEVEL
) -> float:
    """The probability that a method which is ``effect`` points better is found above the baseline.

    On pairs like these, as one of ``comparisons`` methods; 0 under `MIN_UNITS` pairs.
    """
    from scipy import stats

    if pairs < MIN_UNITS:
        return 0.0
    error = math.sqrt((spread.pair**2 + 2 * spread.trial**2 / trials) / pairs)
    halves = np.array(half_widths(pairs, comparisons, level))
    # Of normal differences, the mean does not depend on the residuals that the interval is from.
    return float(stats.norm.sf(halves - effect / error).mean())


def within(
    effect: float, spread: Spread, pairs: int, trials: int, comparisons: int, level: float = LEVEL
) -> float:
    """The same for exactly these pairs: the noise is that of the trials."""
    from scipy import stats

    if trials < 2:
        return 0.0
    freedom = pairs * (trials - 1)
    error = math.sqrt(2 * spread.trial**2 / trials / pairs)
    critical = stats.t.isf(level / comparisons / 2, freedom)
    return float(stats.nct.sf(critical, freedom, effect / error))


@functools.lru_cache
def half_widths(pairs: int, comparisons: int, level: float = LEVEL) -> tuple[float, ...]:
    """Of `statistics.across_units`' intervals, in standard errors of a mean over pairs.

    One from each of some simulated tables of equal methods with one baseline, whose noise all
    differences share.
    """
    generator = np.random.default_rng((pairs, comparisons))
    values = []
    for _ in range(_TABLES):
        scores = generator.normal(size=(pairs, comparisons + 1))
        first = statistics.across_units(scores[:, 1:] - scores[:, :1], (), level)[0]
        half = min(first.high - first.mean, first.mean - first.low)  # one end may be moved to 0
        values.append(half * math.sqrt(pairs / 2))  # a difference of two has variance 2
    return tuple(values)


def fewest_trials(
    effect: float, spread: Spread, pairs: int, comparisons: int, power: Power, level: float = LEVEL
) -> int | None:
    """Trials from which ``power`` is `ENOUGH`; None if `MOST_TRIALS` are too few."""
    return _first(1, MOST_TRIALS, lambda n: power(effect, spread, pairs, n, comparisons, level))


def fewest_pairs(
    effect: float, spread: Spread, trials: int, comparisons: int, level: float = LEVEL
) -> int | None:
    """Pairs from which `across` is `ENOUGH`; None if `MOST_PAIRS` are too few."""
    return _first(
        MIN_UNITS, MOST_PAIRS, lambda n: across(effect, spread, n, trials, comparisons, level)
    )


def _first(least: int, most: int, power: Callable[[int], float]) -> int | None:
    """The first number of ``least`` … ``most`` with enough power, which grows with it."""
    place = bisect.bisect_left(range(least, most + 1), ENOUGH, key=power)
    return least + place if place <= most - least else None


def observed(cells: Sequence[Cell], baseline: str | None) -> tuple[Spread, int]:
    """The spread on record, and over how many cells of several trials it was taken.

    What the records cannot say (no cell with several trials; under three pairs) is `USUAL`.
    """
    variances = [float(np.var(scores, ddof=1)) for scores in _repeated(cells)]
    if not variances:
        return USUAL, 0
    trial = math.sqrt(float(np.mean(variances)))
    found = verdicts(cells, baseline)
    noise = 2 * trial**2 / found.trials
    by_pair = [list(c.by_pair.values()) for c in found.comparisons.values()]
    if found.pairs < 3 or not by_pair:
        return Spread(trial, USUAL.pair), len(variances)
    between = float(np.mean([np.var(row, ddof=1) for row in by_pair])) - noise
    return Spread(trial, math.sqrt(max(between, 0.0))), len(variances)


def _repeated(cells: Iterable[Cell]) -> list[list[float]]:
    """The accuracies of each cell that has several."""
    groups: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
        if cell.record is not None:
            groups.setdefault((cell.method, cell.pair), []).append(cell.record.top1)
    return [group for group in groups.values() if len(group) > 1]
