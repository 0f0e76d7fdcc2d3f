"""Mean ranks over pairs with critical differences, of the methods that are chosen.

The ranks are computed where the chart is drawn, since they depend on what is chosen. The rules are
those of `diagram`: three to ten methods, and enough pairs that share no runs.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from results.cells import Cell
from results.diagram import MOST_METHODS
from results.leaderboard import Leaderboard
from results.printed import settled
from results.report import chart_style as style
from results.report.chart import Chart, Rows
from results.statistics import MIN_UNITS
from results.verdicts import groups_of

if TYPE_CHECKING:
    import altair as alt

FEWEST_METHODS = 3


def charts(board: Leaderboard) -> list[Chart]:
    """The chart, where some choice of methods can be ranked."""
    rows = _rows(board)
    most = max((len(set(row["group"])) for row in rows), default=0)
    if len(rows) < FEWEST_METHODS or most < MIN_UNITS:
        return []
    text = (
        "Mean rank over the pairs (1 is best; ties share the mean rank). Methods whose bars do not "
        f"overlap are apart by Nemenyi's test at {100 * board.level:g} %: each bar is the critical "
        f"difference, half of it to either side. For {FEWEST_METHODS} to {MOST_METHODS} methods, "
        f"and at least {MIN_UNITS} pairs that share no runs."
    )
    return [Chart("ranks", "Mean ranks", text, _spec(board.level), {"ranks": rows})]


def _rows(board: Leaderboard) -> Rows:
    """One row per method that has every pair: its scores, and the groups of pairs sharing runs."""
    groups = _groups(board)
    frame = board.frame.set_index(["method", "pair"])["mean"]
    return [
        {
            "method": method,
            "order": board.methods.index(method),
            "of": len(board.pairs),
            "pair": list(board.pairs),
            "at": list(range(len(board.pairs))),
            "score": [settled(float(frame[method, pair])) for pair in board.pairs],
            "group": groups[method],
        }
        for method in groups
    ]


def _groups(board: Leaderboard) -> dict[str, list[int]]:
    """Per comparable method with every pair, the group of each pair: `groups_of` its runs alone.

    Those of several methods are then the coarsest of theirs, as runs are shared by student. Where
    they are not (no method's groups are those of all methods), every method gets those of all.
    """
    whole = board.frame.groupby("method", sort=False)["complete"].all()
    shown = (method for method in board.methods if whole[method] and method not in board.departing)
    by_method: dict[str, list[Cell]] = {method: [] for method in shown}
    for cell in board.cells:
        if cell.method in by_method:
            by_method[cell.method].append(cell)
    found = {method: groups_of(cells, board.pairs) for method, cells in by_method.items()}
    together = groups_of([c for cells in by_method.values() for c in cells], board.pairs)
    if min((len(set(group)) for group in found.values()), default=0) != len(set(together)):
        return dict.fromkeys(found, together)
    return found


@functools.cache
def critical_values(level: float) -> tuple[float, ...]:
    """Nemenyi's q for 3, 4, …, 10 methods: of the studentized range over √2 (Demšar, table 5a)."""
    from scipy import stats

    counts = range(FEWEST_METHODS, MOST_METHODS + 1)
    quantiles = (stats.studentized_range.isf(level, k, math.inf) for k in counts)
    return tuple(round(float(q) / math.sqrt(2), 6) for q in quantiles)


def can_be_ranked(chart: Chart, methods: Sequence[str] | None, pairs: Sequence[str] | None) -> bool:
    """Whether the chart shows ranks for this choice, or only the sentence what to choose."""
    rows = [row for row in chart.data["ranks"] if methods is None or row["method"] in methods]
    if not FEWEST_METHODS <= len(rows) <= MOST_METHODS:
        return False
    places = [i for i, pair in enumerate(rows[0]["pair"]) if pairs is None or pair in pairs]
    return min(len({row["group"][place] for place in places}) for row in rows) >= MIN_UNITS


# ---- specification -------------------------------------------------------------------------------


@functools.cache
def _spec(level: float) -> dict[str, Any]:
    import altair as alt

    y = style.method_axis("rank", order="ascending")
    ticks = style.axis(None, values=list(range(1, MOST_METHODS + 1)), format="d")
    x = alt.X("rank:Q", axis=ticks, scale=alt.Scale(zero=False, nice=False))
    tooltip = [
        alt.Tooltip("method:N"),
        alt.Tooltip("rank:Q", title="mean rank", format=".2f"),
        alt.Tooltip("difference:Q", title="critical difference", format=".2f"),
        alt.Tooltip("number:Q", title="pairs"),
    ]
    bar = alt.Chart().mark_rule(strokeWidth=5, opacity=0.35, color=style.BLUE, aria=False)
    point = alt.Chart().mark_point(filled=True, opacity=1, size=70, color=style.BLUE)
    chart = style.layered(
        "ranks",
        bar.encode(x=alt.X("low:Q"), x2="high:Q", y=y, tooltip=tooltip),
        point.encode(x=x, y=y, tooltip=tooltip, description="description:N"),
        _message(),
    )
    q = alt.param(name="q", value=list(critical_values(level)))
    text = "'mean rank ' + format(datum.rank, '.2f')"
    whole = (
        style.described(_ranked(chart), text)
        .add_params(q)
        .properties(title=style.heading("'mean rank (1 is best)'"))
    )
    return style.specification(whole, step=style.ROW + 4)


def _ranked(chart: alt.LayerChart) -> alt.LayerChart:
    """Mean ranks; equal scores share the mean of their ranks, as in `diagram.ranks`."""
    kept: Any = ["order", "method", "methods_chosen", "units"]
    chosen = (
        style.of_chosen_pairs(chart, "at", "score", "group")
        .transform_joinaggregate(methods_chosen="distinct(order)")
        .transform_joinaggregate(own="distinct(group)", groupby=["order"])
        .transform_joinaggregate(units="min(own)")
        .transform_filter(
            f"datum.methods_chosen >= {FEWEST_METHODS} && datum.methods_chosen <= {MOST_METHODS}"
            f" && datum.units >= {MIN_UNITS}"
        )
    )
    return (
        style.windowed(chosen, "rank", "first", ["-score"], groupby=["at"])
        .transform_joinaggregate(equal="count()", groupby=["at", "score"])
        .transform_calculate(place="datum.first + (datum.equal - 1) / 2")
        .transform_aggregate(rank="mean(place)", number="count()", groupby=kept)
        .transform_calculate(
            difference=f"q[datum.methods_chosen - {FEWEST_METHODS}] * sqrt("
            "datum.methods_chosen * (datum.methods_chosen + 1) / (6 * datum.number))"
        )
        .transform_calculate(
            low="datum.rank - datum.difference / 2", high="datum.rank + datum.difference / 2"
        )
    )


def _message() -> alt.Chart:
    """Why nothing is ranked, of rows of its own: none of the others may be left."""
    import altair as alt

    wrong = f"datum.chosen < {FEWEST_METHODS} || datum.chosen > {MOST_METHODS}"
    few = f"datum.units < {MIN_UNITS} ? 'choose {MIN_UNITS} pairs that share no runs' : ''"
    return (
        alt.Chart(alt.NamedData("ranks"))
        .transform_calculate(chosen=f"{style.CHOSEN} ? 1 : 0")
        .transform_flatten(["pair", "group"])
        .transform_calculate(inside=f"{style.IN_PAIRS} ? datum.group : -1")
        .transform_calculate(outside="datum.inside < 0 ? 1 : 0")
        .transform_aggregate(
            found="distinct(inside)", outside="max(outside)", groupby=["order", "chosen"]
        )
        .transform_calculate(own="datum.chosen ? datum.found - datum.outside : 1e9")
        .transform_aggregate(chosen="sum(chosen)", units="min(own)")
        .transform_calculate(text=f"{wrong} ? 'choose three to ten methods' : {few}")
        .transform_filter("datum.text != ''")
        .mark_text(align="left", baseline="top", fontSize=13)
        .encode(x=alt.value(8), y=alt.value(8), text="text:N")
    )
