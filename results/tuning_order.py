"""The order of the methods with their own options and with the tuned ones, and how sure it is.

All of it is about these pairs and their trials: the bootstrap draws trials, within each pair and
the same ones for all rows, as trial i of all of them shares initial weights and batches.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from results import statistics
from results.cells import Cell
from results.leaderboard import Leaderboard
from results.printed import ROUNDING
from results.tuning import Tuning
from results.tuning_gains import rows_of, scores_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

DRAWS = 2000
_SEED = 0
FEWEST = 3  # methods: the order of two is their difference
INSIDE = 0.95


@dataclass(frozen=True)
class Place:
    """A row's average in percent, its rank (1 is best), and the interval of the rank.

    ``low`` and ``high`` are None with one trial.
    """

    mean: float
    rank: int
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b of two orders, with the interval of its bootstrap, None with one trial."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Order:
    """Both orders of the methods that have every pair and trial with both options.

    tau        between the two orders
    again      what two repetitions of the own options would have: (low, high), None with one trial
    swapped    pairs of methods whose order differs
    separated  of these, where both differences exclude 0, for all of them together
    """

    own: dict[str, Place]
    tuned: dict[str, Place]
    tau: Tau
    again: tuple[float, float] | None
    swapped: tuple[tuple[str, str], ...]
    separated: tuple[tuple[str, str], ...]
    pairs: int
    trials: int


def order(board: Leaderboard, tuning: Tuning) -> Order | None:
    """None where fewer than `FEWEST` methods are complete with the same trials."""
    cubes = _cubes(board, tuning)
    if len(cubes) < FEWEST:
        return None
    methods = list(cubes)
    own, tuned = (np.stack([cubes[m][i] for m in methods]) for i in (0, 1))  # (M, P, T)
    averages = _averages(own), _averages(tuned)
    drawn, again = _drawn(own, tuned)
    many = own.shape[2] > 1
    swapped = _swapped(*averages)
    judged = _separated(own, tuned, swapped, board.level)
    return Order(
        dict(zip(methods, _places(averages[0], drawn[0] if many else None), strict=True)),
        dict(zip(methods, _places(averages[1], drawn[1] if many else None), strict=True)),
        _tau(averages, drawn if many else None),
        _interval(tau(drawn[0], again)) if many else None,
        tuple((methods[i], methods[j]) for i, j in swapped),
        tuple((methods[i], methods[j]) for i, j in judged),
        own.shape[1],
        own.shape[2],
    )


def _cubes(board: Leaderboard, tuning: Tuning) -> dict[str, tuple[Array, Array]]:
    """Method -> (pairs, trials) of its own and of its tuned row, where both are whole."""
    cells: dict[tuple[str, str], list[Cell]] = {}
    for cell in board.cells:
        cells.setdefault((cell.method, cell.pair), []).append(cell)
    scores = {key: scores_of(group) for key, group in cells.items()}
    trials = max((frozenset(found) for found in scores.values()), key=len, default=frozenset())
    made = {}
    for method, row in rows_of(board, tuning):
        both = [[scores.get((name, p), {}) for p in board.pairs] for name in (method, row)]
        if trials and all(one.keys() == trials for side in both for one in side):
            own, tuned = (np.array([[one[t] for t in sorted(one)] for one in x]) for x in both)
            made[method] = (own, tuned)
    return made


def _averages(scores: Array) -> Array:
    """Of each method, summed as the leaderboard does, so that both print the same digits."""
    return np.array([fmean(fmean(trials) for trials in pairs) for pairs in scores])


# ---- ranks and tau -------------------------------------------------------------------------------


def _signs(a: Array, b: Array) -> Array:
    """Of a − b; 0 where only rounding tells apart means of equally many correct answers."""
    differences = a - b
    return np.where(np.abs(differences) < 10.0**-ROUNDING, 0.0, np.sign(differences))


def ranks(means: Array) -> NDArray[np.int64]:
    """1 for the highest along the last axis; equal ones share the better rank."""
    above = _signs(means[..., None, :], means[..., :, None]) > 0
    return np.asarray(1 + above.sum(axis=-1))


def tau(a: Array, b: Array) -> Array:
    """Kendall's tau-b along the last axis; 0 where one side is all equal."""
    first, second = np.triu_indices(a.shape[-1], 1)
    x, y = (_signs(side[..., first], side[..., second]) for side in (a, b))
    untied = np.sqrt((x != 0).sum(axis=-1) * (y != 0).sum(axis=-1))
    together = (x * y).sum(axis=-1)
    return np.asarray(np.divide(together, untied, out=np.zeros_like(together), where=untied > 0))


def _drawn(own: Array, tuned: Array) -> tuple[tuple[Array, Array], Array]:
    """Bootstrap averages (draws, methods) of both rows; a second draw of the own ones.

    Means of draws from n trials have (n − 1) / n of the variance that means of n trials have; their
    deviations are widened by the root of that (Hesterberg, The American Statistician 2015).
    """
    generator = np.random.default_rng(_SEED)
    methods, pairs, trials = own.shape
    sums = np.zeros((3, DRAWS, methods))
    for pair in range(pairs):
        first, second = generator.integers(0, trials, (2, DRAWS, trials))
        sources = ((own, first), (tuned, first), (own, second))
        for total, (source, chosen) in zip(sums, sources, strict=True):
            total += source[:, pair][:, chosen].mean(axis=2).T
    means = np.stack([side.mean(axis=(1, 2)) for side in (own, tuned, own)])[:, None]
    drawn = means + np.sqrt(trials / max(trials - 1, 1)) * (sums / pairs - means)
    return (drawn[0], drawn[1]), drawn[2]


def _places(means: Array, drawn: Array | None) -> list[Place]:
    found = ranks(means)
    if drawn is None:
        return [Place(float(m), int(r)) for m, r in zip(means, found, strict=True)]
    ends = [(1 - INSIDE) / 2, (1 + INSIDE) / 2]
    low, high = np.quantile(ranks(drawn), ends, axis=0, method="inverted_cdf")
    return [
        Place(float(m), int(r), int(a), int(b))
        for m, r, a, b in zip(means, found, low, high, strict=True)
    ]


def _tau(averages: tuple[Array, Array], drawn: tuple[Array, Array] | None) -> Tau:
    value = float(tau(*averages))
    return Tau(value, *_interval(tau(*drawn))) if drawn else Tau(value)


def _interval(values: Array) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - INSIDE) / 2, (1 + INSIDE) / 2])
    return float(low), float(high)


# ---- pairs of methods ----------------------------------------------------------------------------


def _swapped(own: Array, tuned: Array) -> list[tuple[int, int]]:
    both = itertools.combinations(range(len(own)), 2)
    return [(i, j) for i, j in both if _signs(own[i], own[j]) * _signs(tuned[i], tuned[j]) < 0]


def _separated(
    own: Array, tuned: Array, swapped: Sequence[tuple[int, int]], level: float
) -> list[tuple[int, int]]:
    """Swapped ones apart both before and after: Student's t paired by trial, Bonferroni.

    Every two methods are compared twice; which of them are swapped is seen only afterwards.
    """
    comparisons = len(own) * (len(own) - 1)
    return [
        (i, j)
        for i, j in swapped
        if all(_apart(side[i], side[j], comparisons, level) for side in (own, tuned))
    ]


def _apart(a: Array, b: Array, comparisons: int, level: float) -> bool:
    differences = [statistics.paired(x.tolist(), y.tolist()) for x, y in zip(a, b, strict=True)]
    found = statistics.estimate(statistics.over_pairs(differences), comparisons, level)
    return found is not None and found.verdict != statistics.UNDECIDED
