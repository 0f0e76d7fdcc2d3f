"""Response curves: accuracy against the values of an option that a sweep or an ablation varies.

A scale cannot change its kind by a parameter, so values that grow by factors, which are shown on a
logarithmic axis, have a chart of their own.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from results.cells import is_missing
from results.leaderboard import Leaderboard
from results.pivot import Pivot, options, pivots
from results.printed import rounded
from results.report import chart_style as style
from results.report.chart import Chart, Control, Rows

if TYPE_CHECKING:
    import altair as alt

LINEAR, LOG = "response", "response-log"
_TITLES = {LINEAR: "Response curves", LOG: "Response curves, by factors"}
_FEWEST = 2  # points of a curve
_OF_THE_SWEEP = "sweep == null ? datum.sweep == datum.first : datum.name == sweep"


def charts(board: Leaderboard) -> list[Chart]:
    """A chart of the sweeps whose values grow by steps, and one of those that grow by factors."""
    found = [pivot for key in options(board) for pivot in pivots(board, [key])]
    rows = {name: _rows(board, found, name) for name in (LINEAR, LOG)}
    return [_chart(name, made) for name, made in rows.items() if made]


def _chart(name: str, rows: Rows) -> Chart:
    """With a control where there is more than one sweep."""
    sweeps = list(dict.fromkeys(row["name"] for row in rows))
    controls = [Control("sweep", "Sweep", sweeps)] if len(sweeps) > 1 else []
    shown = f"{sweeps[0]}. " if len(sweeps) == 1 else ""
    text = (
        f"{shown}Mean test accuracy at the last epoch ± sample standard deviation over the trials, "
        "for each pair, where every trial is there; filled: the entry's own value. At most the "
        f"first {style.MOST_COLORS} pairs are shown. A value that is chosen by this chart is "
        "chosen on the test set."
    )
    return Chart(name, _TITLES[name], text, _spec(name), {name: rows}, controls)


def is_geometric(values: Sequence[float]) -> bool:
    """Whether positive values grow by factors rather than by steps: 1, 2, 4; not 1, 2, 3.

    That is, three values or more whose logarithms are spaced more evenly than they themselves.
    """
    if len(values) < 3 or min(values) <= 0:
        return False
    ordered = sorted(values)
    return _unevenness([math.log(value) for value in ordered]) < _unevenness(ordered)


def _unevenness(ordered: Sequence[float]) -> float:
    """The widest gap by the mean one."""
    gaps = [b - a for a, b in itertools.pairwise(ordered)]
    return max(gaps) * len(gaps) / sum(gaps)


# ---- data ----------------------------------------------------------------------------------------


def _rows(board: Leaderboard, found: Sequence[Pivot], name: str) -> Rows:
    """One row per curve and value. ``sweep`` is the number of the curve's sweep, from 0."""
    made: list[dict[str, Any]] = []
    sweeps = 0
    for pivot in found:
        curves = _curves(board, pivot)
        numbers = [value.number for value in pivot.values(0) if value.number is not None]
        if curves and (LOG if is_geometric(numbers) else LINEAR) == name:
            title = f"{pivot.name}: {pivot.keys[0]}"
            made += [{**row, "sweep": sweeps, "name": title} for row in curves]
            sweeps += 1
    return made


def _curves(board: Leaderboard, pivot: Pivot) -> list[dict[str, Any]]:
    """The complete cells of pairs that have two of them or more; numbers as tables print them."""
    by_pair: dict[str, list[dict[str, Any]]] = {}
    whole = pivot.board.frame[pivot.board.frame["complete"]]
    for cell in whole.to_dict("records"):
        (value,), label = pivot.rows[cell["method"]]
        if value.number is not None:
            row = _row(board, label, cell) | {"x": value.number, "value": value.text}
            row["own"] = (value,) == pivot.own
            by_pair.setdefault(cell["pair"], []).append(row)
    return [row for rows in by_pair.values() if len(rows) >= _FEWEST for row in rows]


def _row(board: Leaderboard, label: str, cell: dict[Any, Any]) -> dict[str, Any]:
    mean, std = cell["mean"], cell["std"]
    spread = None if is_missing(std) else rounded(std)
    place = board.pairs.index(cell["pair"])
    low, high = (mean - (spread or 0.0), mean + (spread or 0.0))
    scores = {"accuracy": rounded(mean), "low": rounded(low, 4), "high": rounded(high, 4)}
    return {"method": label, "pair": cell["pair"], "order": place, "spread": spread, **scores}


# ---- specification -------------------------------------------------------------------------------


@functools.cache
def _spec(name: str) -> dict[str, Any]:
    shown = (
        style.first_ten(_layers(name).transform_filter(style.CHOSEN))
        .transform_filter(style.IN_PAIRS)
        .transform_joinaggregate(first="min(sweep)")
        .transform_filter(_OF_THE_SWEEP)
        .transform_calculate(
            text="format(datum.accuracy, '.2f') + "
            "(isValid(datum.spread) ? ' ± ' + format(datum.spread, '.2f') : '')"
        )
        .resolve_scale(color="independent", strokeDash="independent")
    )
    text = "datum.value + ': ' + datum.text"
    return style.specification(style.described(shown, text, "pair"), ["sweep"])


def _layers(name: str) -> alt.LayerChart:
    """A line for each pair, its points and their spreads."""
    import altair as alt

    kind: Any = {"type": "log"} if name == LOG else {"zero": False}
    x = alt.X(
        "x:Q",
        axis=style.axis("value of the option"),
        scale=alt.Scale(nice=False, **kind),
    )
    axis = style.axis("test top-1 accuracy (%)")
    y = alt.Y("accuracy:Q", axis=axis, scale=alt.Scale(zero=False))
    stroke: Any = {"symbolType": "stroke", "symbolStrokeWidth": 2, "orient": "top"}
    color = _by_pair(alt.Color, style.COLORS, **stroke)
    dash = _by_pair(alt.StrokeDash, style.DASHES, **stroke)
    plain = _by_pair(alt.Color, style.COLORS, shown=False)
    tooltip = ["pair:N", "value:N", alt.Tooltip("text:N", title="accuracy (%)")]
    base = alt.Chart()
    filled: Any = alt.condition("datum.own", alt.value(1), alt.value(0))
    return style.layered(
        name,
        base.mark_rule(aria=False, opacity=0.6).encode(x=x, y="low:Q", y2="high:Q", color=plain),
        base.mark_line(strokeWidth=1.8, aria=False).encode(x=x, y=y, color=color, strokeDash=dash),
        base.mark_point(filled=False, size=60, opacity=1, fillOpacity=0).encode(
            x=x, y=y, color=plain, tooltip=tooltip, description="description:N"
        ),
        base.mark_point(filled=True, size=60, aria=False).encode(
            x=x, y=y, color=plain, opacity=filled
        ),
    )


def _by_pair(channel: Any, values: Sequence[Any], shown: bool = True, **legend: Any) -> Any:
    import altair as alt

    made = style.categories(channel, "pair:N", values, shown, **legend)
    made["sort"] = alt.EncodingSortField(field="order", op="min")
    return made
