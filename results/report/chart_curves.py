"""Learning curves of a pair: accuracy by epoch, or the difference to the baseline."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.cells import DONE
from results.printed import rounded
from results.report import chart_style as style
from results.report import curves
from results.report.chart import Chart, Control, Rows
from results.report.content import Content
from results.report.curves import Curve

if TYPE_CHECKING:
    import altair as alt

ACCURACY, DIFFERENCE = "accuracy", "difference"

Trials = Mapping[int, Mapping[int, float]]  # accuracies by epoch, by trial


def charts(content: Content, methods: Sequence[str] | None = None) -> list[Chart]:
    """The chart, if two epochs of a run were evaluated; of all methods of the board, or of some."""
    board = content.board
    splits, every, unreadable = _rows(content)
    rows = [row for row in every if methods is None or row["method"] in methods]
    data = _sharing_epochs(rows)
    if not any(len(row["epoch"]) > 1 for row in data["epochs"]):
        return []
    controls = []
    pairs = [pair for pair in board.pairs if any(row["pair"] == pair for row in rows)]
    if len(pairs) > 1:
        controls.append(Control("pair", "Pair", pairs))
    if any(row["quantity"] == DIFFERENCE for row in rows):
        controls.append(
            Control("quantity", "Quantity", [ACCURACY, f"difference to {board.baseline}"])
        )
    text = _description(splits, board.baseline, board.level, methods is None) + unreadable
    return [Chart("curves", "Learning curves", text, _spec(), data, controls)]


def _description(splits: str, baseline: str | None, level: float, board: bool) -> str:
    text = f"Top-1 accuracy on the {splits} by epoch, mean over the trials of one pair; bands: "
    text += "± the sample standard deviation."
    if baseline is not None:
        text += (
            f" Differences to {baseline} are paired by trial, with {100 * (1 - level):g} % "
            "intervals (Student's t) that hold for one epoch at a time."
        )
    if board:
        text += f" At most the first {style.MOST_COLORS} of the methods chosen are shown."
    return text


# ---- data ----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)  # thousands of histories, which each method's page asks for
def _rows(content: Content) -> tuple[str, Rows, str]:
    """What the curves were evaluated on, in words; one row per method, pair and quantity.

    And a sentence about histories that cannot be read, "" if there are none.
    """
    board = content.board
    found, splits, unreadable = _histories(content)
    rows = []
    for order, method in enumerate(board.methods):
        for at, pair in enumerate(board.pairs):
            trials, base = (found.get((m, pair), {}) for m in (method, board.baseline))
            head = {"method": method, "order": order, "pair": pair, "at": at}
            for quantity, curve in _quantities(trials, base, board.level):
                if quantity == ACCURACY or method != board.baseline:
                    rows.append({**head, "quantity": quantity, **_listed(curve)})
    on = " or ".join(_SPLITS[split] for split in curves.SPLITS if split in splits)
    return on, rows, _left_out(unreadable)


_SPLITS = {"test": "test set", "validation": "held-out part"}


def _histories(
    content: Content,
) -> tuple[dict[tuple[str | None, str], dict[int, dict[int, float]]], set[str], list[str]]:
    """(method, pair) -> trial -> accuracies, of runs that are done; their splits; what is wrong."""
    found: dict[tuple[str | None, str], dict[int, dict[int, float]]] = {}
    splits, unreadable = set(), []
    for cell in content.board.cells:
        if cell.record is None or cell.state != DONE:
            continue
        try:
            split, accuracies = curves.accuracies(content.history(cell.record.run))
        except ValueError as error:
            unreadable.append(f"{cell.record.run} ({error})")
            continue
        if accuracies:
            splits.add(split)
            found.setdefault((cell.method, cell.pair), {})[cell.trial] = accuracies
    return found, splits, unreadable


def _left_out(unreadable: Sequence[str]) -> str:
    if not unreadable:
        return ""
    return f" Left out, as their histories cannot be read: {len(unreadable)}, e.g. {unreadable[0]}."


def _quantities(trials: Trials, baseline: Trials, level: float) -> list[tuple[str, Curve]]:
    """Accuracies, and differences to the baseline over the trials that both have."""
    made = [(ACCURACY, curves.mean(list(trials.values())))] if trials else []
    both = sorted(trials.keys() & baseline.keys())
    if both:
        own, other = ([of[trial] for trial in both] for of in (trials, baseline))
        made.append((DIFFERENCE, curves.difference(own, other, level)))
    return [(quantity, curve) for quantity, curve in made if curve.epochs]


def _listed(curve: Curve) -> dict[str, Any]:
    """Numbers as tables print them, so that thousands of curves stay small."""
    values, spread = ([rounded(x) for x in xs] for xs in (curve.values, curve.spread))
    return {"trials": curve.trials, "epoch": curve.epochs, "value": values, "spread": spread}


def _sharing_epochs(rows: Rows) -> dict[str, Rows]:
    """The rows with the number of their list of epochs: most curves have the same."""
    numbers: dict[tuple[int, ...], int] = {}
    curves = []
    for row in rows:
        number = numbers.setdefault(tuple(row["epoch"]), len(numbers))
        curves.append({**{k: v for k, v in row.items() if k != "epoch"}, "epochs": number})
    return {
        "curves": curves,
        "epochs": [{"epochs": i, "epoch": list(epoch)} for epoch, i in numbers.items()],
    }


# ---- specification -------------------------------------------------------------------------------


@functools.cache
def _spec() -> dict[str, Any]:
    import altair as alt

    accurate = f"(quantity == null || quantity == '{ACCURACY}')"
    shown = f"{accurate} == (datum.quantity == '{ACCURACY}')"
    base = alt.Chart()
    x = alt.X("epoch:Q", axis=style.axis("epoch", tickMinStep=1), scale=alt.Scale(nice=False))
    y = alt.Y("value:Q", axis=style.zero_axis(None), scale=alt.Scale(zero=False))
    stroke: Any = {"symbolType": "stroke", "symbolStrokeWidth": 2}
    color = style.by_method(alt.Color, style.COLORS, **stroke)
    dash = style.by_method(alt.StrokeDash, style.DASHES, **stroke)
    plain = style.by_method(alt.Color, style.COLORS, shown=False)
    few = alt.condition("datum.number <= 12", alt.value(1), alt.value(0))
    tooltip = ["method:N", "epoch:Q", alt.Tooltip("text:N", title="top-1")]
    points = base.mark_point(filled=True, size=40)
    layers = style.layered(
        "curves",
        base.mark_area(opacity=0.12, aria=False).encode(
            x=x, y=alt.Y("low:Q"), y2="high:Q", color=plain
        ),
        base.mark_line(strokeWidth=1.8, aria=False).encode(x=x, y=y, color=color, strokeDash=dash),
        points.encode(
            x=x, y=y, color=plain, opacity=few, tooltip=tooltip, description="description:N"
        ),
    ).resolve_scale(
        color="independent",
        strokeDash="independent",  # else there are two legends
    )
    above = f"{accurate} ? 'top-1 accuracy (%)' : 'points of top-1 accuracy above the baseline'"
    chosen = style.of_one_pair(layers.transform_filter(style.CHOSEN))
    chart = _points(style.first_ten(chosen.transform_filter(shown)))
    chart = style.described(chart, "'epoch ' + datum.epoch + ': ' + datum.text")
    return style.specification(chart.properties(title=style.heading(above)), ["pair", "quantity"])


def _points(chart: alt.LayerChart) -> alt.LayerChart:
    """One row per epoch; bands of accuracies end at 0 and 100 %."""
    import altair as alt

    epochs = alt.LookupData(data=alt.NamedData("epochs"), key="epochs", fields=["epoch"])
    end = "datum.quantity == 'difference' ? 1e9 : 100"
    start = "datum.quantity == 'difference' ? -1e9 : 0"
    half = "(isValid(datum.spread) ? datum.spread : 0)"
    return (
        chart.transform_lookup(lookup="epochs", from_=epochs)
        .transform_flatten(["epoch", "value", "spread"])
        .transform_joinaggregate(number="count()", groupby=["order", "method"])
        .transform_calculate(
            low=f"max({start}, datum.value - {half})",
            high=f"min({end}, datum.value + {half})",
            text="format(datum.value, datum.quantity == 'difference' ? '+.2f' : '.2f')"
            " + (isValid(datum.spread) ? ' ± ' + format(datum.spread, '.2f') : '')"
            " + ' (n = ' + datum.trials + ')'",
        )
    )
