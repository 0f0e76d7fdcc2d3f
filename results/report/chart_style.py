"""What all charts share: parameters, filters, colors, and how a finished specification looks.

Colors have a contrast of at least 3 on white and on #111 (WCAG 2.1, 1.4.11; a test computes it),
which leaves five that color-blind people tell apart; so a second five come with another dash and
shape. Text has no color here: it takes the page's.

Labels are only ever data. A field is called ``method``, never by a label, and no label is in an
expression. Where rows are grouped, their number ``order`` comes first: Vega joins a group's values
to a key of an object, and a method may be labeled "constructor".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeVar

    import altair as alt

    Chart = TypeVar("Chart", alt.Chart, alt.LayerChart)

BLUE, VERMILLION, GREEN, PURPLE, GRAY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#808080"
MOST_COLORS = 10  # methods that one chart can tell apart
COLORS = [BLUE, VERMILLION, GREEN, PURPLE, GRAY] * 2
DASHES = [[1, 0]] * 5 + [[6, 3]] * 5
_STAR = "M0,-1L0.24,-0.32L0.95,-0.31L0.38,0.12L0.59,0.81L0,0.4L-0.59,0.81L-0.38,0.12L-0.95,-0.31Z"
_HOURGLASS = "M-0.8,-0.8L0.8,-0.8L-0.8,0.8L0.8,0.8Z"
SHAPES = [
    *("circle", "square", "triangle-up", "diamond", "cross"),
    *("triangle-down", "triangle-right", "triangle-left", _STAR, _HOURGLASS),
]
ROW = 18  # pixels of height per method
LABEL = 180  # pixels of a label on an axis; longer ones are cut
SINGLE = 320  # pixels of height of a chart without a row per method

CHOSEN = "methods == null || indexof(methods, datum.method) >= 0"
IN_PAIRS = "pairs == null || indexof(pairs, datum.pair) >= 0"
NUMBER_OF_PAIRS = "(pairs == null ? datum.of : length(pairs))"
# The pair of a control; while none is chosen, the first of those shown.
THE_PAIR = "pair == null ? datum.at == datum.first : datum.pair == pair"


def layered(name: str, *layers: alt.Chart) -> alt.LayerChart:
    """Layers over the rows called ``name``; transforms of the whole are made once for all."""
    import altair as alt

    return alt.LayerChart(data=alt.NamedData(name), layer=list(layers))


def specification(
    chart: alt.LayerChart, parameters: Sequence[str] = (), step: int = 0, height: int = SINGLE
) -> dict[str, Any]:
    """The chart as wide as its place, with ``parameters``; ``step``: its height per row."""
    import altair as alt

    names = ("methods", "pairs", *parameters)
    made = chart.add_params(*(alt.param(name=name, value=None) for name in names)).properties(
        width="container",
        height=alt.Step(step) if step else height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding", resize=True),
        background="transparent",
    )
    spec = made.to_dict()
    del spec["config"]  # sizes of views without one; the page's configuration takes its place
    return spec


def of_chosen_pairs(chart: alt.LayerChart, *lists: str) -> alt.LayerChart:
    """One row per method and pair that are chosen, from rows whose ``lists`` go by pair."""
    return (
        chart.transform_filter(CHOSEN)
        .transform_flatten(["pair", *lists])
        .transform_filter(IN_PAIRS)
    )


def of_one_pair(chart: alt.LayerChart) -> alt.LayerChart:
    """Only the rows of the pair that the control ``pair`` has, else of the first that is shown."""
    fallback = "pairs == null || indexof(pairs, datum.pair) >= 0 ? datum.at : 1e9"
    return (
        chart.transform_calculate(candidate=fallback)
        .transform_joinaggregate(first="min(candidate)")
        .transform_filter(THE_PAIR)
    )


def described(chart: alt.LayerChart, text: str, name: str = "method") -> alt.LayerChart:
    """With the field ``description``, what is read out of a mark: "KD: +1.20".

    text  an expression
    """
    return chart.transform_calculate(description=f"datum.{name} + ': ' + {text}")


def first_ten(chart: alt.LayerChart) -> alt.LayerChart:
    """Only the first methods, as many as can be told apart."""
    placed = windowed(chart, "dense_rank", "place", ["order"])
    return placed.transform_filter(f"datum.place <= {MOST_COLORS}")


def windowed(chart: Chart, op: Any, name: str, by: Sequence[str], **settings: Any) -> Chart:
    """A window transform whose result is the field ``name``; "-x" sorts by x, descending.

    settings  field and param of the operation; groupby and frame of the window
    """
    import altair as alt

    of_field: Any = {key: settings.pop(key) for key in ("field", "param") if key in settings}
    of_field["as"] = name
    operation = alt.WindowFieldDef(op=op, **of_field)
    sort: Any = [
        alt.SortField(field.lstrip("-"), order="descending" if field[0] == "-" else "ascending")
        for field in by
    ]
    made: Chart = chart.transform_window([operation], sort=sort, **settings)
    return made


def method_axis(by: str, order: Any = "descending", op: Any = None) -> alt.Y:
    """Methods from top to bottom, sorted by a field."""
    import altair as alt

    sort = alt.EncodingSortField(field=by, order=order, **({"op": op} if op else {}))
    axis = alt.Axis(labelLimit=LABEL, title=None, ticks=False, domain=False)
    return alt.Y("method:N", sort=sort, axis=axis)


def axis(title: str | None, **settings: Any) -> alt.Axis:
    """An axis whose grid is faint on white and on black."""
    import altair as alt

    drawn = {"gridColor": GRAY, "gridOpacity": 0.25, "labelSeparation": 6}
    return alt.Axis(title=title, **{**drawn, **settings})


def zero_axis(title: str | None, at: float = 0, **settings: Any) -> alt.Axis:
    """An axis whose grid line at ``at`` is what the others are read against."""
    import altair as alt

    opacity = alt.condition(f"datum.value == {at}", alt.value(1), alt.value(0.25))
    return axis(title, gridOpacity=opacity, **settings)


def by_method(channel: Any, values: Sequence[Any], shown: bool = True, **legend: Any) -> Any:
    """A channel that tells methods apart; those of one layer share a legend, if it is shown."""
    import altair as alt

    made = categories(channel, "method:N", values, shown, **legend)
    made["sort"] = alt.EncodingSortField(field="order", op="min")
    return made


def categories(
    channel: Any, field: str, values: Sequence[Any], shown: bool = True, **legend: Any
) -> Any:
    """A channel that tells the values of a field apart.

    The legend has a title because Vega places one without entries and title nowhere (at −10³⁰⁸).
    """
    import altair as alt

    settings = {
        "title": field.removesuffix(":N"),
        "orient": "bottom",
        "columns": per_line(LABEL - 30),
        "labelLimit": LABEL - 40,
        **legend,
    }
    return channel(
        field,
        scale=alt.Scale(range=values),
        legend=alt.Legend(symbolOpacity=1, **settings) if shown else None,
    )


def per_line(pixels: int) -> Any:
    """How many entries of a legend fit side by side, an expression.

    In a page by the place of the chart, which is known before its layout: Vega does not make room
    for a legend that becomes higher while the chart is fitted.
    """
    import altair as alt

    place = "containerSize()[0]"
    return alt.ExprRef(f"max(1, floor(({place} > 0 ? {place} - {LABEL} / 2 : width) / {pixels}))")


def heading(text: str, **settings: Any) -> alt.TitleParams:
    """Text above a chart, an expression: titles of axes cannot depend on a parameter."""
    import altair as alt

    expression: Any = alt.ExprRef(text)
    return alt.TitleParams(text=expression, **{"fontSize": 11, "anchor": "start", **settings})


def choice(choices: Sequence[str], parameter: str) -> str:
    """An expression: which of the choices a control has, by number; at first the first."""
    return f"max(0, indexof({listed(choices)}, {parameter}))"


def below(choices: Sequence[str], parameter: str) -> alt.TitleParams:
    """The choice of a control as the title of an x axis."""
    text = f"{listed(choices)}[{choice(choices, parameter)}]"
    return heading(text, orient="bottom", anchor="middle")


def listed(names: Sequence[str]) -> str:
    """An expression: the list of these texts, which are of the code, never labels."""
    return json.dumps(list(names))


def short(label: str) -> str:
    """A label in an axis title, on one line."""
    flat = " ".join(label.split())
    return flat if len(flat) <= 40 else flat[:39] + "…"
