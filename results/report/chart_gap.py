"""The capacity gap: what a method gains against how good, or how far ahead, the teacher is."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from results.cells import is_missing, of_one_protocol
from results.leaderboard import Leaderboard
from results.printed import rounded
from results.report import chart_style as style
from results.report.chart import Chart, Control, Rows
from results.report.chart_differences import points

if TYPE_CHECKING:
    import altair as alt

TEACHER, AHEAD = "teacher's accuracy (%)", "teacher minus student alone (points)"
_FOR_A_TREND = 4  # pairs


def charts(board: Leaderboard) -> list[Chart]:
    """The chart, where two pairs at least have teachers of different accuracy."""
    alone = _student_alone(board)
    rows = _rows(board, alone)
    if len({teacher for row in rows for teacher in row["teacher"]}) < 2:
        return []
    text = (
        f"Points above {board.baseline} on each pair, against the pair's teacher; the line is a "
        f"method's linear trend (least squares) over {_FOR_A_TREND} pairs or more. At most the "
        f"first {style.MOST_COLORS} of the methods chosen are shown."
    )
    has_ahead = any(value is not None for row in rows for value in row["ahead"])
    controls = [Control("gap", "Against", [TEACHER, AHEAD])] if has_ahead else []
    spec = _spec(board.baseline)
    return [Chart("gap", "Capacity gap", text, spec, {"gap": rows}, controls)]


def _student_alone(board: Leaderboard) -> str | None:
    """The row without a teacher that the zoo calls vanilla."""
    done = ((c.method, c.record) for c in of_one_protocol(board.cells) if c.record)
    return next((method for method, r in done if r.spec.get("method") == "vanilla"), None)


def _rows(board: Leaderboard, alone: str | None) -> Rows:
    whole = board.frame[board.frame["complete"]]
    names = zip(whole["method"], whole["pair"], strict=True)
    means = dict(zip(names, whole["mean"].tolist(), strict=True))
    found: dict[str, dict[str, list[Any]]] = {}
    for (method, pair), value in points(board).items():
        teacher = board.teacher(pair)[0]
        if is_missing(teacher):
            continue
        student = means.get((alone, pair))
        row = found.setdefault(method, {k: [] for k in ("pair", "difference", "teacher", "ahead")})
        row["pair"].append(pair)
        row["difference"].append(rounded(value))
        row["teacher"].append(teacher)
        row["ahead"].append(None if student is None else teacher - student)
    order = {method: i for i, method in enumerate(board.methods)}
    return [{"method": method, "order": order[method], **row} for method, row in found.items()]


@functools.cache
def _spec(baseline: str | None) -> dict[str, Any]:
    lists = ("difference", "teacher", "ahead")
    against = style.choice([TEACHER, AHEAD], "gap")
    chart = _layers(f"Δ to {style.short(baseline or '')} (points)")
    chosen = style.first_ten(style.of_chosen_pairs(chart, *lists))
    whole = (
        chosen.transform_calculate(x=f"[datum.teacher, datum.ahead][{against}]")
        .transform_filter("isValid(datum.x)")
        .transform_joinaggregate(number="count()", groupby=["order"])
        .transform_calculate(
            description="datum.method + ': ' + datum.pair + ': ' + format(datum.difference, '+.2f')"
        )
        .resolve_scale(color="independent", strokeDash="independent", shape="independent")
        .properties(title=style.below([TEACHER, AHEAD], "gap"))
    )
    return style.specification(whole, ["gap"])


def _layers(title: str) -> alt.LayerChart:
    """A point per method and pair, and a line per method; ``title`` of the y axis."""
    import altair as alt

    scale = alt.Scale(zero=False)
    x = alt.X("x:Q", axis=style.axis(None), scale=scale)
    y = alt.Y("difference:Q", axis=style.zero_axis(title))
    tooltip = [
        alt.Tooltip("method:N"),
        alt.Tooltip("pair:N"),
        alt.Tooltip("difference:Q", format="+.2f"),
        alt.Tooltip("teacher:Q", title="teacher's accuracy", format=".2f"),
    ]
    marks = alt.Chart().mark_point(filled=True, opacity=0.9, size=55)
    trend = (
        alt.Chart()
        .transform_filter(f"datum.number >= {_FOR_A_TREND}")
        .transform_regression("x", "difference", groupby=["order", "method"])
        .mark_line(strokeWidth=1.5, aria=False)
    )
    return style.layered(
        "gap",
        trend.encode(
            x=x, y=y, color=style.by_method(alt.Color, style.COLORS, shown=False),
            strokeDash=style.by_method(alt.StrokeDash, style.DASHES, shown=False),
        ),
        marks.encode(
            x=x, y=y, color=style.by_method(alt.Color, style.COLORS, orient="top"),
            shape=style.by_method(alt.Shape, style.SHAPES, orient="top"), tooltip=tooltip,
            description="description:N",
        ),
    )  # fmt: skip
