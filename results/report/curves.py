"""Learning curves: from the texts of histories to numbers. Pure functions; accuracies in percent.

A curve is the top-1 accuracy by epoch of the main stage, on the test set, or on the held-out part
where the run was evaluated on that. Curves of several trials are averaged at the epochs that all of
them have.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from results.statistics import LEVEL

SPLITS = ("test", "validation")
MOST_POINTS = 60  # of one curve: more cannot be told apart in a figure of a page's width

ByEpoch = Mapping[int, float]


@dataclass(frozen=True)
class Curve:
    """A mean over trials by epoch; ``spread`` is empty where there is one trial.

    spread  of accuracies: the sample standard deviation over the trials (ddof 1); of differences:
            half the width of the pointwise interval of the mean
    """

    epochs: Sequence[int]
    values: Sequence[float]
    spread: Sequence[float]
    trials: int


def accuracies(history: str) -> tuple[str, dict[int, float]]:
    """What a history.csv was evaluated on, and its top-1 accuracies by epoch; ("", {}) if nothing.

    ValueError where an accuracy or an epoch is no number, or not finite.
    """
    rows = csv.reader(io.StringIO(history))
    header = next(rows, [])
    split = next((name for name in SPLITS if f"{name}_top1" in header), "")
    if not split or not {"stage", "epoch"} <= set(header):
        return "", {}
    stage, epoch, column = (header.index(name) for name in ("stage", "epoch", f"{split}_top1"))
    width = len(header)  # of whole rows: the one that is being written may be shorter
    found = {}
    for row in rows:  # one pass: a report reads thousands of histories
        if len(row) == width and row[column] and row[stage] == "main":  # empty: not evaluated
            found[int(row[epoch])] = float(row[column])
    if not all(map(math.isfinite, found.values())):
        raise ValueError("an accuracy that is not finite")
    return split, found


def mean(trials: Sequence[ByEpoch]) -> Curve:
    """The mean over trials and their sample standard deviation."""
    epochs = shared(trials)
    values = _array(trials, epochs)
    spread = values.std(axis=0, ddof=1) if len(trials) > 1 else np.array([])
    return _curve(epochs, values, spread)


def difference(a: Sequence[ByEpoch], b: Sequence[ByEpoch], level: float = LEVEL) -> Curve:
    """The mean of a − b, where trial i of both is paired, with Student's t interval per epoch.

    The intervals hold for one epoch at a time, at ``level``. ValueError where the numbers of
    trials differ.
    """
    from scipy import stats

    epochs = shared([*a, *b])
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} trials: paired differences need as many of both")
    values = _array(a, epochs) - _array(b, epochs)
    n = len(values)
    if n < 2:
        return _curve(epochs, values, np.array([]))
    half = stats.t.isf(level / 2, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return _curve(epochs, values, half)


def shared(trials: Sequence[ByEpoch], most: int = MOST_POINTS) -> list[int]:
    """The epochs that all trials have, at most ``most`` of them, evenly; first and last stay."""
    common = sorted(set.intersection(*map(set, trials))) if trials else []
    if len(common) <= most:
        return common
    places = np.linspace(0, len(common) - 1, most).round().astype(int)
    return [common[place] for place in places]


def _array(trials: Sequence[ByEpoch], epochs: Sequence[int]) -> np.ndarray:
    """(trials, epochs)"""
    return np.array([[trial[epoch] for epoch in epochs] for trial in trials], dtype=float)


def _curve(epochs: Sequence[int], values: np.ndarray, spread: np.ndarray) -> Curve:
    means = values.mean(axis=0) if len(values) else np.array([])
    return Curve(epochs, means.tolist(), spread.tolist(), len(values))
