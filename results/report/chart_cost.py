"""Accuracy against cost, with the methods that no other beats in both."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from results.leaderboard import Leaderboard
from results.printed import number
from results.report import chart_style as style
from results.report.chart import Chart, Control, Rows
from results.schema import Record

if TYPE_CHECKING:
    import altair as alt

SECONDS, STEP, EXTRA = "seconds per run", "step relative to KD", "extra parameters (millions)"
_COLUMNS = {SECONDS: "seconds", STEP: "step_by_kd", EXTRA: "extra_parameters"}
_OF_RECORD: dict[str, Callable[[Record], float | None]] = {
    "seconds": lambda record: record.seconds,
    "speed": lambda record: record.images_per_second,
    "extra": lambda record: record.parameters.extra,
}


def charts(board: Leaderboard) -> list[Chart]:
    """The chart, if there is a cost that was recorded for a method with every pair."""
    costs = [name for name, column in _COLUMNS.items() if board.cost_frame[column].any()]
    rows = _rows(board) if costs else []
    if not rows:
        return []
    text = (
        "Average test accuracy against what training costs, as recorded; runs may have shared a "
        "device. The line joins the methods that no cheaper one equals. Methods that lack a pair "
        "are left out."
    )
    control = Control("cost", "Cost", costs)
    spec = _spec(tuple(costs))
    return [Chart("cost", "Accuracy and cost", text, spec, {"cost": rows}, [control])]


def _rows(board: Leaderboard) -> Rows:
    """One row per method: accuracy and costs by pair, complete cells only; null is unknown."""
    cells = _cells(board)
    kd = _kd(board)
    rows = []
    for order, method in enumerate(board.methods):
        found = {pair: cells[method, pair] for pair in board.pairs if (method, pair) in cells}
        if not found:
            continue
        lists = {
            name: [cell[name] for cell in found.values()] for name in ("accuracy", *_OF_RECORD)
        }
        base = [cells[kd, pair]["speed"] if (kd, pair) in cells else None for pair in found]
        head = {"method": method, "order": order, "of": len(board.pairs), "pair": list(found)}
        head["average"] = number(board.average(method))  # of all pairs, as the table prints it
        rows.append({**head, **lists, "kd": base})
    return rows


def _cells(board: Leaderboard) -> dict[tuple[Any, Any], dict[str, float | None]]:
    """(method, pair) -> means over trials, of complete cells."""
    records: dict[tuple[str, str], list[Record]] = {}
    for cell in board.cells:
        if cell.record is not None:
            records.setdefault((cell.method, cell.pair), []).append(cell.record)
    whole = board.frame[board.frame["complete"]]
    found = zip(whole["method"], whole["pair"], whole["mean"].tolist(), strict=True)
    return {
        (method, pair): {
            "accuracy": mean,
            **{
                name: _mean([of(r) for r in records[method, pair]])
                for name, of in _OF_RECORD.items()
            },
        }
        for method, pair, mean in found
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _kd(board: Leaderboard) -> str | None:
    """The row that ``step_by_kd`` is relative to: Hinton's KD, whatever its options."""
    trained: dict[str, set[Any]] = {}
    for cell in board.cells:
        if cell.record is not None:
            trained.setdefault(cell.method, set()).add(cell.record.spec.get("method"))
    return next((row for row in board.methods if trained.get(row) == {"kd"}), None)


@functools.cache
def _spec(costs: tuple[str, ...]) -> dict[str, Any]:
    import altair as alt

    base = alt.Chart()
    scale = alt.Scale(zero=False)
    x = alt.X("x:Q", axis=style.axis(None), scale=scale)
    y = alt.Y("accuracy:Q", axis=style.axis("average test accuracy (%)"), scale=scale)
    tooltip = [
        alt.Tooltip("method:N"),
        alt.Tooltip("text:N", title="accuracy"),
        alt.Tooltip("x:Q", title="cost", format=",.4~g"),
    ]
    color = alt.condition("datum.front", alt.value(style.BLUE), alt.value(style.GRAY))
    shape = alt.condition("datum.front", alt.value("diamond"), alt.value("circle"))
    front = style.windowed(base.transform_filter("datum.front"), "row_number", "place", ["x"])
    line = front.mark_line(
        interpolate="step-after", color=style.BLUE, strokeDash=[4, 3], aria=False
    )
    marks = base.mark_point(filled=True, opacity=0.8, size=60)
    # Names stand towards the middle, below and above in turn: neighbors do not overlap.
    right, below = "datum.x > (datum.lowest + datum.highest) / 2", "datum.place % 2 == 1"
    place: Any = {
        "align": alt.ExprRef(f"{right} ? 'right' : 'left'"),
        "dx": alt.ExprRef(f"{right} ? -7 : 7"),
        "dy": alt.ExprRef(f"{below} ? 9 : -9"),
    }
    names = front.mark_text(baseline="middle", limit=style.LABEL, aria=False, **place)
    chart = style.layered(
        "cost",
        line.encode(x=x, y=y),
        marks.encode(
            x=x, y=y, color=color, shape=shape, tooltip=tooltip, description="description:N"
        ),
        names.encode(x=x, y=y, text="method:N"),
    )
    text = "datum.text + ' %, cost ' + format(datum.x, ',.4~g')"
    whole = style.described(_front(_averages(chart, costs)), text).properties(
        title=style.below(costs, "cost")
    )
    return style.specification(whole, ["cost"])


def _averages(chart: alt.LayerChart, costs: Sequence[str]) -> alt.LayerChart:
    """Means over the pairs chosen, of methods that have them all, with the cost chosen as ``x``."""
    terms = {
        SECONDS: _known("datum.mean_seconds", "seconds"),
        STEP: _known(_known("datum.mean_kd / datum.mean_speed", "speed"), "kd"),
        EXTRA: _known("datum.mean_extra / 1e6", "extra"),
    }
    values = ", ".join(terms[cost] for cost in costs)
    lists = ("accuracy", "seconds", "speed", "extra", "kd")
    means: Any = {f"mean_{name}": f"mean({name})" for name in lists[1:]}
    known: Any = {f"known_{name}": f"valid({name})" for name in lists[1:]}
    return (
        style.of_chosen_pairs(chart, *lists)
        .transform_aggregate(
            accuracy="mean(accuracy)", number="count()", **means, **known,
            groupby=["order", "method", "of", "average"],
        )
        .transform_filter(f"datum.number == {style.NUMBER_OF_PAIRS}")
        .transform_calculate(x=f"[{values}][{style.choice(costs, 'cost')}]")
        .transform_calculate(
            text="datum.number == datum.of ? datum.average : format(datum.accuracy, '.2f')"
        )
        .transform_filter("isValid(datum.x)")
    )  # fmt: skip


def _known(term: str, name: str) -> str:
    """The term where all pairs have what it is made of, else null."""
    return f"(datum.known_{name} == datum.number ? {term} : null)"


def _front(chart: alt.LayerChart) -> alt.LayerChart:
    """``front``: whether every method that is as cheap is less accurate."""
    by = ["x", "-accuracy"]
    best = style.windowed(chart, "max", "best", by, field="accuracy", frame=[None, 0])
    before = style.windowed(best, "lag", "before", by, field="best", param=1)
    better = "!isValid(datum.before) || datum.accuracy > datum.before ? true : false"
    return before.transform_joinaggregate(lowest="min(x)", highest="max(x)").transform_calculate(
        front=better
    )
