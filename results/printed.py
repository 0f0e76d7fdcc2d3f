"""How tables print a number, so that equal averages have equal digits and share their rank.

Accuracies on 10,000 images have two decimals, so an average over pairs may lie exactly between two
printed numbers. There the last bit of a sum, which depends on what was added up, would decide
whether 13.825 is printed as 13.82 or as 13.83, and which of two equal methods is ahead.
"""

from __future__ import annotations

from typing import Any

from results.cells import is_missing

MISSING = "–"
ROUNDING = 9  # decimals of percent: far finer than an answer of a test set, far above a sum's error


def settled(value: float) -> float:
    """The number without the rounding error of the sum that it comes from."""
    return round(value, ROUNDING)


def rounded(value: float, digits: int = 2) -> float:
    """As `number` prints it; never −0."""
    return round(settled(value), digits) + 0.0


def number(value: Any, digits: int = 2) -> str:
    """ "71.20"; a dash where there is none."""
    return MISSING if is_missing(value) else f"{settled(value):.{digits}f}"


def plus_minus(mean: Any, std: Any, digits: int = 2) -> str:
    """ "71.20 ± 0.31"; without the second where there is none."""
    text = number(mean, digits)
    return text if is_missing(std) else f"{text} ± {number(std, digits)}"


def signed(value: float) -> str:
    """ "+0.27", "−0.10", "+0.00" """
    return f"{rounded(value):+.2f}".replace("-", "−")
