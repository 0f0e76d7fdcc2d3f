"""A table's verdicts as data: what csv and json hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from results.statistics import Estimate
from results.verdicts import LIKE_THESE, THESE, Comparison, Verdicts

if TYPE_CHECKING:
    import pandas as pd


def objects(verdicts: Verdicts) -> dict[str, Any]:
    """The json's ``verdicts``: how they were made, one object per method, the best per column.

    Differences, intervals and errors are in points; ``best`` has the average under "average".
    """
    return {
        "baseline": verdicts.baseline,
        "confidence": round(1 - verdicts.level, 6),
        "basis": verdicts.basis,
        "pairs": verdicts.pairs,
        "independent_pairs": verdicts.units,
        "trials": verdicts.trials,
        "test_images": verdicts.samples,
        "resolution": {basis: verdicts.resolution(basis) for basis in (THESE, LIKE_THESE)},
        "methods": [_object(comparison) for comparison in verdicts.comparisons.values()],
        "best": {column or "average": sorted(best) for column, best in verdicts.best.items()},
    }


def _object(comparison: Comparison) -> dict[str, Any]:
    pair, worst = comparison.worst
    return {
        "method": comparison.method,
        "difference": comparison.mean,
        "verdict": comparison.headline.verdict if comparison.headline else None,
        "these_pairs": _estimate(comparison.these),
        "pairs_like_these": _estimate(comparison.like_these),
        "by_pair": dict(comparison.by_pair),
        "improved": comparison.improved,
        "worst_pair": pair,
        "worst": worst,
        "image_error": comparison.image_error,
    }


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "low": estimate.low,
        "high": estimate.high,
        "p": estimate.p,
        "verdict": estimate.verdict,
    }


def beside(frame: pd.DataFrame, verdicts: Verdicts) -> pd.DataFrame:
    """A board's frame with the verdicts of its rows, if there are any.

    difference           of the cell to the baseline's, on this pair
    average_difference   of the row, with ``low``, ``high``, ``p`` and ``verdict``; on ``basis``
    """
    if verdicts.basis is None:
        return frame
    frame = frame.copy()
    found = [verdicts.comparisons.get(method) for method in frame["method"]]
    heads = [comparison.headline if comparison else None for comparison in found]
    frame["difference"] = [
        comparison.by_pair[pair] if comparison else None
        for comparison, pair in zip(found, frame["pair"], strict=True)
    ]
    frame["average_difference"] = [head.mean if head else None for head in heads]
    for name in ("low", "high", "p", "verdict"):
        frame[name] = [getattr(head, name) if head else None for head in heads]
    frame["basis"] = [verdicts.basis if head else None for head in heads]
    return frame
