"""A table's verdicts in words: their column, the table of comparisons, and what limits them."""

from __future__ import annotations

from results.cells import is_missing
from results.layout import Table
from results.printed import MISSING, number, signed
from results.statistics import MIN_UNITS, Estimate, binomial_error
from results.verdicts import LIKE_THESE, THESE, Comparison, Verdicts


def verdict_cell(verdicts: Verdicts, method: str) -> str:
    """The verdict of a row; empty for the baseline."""
    if method == verdicts.baseline:
        return ""
    comparison = verdicts.comparisons.get(method)
    return comparison.headline.verdict if comparison and comparison.headline else MISSING


def table(verdicts: Verdicts) -> list[Table]:
    """Every method's difference to the baseline, with intervals; empty if nothing can be said."""
    if verdicts.basis is None:
        return []
    shown = list(verdicts.comparisons.values())
    columns: list[tuple[str, list[str]]] = [("Method", [c.method for c in shown])]
    for name, basis in (("these", THESE), ("like_these", LIKE_THESE)):
        estimates = [getattr(c, name) for c in shown]
        if any(estimates):
            columns.append((f"Δ, {_name(basis, verdicts)}", [interval(e) for e in estimates]))
    if verdicts.pairs > 1:
        columns.append(("Improved", [f"{c.improved}/{verdicts.pairs}" for c in shown]))
        columns.append(("Worst pair", [_worst(c) for c in shown]))
    if any(c.image_error is not None for c in shown):
        columns.append(("SE, images", [number(c.image_error) for c in shown]))
    header, texts = zip(*columns, strict=True)
    rows = [list(row) for row in zip(*texts, strict=True)]
    title = f"Differences to {verdicts.baseline} (points)"
    return [Table(title, list(header), rows, notes=_about_intervals(verdicts))]


def by_pair(verdicts: Verdicts) -> list[Table]:
    """Every method's difference to the baseline on each pair; empty without a comparison."""
    shown = list(verdicts.comparisons.values())
    if not shown:
        return []
    pairs = list(shown[0].by_pair)
    several = len(pairs) > 1
    rows = [
        [c.method, *(signed(c.by_pair[pair]) for pair in pairs), *[signed(c.mean)] * several]
        for c in shown
    ]
    title = f"Δ to {verdicts.baseline} by pair (points)"
    return [Table(title, ["Method", *pairs, *["Average"] * several], rows, has_pairs=True)]


def _about_intervals(verdicts: Verdicts) -> list[str]:
    lines = [f"Brackets: intervals that hold with {_confidence(verdicts)}."]
    if any(c.these for c in verdicts.comparisons.values()):
        these = _name(THESE, verdicts)
        lines.append(
            f"{these.capitalize()}: would {these}, trained again, show it? Paired by trial, "
            "Student's t, Bonferroni."
        )
    if verdicts.basis == LIKE_THESE:
        lines.append(
            f"{LIKE_THESE.capitalize()}: would other pairs of this kind show it? The unit is the "
            f"pair's mean ({_units(verdicts)}); exact sign-flip test of the largest moderated |t|."
        )
    if any(c.image_error is not None for c in verdicts.comparisons.values()):
        lines.append(
            "SE, images: standard error of Δ from the choice of the test's images, which all runs "
            "share; it is in no interval."
        )
    return lines


def notes(verdicts: Verdicts) -> list[str]:
    """What the verdicts mean, how small a difference can be seen, and what is bold."""
    return [*_meaning(verdicts), *_resolutions(verdicts), *_bold(verdicts), *_test_set(verdicts)]


def _meaning(verdicts: Verdicts) -> list[str]:
    if verdicts.trials < 2 and verdicts.basis is None:
        return ["One trial per cell: no difference can be judged, and nothing is bold."]
    if verdicts.basis is None:
        lacking = verdicts.baseline is not None and verdicts.typical is not None
        return ["No verdict: a method or the baseline lacks a pair or a trial."] * lacking
    where = _name(verdicts.basis, verdicts)
    again = ", trained again," if verdicts.basis == THESE else ""
    lines = [
        f"Verdict: whether Δ is above or below 0 on {where}{again} with {_confidence(verdicts)}."
    ]
    if verdicts.basis == THESE and verdicts.pairs > 1:
        lines.append(
            f"No claim is made across pairs: it needs {MIN_UNITS} that share no runs, "
            f"here {_units(verdicts)}."
        )
    return lines


def _resolutions(verdicts: Verdicts) -> list[str]:
    size = f"{_count(verdicts.pairs, 'pair')} × {_count(verdicts.trials, 'trial')}"
    found = [(basis, verdicts.resolution(basis)) for basis in (THESE, LIKE_THESE)]
    parts = [
        f"{value:.2f} points (on {_name(basis, verdicts)})"
        for basis, value in found
        if value is not None
    ]
    if not parts:
        return []
    return [f"Resolution: differences below {' or '.join(parts)} cannot be seen with {size}."]


def _bold(verdicts: Verdicts) -> list[str]:
    if not verdicts.judged:
        return []
    if not verdicts.best:
        return ["No method can be told apart from the best of any column, so nothing is bold."]
    line = "Bold: cannot be told apart from the best of its column"
    if verdicts.judged - verdicts.best.keys():
        line += "; no bold in columns where that is true of all"
    return [f"{line}."]


def _test_set(verdicts: Verdicts) -> list[str]:
    if not verdicts.samples or is_missing(verdicts.typical) or verdicts.typical is None:
        return []
    error = binomial_error(verdicts.typical, verdicts.samples)
    return [
        f"Test set: {verdicts.samples:,} images, the same for all. Their choice alone gives an "
        f"accuracy of {verdicts.typical:.1f} % a standard error of {error:.2f} points, which is in "
        "no spread above."
    ]


def _confidence(verdicts: Verdicts) -> str:
    """ "95 % confidence for all 9 comparisons together" """
    number = len(verdicts.comparisons)
    together = f" for all {number} comparisons together" if number > 1 else ""
    return f"{100 * (1 - verdicts.level):g} % confidence{together}"


def _name(basis: str, verdicts: Verdicts) -> str:
    return "this pair" if basis == THESE and verdicts.pairs == 1 else basis


def _units(verdicts: Verdicts) -> str:
    if verdicts.units == verdicts.pairs:
        return _count(verdicts.units, "pair")
    return (
        f"{_count(verdicts.pairs, 'pair')} in {_count(verdicts.units, 'group')}, as pairs that "
        "share runs count as one"
    )


def interval(estimate: Estimate | None) -> str:
    """ "+0.45 [−0.10, +1.00] not separated" """
    if estimate is None:
        return MISSING
    return (
        f"{signed(estimate.mean)} [{signed(estimate.low)}, {signed(estimate.high)}] "
        f"{estimate.verdict}"
    )


def _worst(comparison: Comparison) -> str:
    pair, value = comparison.worst
    return f"{signed(value)} ({pair})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
