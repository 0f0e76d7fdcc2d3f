"""What tuning is worth: the best validation accuracy to expect of a budget."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from results.leaderboard import Leaderboard
from results.printed import rounded
from results.report import chart_style as style
from results.report.chart import Chart, Control, Rows
from results.tuning import Search, Tuning

if TYPE_CHECKING:
    import altair as alt

CONFIGURATIONS, TIME = "configurations", "hours of training"


def charts(board: Leaderboard) -> list[Chart]:
    """The chart, where a search of two configurations or more is complete."""
    tuning = board.tuning
    rows = _rows(board, tuning) if tuning else []
    if tuning is None or not any(len(row["k"]) > 1 for row in rows):
        return []
    controls = []
    pairs = [pair for pair in board.pairs if any(row["pair"] == pair for row in rows)]
    if len(pairs) > 1 and not _is_one_for_all(tuning):
        controls.append(Control("pair", "Pair", pairs))
    if any(row["hours"] is not None for row in rows):
        controls.append(Control("budget", "Budget", [CONFIGURATIONS, TIME]))
    text = _description(tuning)
    return [Chart("tuning", "Tuning against its budget", text, _spec(), {"tuning": rows}, controls)]


def _description(tuning: Tuning) -> str:
    where = "on all pairs together" if _is_one_for_all(tuning) else "on one pair"
    return (
        f"Expected validation accuracy {where} of the best of k configurations, drawn at random "
        "without replacement from those that were tried. Hours: k times what a configuration of "
        "the method took on average, as recorded. At most the first "
        f"{style.MOST_COLORS} of the methods chosen are shown."
    )


def _is_one_for_all(tuning: Tuning) -> bool:
    return tuning.joint and len({search.pairs for search in tuning.searches}) == 1


def _rows(board: Leaderboard, tuning: Tuning) -> Rows:
    """One row per method and pair; a choice for several pairs stands at each of them."""
    order = {method: i for i, method in enumerate(board.methods)}
    return [
        {**_curve(search), "method": method, "order": order[method], "pair": pair, "at": at}
        for search in tuning.ordered(board.methods)
        for method in [_shown(search, tuning, order)]
        for at, pair in enumerate(board.pairs)
        if pair in search.pairs and search.curve
    ]


def _shown(search: Search, tuning: Tuning, order: dict[str, int]) -> str:
    """The row of the board by whose choice the curve is shown."""
    return search.label if search.label in order else tuning.tuned[search.label]


def _curve(search: Search) -> dict[str, Any]:
    """Numbers as tables print them; ``hours`` of each budget, None where they are not known."""
    curve, hours = search.curve, search.hours(1)
    return {
        "k": list(range(1, len(curve) + 1)),
        "value": [rounded(mean) for mean, _ in curve],
        "spread": [rounded(std) for _, std in curve],
        "hours": None if hours is None else round(hours, 6),
    }


# ---- specification -------------------------------------------------------------------------------


@functools.cache
def _spec() -> dict[str, Any]:
    names = [CONFIGURATIONS, TIME]
    against = style.choice(names, "budget")
    chosen = style.of_one_pair(_layers().transform_filter(style.CHOSEN))
    whole = (
        style.first_ten(chosen)
        .transform_flatten(["k", "value", "spread"])
        .transform_calculate(
            x=f"[datum.k, isValid(datum.hours) ? datum.k * datum.hours : null][{against}]",
            text="format(datum.value, '.2f') + ' ± ' + format(datum.spread, '.2f')",
        )
        .transform_filter("isValid(datum.x)")
        .resolve_scale(color="independent", strokeDash="independent")
        .properties(title=style.below(names, "budget"))
    )
    text = "'best of ' + datum.k + ': ' + datum.text"
    return style.specification(style.described(whole, text), ["pair", "budget"])


def _layers() -> alt.LayerChart:
    """A line and points for each method; bands would cover one another."""
    import altair as alt

    whole: Any = alt.ExprRef(f"{style.choice([CONFIGURATIONS, TIME], 'budget')} == 0 ? 1 : 0")
    ticks = style.axis(None, tickMinStep=whole)
    x = alt.X("x:Q", axis=ticks, scale=alt.Scale(zero=False, nice=False))
    axis = style.axis("expected best validation accuracy (%)")
    y = alt.Y("value:Q", axis=axis, scale=alt.Scale(zero=False))
    stroke: Any = {"symbolType": "stroke", "symbolStrokeWidth": 2, "orient": "top"}
    color = style.by_method(alt.Color, style.COLORS, **stroke)
    dash = style.by_method(alt.StrokeDash, style.DASHES, **stroke)
    plain = style.by_method(alt.Color, style.COLORS, shown=False)
    tooltip = ["method:N", "k:Q", alt.Tooltip("text:N", title="best of k")]
    base = alt.Chart()
    return style.layered(
        "tuning",
        base.mark_line(strokeWidth=1.8, aria=False).encode(x=x, y=y, color=color, strokeDash=dash),
        base.mark_point(filled=True, size=40, opacity=1).encode(
            x=x, y=y, color=plain, tooltip=tooltip, description="description:N"
        ),
    )
