"""Charts of one run's page: accuracy, losses by term and learning rate, by epoch.

The rows are not made here: the page's script turns the text of history.csv into rows of the data
set "history", {stage, epoch, name, value}, one for every column that is a number. Epochs of an
initial stage come before epoch 1, so that they end at 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from results.report import chart_style as style
from results.report.chart import Chart

if TYPE_CHECKING:
    import altair as alt

_ACCURACY = "test(/_top[0-9]+$/, datum.name)"
_RATE = "datum.name == 'lr'"
_ROUND = [-1000, -100, -10, -1, -0.1, 0]
_ROUND += [round(n * 10.0**power, 2) for power in range(-2, 5) for n in (1, 2, 5)]
# A symlog axis of Vega has linear ticks. Both ends are labeled, or 1.2 to 4.6 had a single tick.
_TICKS = f"[{', '.join(map(str, _ROUND))}, domain('y')[0], domain('y')[1]]"
_LINEAR = 0.01  # losses nearer to 0 are on a linear scale: a term may be 0, or negative


def charts() -> list[Chart]:
    """The charts, without data."""
    import altair as alt

    initial = " Epochs of an initial stage end at 0."
    logarithmic = alt.Scale(type="symlog", constant=_LINEAR, zero=False, nice=False)
    return [
        _chart(
            "accuracy",
            "Accuracy",
            "Top-1 and top-5 accuracy (%) on the training images of each epoch, the test set and "
            f"the held-out part, as far as they were evaluated.{initial}",
            _ACCURACY,
            alt.Y("value:Q", axis=style.axis("accuracy (%)"), scale=alt.Scale(zero=False)),
        ),
        _chart(
            "losses",
            "Losses by term",
            "Losses, and the weighted terms that the training loss is the sum of; a logarithmic "
            f"axis, linear below {_LINEAR:g}.{initial}",
            f"!({_ACCURACY}) && !({_RATE})",
            alt.Y(
                "value:Q",
                axis=style.axis("loss", values=alt.ExprRef(_TICKS), format=".3~g"),
                scale=logarithmic,
            ),
        ),
        _chart(
            "rate",
            "Learning rate",
            f"Learning rate at the end of each epoch.{initial}",
            _RATE,
            alt.Y("value:Q", axis=style.axis("learning rate", format="~g")),
        ),
    ]


def _chart(name: str, title: str, text: str, shown: str, y: alt.Y) -> Chart:
    import altair as alt

    height, several = (160, False) if name == "rate" else (style.SINGLE - 60, True)
    x = alt.X(
        "at:Q", axis=style.axis("epoch", tickMinStep=1), scale=alt.Scale(nice=False, zero=False)
    )
    tooltip = ["name:N", "stage:N", "epoch:Q", alt.Tooltip("value:Q", format=",.5~g")]
    stroke: Any = {"title": "curve", "symbolType": "stroke", "symbolStrokeWidth": 2}
    color = style.categories(alt.Color, "name:N", style.COLORS, several, **stroke)
    dash = style.categories(alt.StrokeDash, "name:N", style.DASHES, several, **stroke)
    lines = alt.Chart().mark_line(strokeWidth=1.6, aria=False).encode(
        x=x, y=y, color=color, strokeDash=dash, detail="stage:N"
    )  # fmt: skip
    plain = style.categories(alt.Color, "name:N", style.COLORS, shown=False)
    few = alt.condition("datum.number <= 12", alt.value(1), alt.value(0))
    points = alt.Chart().mark_point(filled=True, size=36).encode(
        x=x, y=y, color=plain, opacity=few, tooltip=tooltip, description="description:N"
    )  # fmt: skip
    chart = style.layered("history", lines, points).resolve_scale(
        color="independent", strokeDash="independent"
    )
    what = "datum.stage + ', epoch ' + datum.epoch + ': ' + format(datum.value, ',.5~g')"
    whole = style.described(_placed(chart, shown), what, "name")
    return Chart(name, title, text, style.specification(whole, height=height))


def _placed(chart: alt.LayerChart, shown: str) -> alt.LayerChart:
    """Rows with their place on the axis."""
    return (
        chart.transform_filter(f"isValid(datum.value) && ({shown})")
        .transform_joinaggregate(last="max(epoch)", number="count()", groupby=["stage", "name"])
        .transform_joinaggregate(last="max(last)", groupby=["stage"])
        .transform_calculate(at="datum.stage == 'main' ? datum.epoch : datum.epoch - datum.last")
    )
