"""Charts of differences to the baseline: with intervals, pair by pair, and on how many pairs."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from results.leaderboard import Leaderboard
from results.printed import rounded, signed
from results.report import chart_style as style
from results.report.chart import Chart, Rows
from results.statistics import ABOVE, BELOW, UNDECIDED
from results.verdict_tables import interval

if TYPE_CHECKING:
    import altair as alt

_NO_VERDICT = "no verdict"
_VERDICTS = [ABOVE, UNDECIDED, BELOW, _NO_VERDICT]
_VERDICT_COLORS = [style.BLUE, style.GRAY, style.VERMILLION, style.PURPLE]
_VERDICT_SHAPES = ["triangle-up", "circle", "triangle-down", "diamond"]
_FITS = 36  # pixels of a column that "+12.34" needs
_CELL = 20  # pixels of a row


def charts(board: Leaderboard) -> list[Chart]:
    """What can be said of the differences; none without a baseline that is there."""
    compared = _compared(board)
    found = [_forest(board, compared)] if compared else []
    cells = _cells(board)
    if cells and len(board.pairs) > 1:
        found.append(_heatmap(board, cells))
        found += [_improved(board, compared)] if compared else []
    return found


def points(board: Leaderboard, only: str | None = None) -> dict[tuple[str, str], float]:
    """(method, pair) -> points above the baseline, where both cells are complete.

    only  of this method; default: of all
    """
    whole = board.frame[board.frame["complete"]]
    if only is not None:
        whole = whole[whole["method"].isin([only, board.baseline])]
    names = zip(whole["method"], whole["pair"], strict=True)
    means = dict(zip(names, whole["mean"].tolist(), strict=True))
    exact = board.verdicts.comparisons
    return {
        (method, pair): exact[method].by_pair[pair]
        if method in exact
        else mean - means[board.baseline, pair]
        for (method, pair), mean in means.items()
        if method != board.baseline and (board.baseline, pair) in means
    }


# ---- intervals -----------------------------------------------------------------------------------


def _compared(board: Leaderboard) -> Rows:
    order = {method: i for i, method in enumerate(board.methods)}
    rows = []
    for method, comparison in board.verdicts.comparisons.items():
        found = comparison.headline
        rows.append(
            {
                "method": method,
                "order": order[method],
                "difference": comparison.mean,
                "low": found.low if found else None,
                "high": found.high if found else None,
                "verdict": found.verdict if found else _NO_VERDICT,
                "text": interval(found) if found else signed(comparison.mean),
                "of": len(board.pairs),
                "pair": list(comparison.by_pair),
                "by_pair": list(comparison.by_pair.values()),
            }
        )
    return rows


def _forest(board: Leaderboard, rows: Rows) -> Chart:
    several = len(board.pairs) > 1
    basis = board.verdicts.basis
    lines = f"Lines: the interval of the verdict ({basis})." if basis else "There is no verdict."
    text = f"Points of test accuracy above or below {board.baseline}, per method. {lines}"
    if several:
        text += " For a part of the pairs: their mean, of which there is no verdict."
    title = f"Differences to {board.baseline}"
    return Chart("differences", title, text, _forest_spec(board.baseline), {"differences": rows})


@functools.cache
def _forest_spec(baseline: str | None) -> dict[str, Any]:
    import altair as alt

    base = alt.Chart()
    y = style.method_axis("shown")
    title = f"Δ to {style.short(baseline or '')} (points)"
    x = alt.X("shown:Q", axis=style.zero_axis(title), scale=alt.Scale(zero=True, padding=8))
    color = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=_VERDICTS, range=_VERDICT_COLORS),
        legend=alt.Legend(title=None, orient="top", columns=style.per_line(110)),
    )
    shape = alt.Shape("verdict:N", scale=alt.Scale(domain=_VERDICTS, range=_VERDICT_SHAPES))
    tooltip = [alt.Tooltip("method:N"), alt.Tooltip("text:N", title="difference")]
    lines = base.mark_rule(strokeWidth=2, aria=False)
    marks = base.mark_point(filled=True, size=70, opacity=1)
    chart = style.layered(
        "differences",
        lines.encode(x=alt.X("start:Q"), x2="end:Q", y=y, color=color, tooltip=tooltip),
        marks.encode(
            x=x, y=y, color=color, shape=shape, tooltip=tooltip, description="description:N"
        ),
    )
    return style.specification(style.described(_means(chart), "datum.text"), step=style.ROW)


def _means(chart: alt.LayerChart) -> alt.LayerChart:
    """Per method the estimate over all pairs; for a part of them, the mean of their differences.

    An interval is of all pairs: it says nothing about a part.
    """
    kept: Any = ["order", "method", "difference", "low", "high", "verdict", "text", "of"]
    whole = "datum.number == datum.of"
    part = "format(datum.mean, '+.2f') + ' on the pairs chosen'"
    return (
        style.of_chosen_pairs(chart, "by_pair")
        .transform_aggregate(mean="mean(by_pair)", number="count()", groupby=kept)
        .transform_calculate(
            shown=f"{whole} ? datum.difference : datum.mean",
            verdict=f"{whole} ? datum.verdict : '{_NO_VERDICT}'",
            text=f"{whole} ? datum.text : {part}",
        )
        .transform_calculate(
            start=f"{whole} && isValid(datum.low) ? datum.low : datum.shown",
            end=f"{whole} && isValid(datum.high) ? datum.high : datum.shown",
        )
    )


# ---- pair by pair --------------------------------------------------------------------------------


def _cells(board: Leaderboard) -> Rows:
    """One row per method: its differences as tables print them, with the accuracies."""
    if board.baseline is None:
        return []
    by_method: dict[str, list[tuple[str, float]]] = {}
    for (method, pair), value in points(board).items():
        by_method.setdefault(method, []).append((pair, value))
    at = {pair: i for i, pair in enumerate(board.pairs)}
    return [
        {
            "method": method,
            "order": board.methods.index(method),
            "pair": [pair for pair, _ in cells],
            "at": [at[pair] for pair, _ in cells],
            "difference": [rounded(value) for _, value in cells],
        }
        for method, cells in by_method.items()
    ]


def _heatmap(board: Leaderboard, rows: Rows) -> Chart:
    text = (
        f"Points of test accuracy above (blue) or below (orange) {board.baseline} on every pair; "
        "cells that lack a trial are empty. Methods are sorted by their mean."
    )
    limit = _limit([abs(value) for row in rows for value in row["difference"]])
    return Chart("heatmap", "Differences by pair", text, _heatmap_spec(limit), {"heatmap": rows})


def _limit(sizes: Sequence[float]) -> float:
    """The end of the scale: what 95 % of the cells are below, so that one outlier pales no other.

    Rounded up to tenths, or to whole points from ten on.
    """
    size = sorted(sizes)[int(0.95 * (len(sizes) - 1))] or max(sizes) or 1.0
    return float(math.ceil(size)) if size > 10 else math.ceil(10 * size) / 10


@functools.cache
def _heatmap_spec(limit: float) -> dict[str, Any]:
    import altair as alt

    base = alt.Chart()
    y = style.method_axis("difference", op="mean")
    axis = alt.Axis(title=None, orient="top", labelAngle=-40, labelLimit=150, ticks=False)
    x = alt.X("pair:N", sort=alt.EncodingSortField(field="at", op="min"), axis=axis)
    scale = alt.Scale(
        domain=[-limit, 0, limit], range=["#B35806", "#F7F7F7", "#2166AC"], clamp=True
    )
    legend = alt.Legend(title="points", orient="bottom", gradientLength=160)
    color = alt.Color("difference:Q", scale=scale, legend=legend)
    tooltip = ["method:N", "pair:N", alt.Tooltip("text:N", title="difference")]
    dark = f"abs(datum.difference) > {0.85 * limit:g}"
    number = base.mark_text(fontSize=10, aria=False).encode(
        text="text:N",
        color=alt.condition(dark, alt.value("white"), alt.value("#111")),
        opacity=alt.condition(f"bandwidth('x') >= {_FITS}", alt.value(1), alt.value(0)),
        x=x,
        y=y,
    )
    cells = base.mark_rect().encode(
        x=x, y=y, color=color, tooltip=tooltip, description="description:N"
    )
    chart = style.of_chosen_pairs(
        style.layered("heatmap", cells, number), "at", "difference"
    ).transform_calculate(text="format(datum.difference, '+.2f')")
    whole = style.described(chart, "datum.pair + ': ' + datum.text")
    return style.specification(whole, step=_CELL)


# ---- how many pairs ------------------------------------------------------------------------------


def _improved(board: Leaderboard, rows: Rows) -> Chart:
    text = f"On how many pairs the method's mean test accuracy is above that of {board.baseline}."
    return Chart("improved", "Pairs improved", text, _improved_spec(), {"differences": rows})


@functools.cache
def _improved_spec() -> dict[str, Any]:
    import altair as alt

    base = alt.Chart()
    y = style.method_axis("place")
    axis = style.zero_axis("pairs improved", at=0.5, format="%", values=[0, 0.25, 0.5, 0.75, 1])
    x = alt.X("share:Q", stack=None, scale=alt.Scale(domain=[0, 1]), axis=axis)
    tooltip = ["method:N", alt.Tooltip("text:N", title="pairs improved")]
    bars = base.mark_bar(color=style.BLUE, height={"band": 0.6})
    numbers = base.mark_text(align="left", dx=4, fontSize=10, aria=False)
    chart = style.layered(
        "differences",
        bars.encode(x=x, y=y, tooltip=tooltip, description="description:N"),
        numbers.encode(x=x, y=y, text="text:N"),
    )
    return style.specification(style.described(_shares(chart), "datum.text"), step=style.ROW)


def _shares(chart: alt.LayerChart) -> alt.LayerChart:
    return (
        style.of_chosen_pairs(chart, "by_pair")
        .transform_calculate(better="datum.by_pair > 0 ? 1 : 0")
        .transform_aggregate(
            improved="sum(better)", number="count()", mean="mean(by_pair)",
            groupby=["order", "method"],
        )
        .transform_calculate(
            share="datum.improved / datum.number",
            text="datum.improved + '/' + datum.number",
            place="datum.improved / datum.number + 1e-6 * datum.mean",  # equal ones by their mean
        )
    )  # fmt: skip
