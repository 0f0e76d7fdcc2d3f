"""What differences between methods are evidence for. Pure functions on arrays; points throughout.

Two questions, two inferences (Demšar, JMLR 2006, and Benavoli et al., JMLR 2017, discuss both):

* *These pairs*: would the same pairs, trained again, show the difference? Its noise is that of the
  trials within each pair (`paired`, `welch`, `over_pairs`); pairs are fixed. Each comparison uses
  its own spread. One pooled over methods would be more precise, but where methods differ in spread,
  up to a fifth of tables then hold a false verdict (results/reports/verdicts.md).
* *Pairs like these*: would other pairs of this kind show it? Its units are the pairs' means
  (`across_units`); trials only make a pair's mean more precise, they are never units.

Every comparison of a table is paid for: by Bonferroni within pairs, by the distribution of the
largest statistic of all methods across them (Westfall and Young, 1993).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LEVEL = 0.05  # the share of tables with any false verdict
MIN_UNITS = 6  # pairs; five have 16 patterns of signs, so nothing could be significant at 0.05
_EXACT_UNITS = 14  # up to here all patterns of signs are enumerated, beyond it as many are drawn
_TOLERANCE = 1e-9  # relative; sums of the same numbers in another order must count as equal

ABOVE, BELOW, UNDECIDED = "above", "below", "not separated"


@dataclass(frozen=True)
class Difference:
    """A mean difference, its standard error and the degrees of freedom of that error."""

    mean: float
    error: float
    freedom: float


@dataclass(frozen=True)
class Estimate:
    """A mean difference with its interval and p-value, both for all comparisons made together."""

    mean: float
    low: float
    high: float
    p: float

    @property
    def verdict(self) -> str:
        """Whether the interval excludes 0, and where it lies."""
        return ABOVE if self.low > 0 else BELOW if self.high < 0 else UNDECIDED

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


# ---- trial noise ---------------------------------------------------------------------------------


def paired(a: Sequence[float], b: Sequence[float], step: float = 0.0) -> Difference:
    """a − b of one pair where trial i of both shares its initial weights and batches.

    ``step``: the distance of two neighboring scores, 100 / n for an accuracy on n images. Three
    trials that happen to differ by the same few images have no spread, which would prove anything;
    the variance is at least that of rounding two scores to such steps (step² / 12 each).
    """
    values = np.subtract(a, b)
    if len(values) < 2:
        return Difference(_mean(values), math.nan, math.nan)
    variance = max(float(values.var(ddof=1)), step**2 / 6)
    return Difference(_mean(values), math.sqrt(variance / len(values)), len(values) - 1)


def welch(a: Sequence[float], b: Sequence[float], step: float = 0.0) -> Difference:
    """a − b of one pair whose trials have nothing in common (Welch, 1947); ``step`` as `paired`."""
    mean = _mean(a) - _mean(b)
    if min(len(a), len(b)) < 2:
        return Difference(mean, math.nan, math.nan)
    parts = [max(float(np.var(x, ddof=1)), step**2 / 12) / len(x) for x in (a, b)]
    return Difference(mean, math.sqrt(sum(parts)), _satterthwaite(parts, [len(a) - 1, len(b) - 1]))


def over_pairs(differences: Sequence[Difference]) -> Difference:
    """The mean over fixed pairs, from each pair's own trial noise."""
    mean = _mean([d.mean for d in differences])
    parts = [d.error**2 for d in differences]
    freedom = _satterthwaite(parts, [d.freedom for d in differences])
    return Difference(mean, math.sqrt(sum(parts)) / len(parts), freedom)


def best_by_trials(scores: Array, step: float = 0.0, level: float = LEVEL) -> list[bool]:
    """Per method, whether the trials of these pairs cannot tell it apart from the best.

    ``scores`` (pairs, methods, trials), paired by trial. A method is out if any other is above it
    by Student's t, one-sided, Bonferroni over the others: the truly best one is out with at most
    ``level`` probability (Hsu, 1981). All are in if there is only one trial.
    """
    from scipy import stats

    pairs, methods, trials = scores.shape
    if trials < 2 or methods < 2:
        return [True] * methods
    differences = scores[:, :, None] - scores[:, None]  # (pairs, methods, methods, trials)
    variances = np.maximum(differences.var(axis=3, ddof=1), step**2 / 6) / trials
    total = variances.sum(axis=0)
    fourth = np.where(total > 0, (variances**2).sum(axis=0), 1.0)
    freedom = np.where(total > 0, total**2 * (trials - 1) / fourth, pairs * (trials - 1))
    statistic = _ratio(differences.mean(axis=3).mean(axis=0), np.sqrt(total) / pairs)
    below = statistic < -stats.t.isf(level / (methods - 1), freedom)
    return [not row.any() for row in below]


