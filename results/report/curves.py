"""Learning curves: from the texts of histories to numbers. Pure functions; accuracies in percent.

A curve is the top-1 accuracy by epoch of the main stage, on the test set, or on the held-out part
where the run was evaluated on that. Curves of several trials are averaged at the epochs that all of
them have.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from results.statistics import LEVEL

SPLITS = ("test", "validation")
MOST_POINTS = 60  # of one curve: more cannot be told apart in a figure of a page's width
_MOST_EPOCHS = 10**9  # what drawing takes for a whole number ends at 2⁶⁴

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

    The last line of an epoch counts: a run that was resumed may have written it twice. ValueError
    where an accuracy or an epoch is no number, or no percentage, or the text is no table.
    """
    rows = _rows(history)
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
    wrong = next((value for value in found.values() if not 0 <= value <= 100), None)
    if wrong is not None:  # or not finite
        raise ValueError(f"an accuracy of {wrong:g}: expected 0 to 100")
    if any(abs(number) > _MOST_EPOCHS for number in found):
        raise ValueError(f"an epoch beyond {_MOST_EPOCHS:,}")
    return split, found


def _rows(text: str) -> Iterator[list[str]]:
    try:
        yield from csv.reader(io.StringIO(text, newline=""))
    except csv.Error as error:  # e.g. a field of a megabyte; no ValueError
        raise ValueError(str(error)) from error


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