def _satterthwaite(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variances (Satterthwaite, 1946)."""
    below = sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    if below:
        return sum(variances) ** 2 / below
    return float(sum(freedoms))


def estimate(difference: Difference, comparisons: int, level: float = LEVEL) -> Estimate | None:
    """By Student's t, at ``level`` for all ``comparisons`` together (Bonferroni).

    None where there is no spread to judge by: one trial, or a difference that is always the same.
    """
    from scipy import stats

    mean, error = difference.mean, difference.error
    if not error > 0:  # NaN, too
        return Estimate(0.0, 0.0, 0.0, 1.0) if error == mean == 0 else None
    p = min(1.0, comparisons * 2 * float(stats.t.sf(abs(mean) / error, difference.freedom)))
    half = float(stats.t.isf(level / comparisons / 2, difference.freedom)) * error
    return Estimate(mean, mean - half, mean + half, p)


# ---- across pairs --------------------------------------------------------------------------------


def across_units(
    differences: Array, units: Sequence[Hashable] = (), level: float = LEVEL
) -> list[Estimate]:
    """Mean differences over pairs with simultaneous intervals and adjusted p-values.

    differences  (pairs, methods): each pair's mean difference to the baseline
    units        per pair, what it belongs to: pairs that share runs, such as the student alone, are
                 one unit and change sign together; default: every pair its own

    The test is exact if, without an effect, a unit's differences are as likely as with their signs
    turned: every pattern of signs is tried on all methods at once, and a p-value is the share of
    patterns whose largest |t| over all methods reaches the observed one. t is `_moderated`. The
    intervals' critical value is that of the largest |t| of the residuals under the same patterns;
    where the exact test does not reject, an interval is extended to 0. ValueError under
    `MIN_UNITS` units.
    """
    totals, sizes = _by_unit(differences, units)
    signs = _signs(len(sizes))
    mean, error = _means(totals, sizes), _errors(totals, sizes)
    scale = _moderated(error)
    statistic = _ratio(np.abs(mean), scale)
    largest = np.abs(_flipped(totals, sizes, signs)).max(axis=1)
    p = (largest[:, None] >= statistic * (1 - _TOLERANCE)).mean(axis=0)
    half = _critical(totals - sizes[:, None] * mean, sizes, signs, level) * scale
    rows = zip(mean, mean - half, mean + half, p, strict=True)
    return [_decided(Estimate(*map(float, row)), level) for row in rows]


def best_set(means: Array, units: Sequence[Hashable] = (), level: float = LEVEL) -> list[bool]:
    """Per method, whether it cannot be told apart from the best.

    ``means`` (pairs, methods). A method is out if some other is above it in the test of
    `across_units` over all pairs of methods: which one looks best is chosen anew under every
    pattern of signs, so choosing it costs nothing. ValueError under `MIN_UNITS` units.
    """
    first, second = np.triu_indices(means.shape[1], 1)
    inside = [True] * means.shape[1]
    if not len(first):
        return inside
    totals, sizes = _by_unit(means[:, first] - means[:, second], units)
    signs = _signs(len(sizes))
    observed = _ratio(_means(totals, sizes), _moderated(_errors(totals, sizes)))
    parts = np.array_split(signs, max(1, len(signs) // 512))  # bounds the memory
    largest = np.concatenate([np.abs(_flipped(totals, sizes, p)).max(axis=1) for p in parts])
    p = np.array([(largest >= abs(t) * (1 - _TOLERANCE)).mean() for t in observed])
    for i, j, t in zip(first[p <= level], second[p <= level], observed[p <= level], strict=True):
        inside[j if t > 0 else i] = False
    return inside


def _decided(estimate: Estimate, level: float) -> Estimate:
    """With an interval that includes 0 where the exact test does not reject."""
    if estimate.p <= level:
        return estimate
    return replace(estimate, low=min(estimate.low, 0.0), high=max(estimate.high, 0.0))


def _by_unit(values: Array, units: Sequence[Hashable]) -> tuple[Array, Array]:
    """Sums over the pairs of each unit (units, methods), and how many pairs they are (units,)."""
    named = list(units) or list(range(len(values)))
    places = {unit: i for i, unit in enumerate(dict.fromkeys(named))}
    if len(places) < MIN_UNITS:
        raise ValueError(f"{len(places)} independent pairs: a claim needs at least {MIN_UNITS}")
    totals = np.zeros((len(places), values.shape[1]))
    sizes = np.zeros(len(places))
    for unit, row in zip(named, values, strict=True):
        totals[places[unit]] += row
        sizes[places[unit]] += 1
    return totals, sizes


def _signs(units: int) -> Array:
    """Patterns of signs (patterns, units), the first all +1.

    The first unit keeps its sign: a pattern and its opposite have equal |t|.
    """
    if units <= _EXACT_UNITS:
        codes = np.arange(2 ** (units - 1))[:, None]
        bits = codes >> np.arange(units - 1) & 1
    else:
        generator = np.random.default_rng(0)
        bits = generator.integers(0, 2, (2 ** (_EXACT_UNITS - 1), units - 1))
        bits[0] = 0
    return np.hstack([np.ones((len(bits), 1)), 1.0 - 2.0 * bits])


def _means(totals: Array, sizes: Array) -> Array:
    return np.asarray(totals.sum(axis=0) / sizes.sum())


def _errors(totals: Array, sizes: Array) -> Array:
    """Standard errors of `_means`, from the spread of the units: s / √units if sizes are equal."""
    residuals = totals - sizes[:, None] * _means(totals, sizes)
    factor = len(sizes) / (len(sizes) - 1)
    return np.asarray(np.sqrt(factor * (residuals**2).sum(axis=0)) / sizes.sum())


def _flipped(totals: Array, sizes: Array, signs: Array) -> Array:
    """Moderated t (patterns, methods) with the units' signs turned as each pattern says."""
    count, factor = sizes.sum(), len(sizes) / (len(sizes) - 1)
    mean = signs @ totals / count
    # Σ (s z − n m)² = Σ z² − 2 m Σ s n z + m² Σ n², without a third axis
    cross = (signs * sizes) @ totals
    squares = (totals**2).sum(axis=0) - 2 * mean * cross + mean**2 * (sizes**2).sum()
    rounding = _TOLERANCE * (totals**2).sum(axis=0)
    squares = np.where(squares < rounding, 0.0, squares)
    return _ratio(mean, _moderated(np.sqrt(factor * squares) / count))


def _moderated(errors: Array) -> Array:
    """Standard errors (…, methods), each plus their median over the methods.

    The moderation of SAM (Tusher, Tibshirani and Chu, PNAS 2001): of a few units, some method's
    spread is tiny by chance, above all with some signs turned, and its t would dwarf all others.
    """
    return errors + np.median(errors, axis=-1, keepdims=True)


def _ratio(mean: Array, error: Array) -> Array:
    """mean / error: 0 where both are 0, infinite where only the error is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((mean == 0) & (error == 0), 0.0, mean / error)


def _critical(residuals: Array, sizes: Array, signs: Array, level: float) -> float:
    """What the largest |t| exceeds in at most ``level`` of the patterns.

    The observed pattern, without a turned sign, is one of them; the residuals' own t is 0 there.
    Where some patterns leave no spread at all, as differences of a few test images can, their |t|
    is infinite; then Student's t with Bonferroni takes the place of the patterns.
    """
    from scipy import stats

    largest = np.sort(np.abs(_flipped(residuals, sizes, signs)).max(axis=1))[::-1]
    critical = float(largest[max(math.floor(level * len(signs)) - 1, 0)])
    if math.isfinite(critical):
        return critical
    return float(stats.t.isf(level / residuals.shape[1] / 2, len(sizes) - 1))


def median_half_width(estimates: Iterable[Estimate]) -> float:
    """The difference in points by which a typical interval excludes 0: a table's resolution."""
    return float(np.median([estimate.half_width for estimate in estimates]))


# ---- the test set --------------------------------------------------------------------------------


def binomial_error(accuracy: float, samples: int) -> float:
    """Standard error, in points, of an accuracy in percent on ``samples`` drawn images."""
    share = accuracy / 100
    return 100 * math.sqrt(share * (1 - share) / samples)


def image_error(differences: Array) -> float:
    """Standard error, in points, of a mean difference over drawn images.

    ``differences`` (N,), between −1 and 1: of each image, the share of runs that got it right. Of
    single runs, with b and c images that only one of them gets right, it is McNemar's
    100 / N · sqrt((b + c − (b − c)² / N) · N / (N − 1)).
    """
    return 100 * float(np.std(differences, ddof=1)) / math.sqrt(len(differences))


def _mean(values: Sequence[float] | Array) -> float:
    return float(np.mean(values))
