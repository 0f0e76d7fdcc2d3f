"""Charts of one method's page: its difference to the baseline on every pair, and per class."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from results import statistics
from results.leaderboard import Leaderboard
from results.printed import rounded, signed
from results.report import chart_style as style
from results.report.chart import Chart, Control, Rows
from results.report.chart_differences import points
from results.report.content import Content
from results.schema import Record

if TYPE_CHECKING:
    import altair as alt

MOST_CLASSES = 30  # more are cut to the most gained and the most lost
ALL_PAIRS = "all pairs"

Records = Mapping[str, Mapping[int, Record]]  # by pair and trial


def charts(content: Content, label: str) -> list[Chart]:
    """What there is of: differences by pair, gains by class. None of the baseline's own page."""
    board = content.board
    if board.baseline is None or label == board.baseline:
        return []
    own, base = _records(board, label), _records(board, board.baseline)
    return [*_pairs(board, label, own, base), *_classes(content, label, own, base)]


def _records(board: Leaderboard, label: str) -> Records:
    found: dict[str, dict[int, Record]] = {}
    for cell in board.cells:
        if cell.method == label and cell.record is not None:
            found.setdefault(cell.pair, {})[cell.trial] = cell.record
    return found


# ---- pairs ---------------------------------------------------------------------------------------


def _pairs(board: Leaderboard, label: str, own: Records, base: Records) -> list[Chart]:
    differences = points(board, label)
    order = board.methods.index(label)
    rows = [
        {
            "method": label,
            "order": order,
            "pair": pair,
            "at": at,
            "difference": differences[label, pair],
            **_interval(board, differences[label, pair], own[pair], base[pair]),
        }
        for at, pair in enumerate(board.pairs)
        if (label, pair) in differences
    ]
    if not rows:
        return []
    several = any(row["low"] is not None for row in rows)
    text = f"Points above {board.baseline} on every pair. " + (
        f"Lines: {100 * (1 - board.level):g} % interval of the mean of the differences paired by "
        "trial (Student's t, each pair by itself, not corrected for the others)."
        if several
        else "One trial: no interval."
    )
    return [
        Chart("pairs", "Differences by pair", text, _pairs_spec(board.baseline), {"by_pair": rows})
    ]


def _interval(
    board: Leaderboard, mean: float, own: Mapping[int, Record], base: Mapping[int, Record]
) -> dict[str, Any]:
    """Of trials that both have; without an interval where they are not the same."""
    found = None
    if len(own) > 1 and own.keys() == base.keys():
        samples = board.verdicts.samples
        scores = [[records[trial].top1 for trial in sorted(own)] for records in (own, base)]
        paired = statistics.paired(scores[0], scores[1], 100 / samples if samples else 0.0)
        found = statistics.estimate(paired, 1, board.level)
    if found is None:
        return {"low": None, "high": None, "text": signed(mean)}
    text = f"{signed(mean)} [{signed(found.low)}, {signed(found.high)}]"
    return {"low": found.low, "high": found.high, "text": text}


@functools.cache
def _pairs_spec(baseline: str | None) -> dict[str, Any]:
    import altair as alt

    title = f"Δ to {style.short(baseline or '')} (points)"
    sort = alt.EncodingSortField(field="at", op="min")
    y = alt.Y("pair:N", sort=sort, axis=alt.Axis(title=None, labelLimit=style.LABEL, ticks=False))
    x = alt.X("difference:Q", axis=style.zero_axis(title), scale=alt.Scale(padding=8))
    tooltip = ["pair:N", alt.Tooltip("text:N", title="difference")]
    color, shape = _sign(alt.Color), _sign(alt.Shape)
    chart = style.layered(
        "by_pair",
        alt.Chart().mark_rule(strokeWidth=2, aria=False).encode(
            x=alt.X("start:Q"), x2="end:Q", y=y, color=color, tooltip=tooltip
        ),
        alt.Chart().mark_point(filled=True, opacity=1, size=70).encode(
            x=x, y=y, color=color, shape=shape, tooltip=tooltip, description="description:N"
        ),
    )  # fmt: skip
    chosen = chart.transform_filter(style.CHOSEN).transform_filter(style.IN_PAIRS)
    bounds = chosen.transform_calculate(
        start="isValid(datum.low) ? datum.low : datum.difference",
        end="isValid(datum.high) ? datum.high : datum.difference",
        sign="datum.difference > 0 ? 'gain' : 'loss'",
    )
    whole = style.described(bounds, "datum.text", "pair")
    return style.specification(whole, step=style.ROW + 4)


def _sign(channel: Any) -> Any:
    """Gains and losses by color, or by shape."""
    import altair as alt

    values = {
        alt.Color: [style.BLUE, style.VERMILLION],
        alt.Shape: ["triangle-up", "triangle-down"],
    }
    scale = alt.Scale(domain=["gain", "loss"], range=values[channel])
    return channel("sign:N", scale=scale, legend=None)


# ---- classes -------------------------------------------------------------------------------------


def _classes(content: Content, label: str, own: Records, base: Records) -> list[Chart]:
    board = content.board
    order = board.methods.index(label)
    rows: list[dict[str, Any]] = []
    for at, pair in enumerate(board.pairs):
        gains = _gains(own.get(pair, {}), base.get(pair, {}))
        if gains:
            head = {"method": label, "order": order, "pair": pair, "at": at}
            rows.append({**head, "class": list(range(len(gains))), "difference": gains})
    if not rows:
        return []
    number = max(len(row["class"]) for row in rows)
    data = {"per_class": rows, "classes": _names(content.classes, number)}
    text = f"Points of accuracy above {board.baseline} on the test images of each class, mean over "
    text += "trials" + (" and pairs." if len(rows) > 1 else ".")
    if number > MOST_CLASSES:
        text += f" The {MOST_CLASSES // 2} most gained and the {MOST_CLASSES // 2} most lost."
    pairs = [row["pair"] for row in rows]
    controls = [Control("pair", "Pair", [ALL_PAIRS, *pairs])] if len(pairs) > 1 else []
    title = "Classes gained and lost"
    return [Chart("per_class", title, text, _classes_spec(board.baseline), data, controls)]


def _names(classes: Sequence[str], number: int) -> Rows:
    """Unique ones: ImageNet has two classes called "crane"."""
    names = [classes[i] if i < len(classes) else f"class {i}" for i in range(number)]
    count = Counter(names)
    return [
        {"class": i, "name": name if count[name] == 1 else f"{name} ({i})"}
        for i, name in enumerate(names)
    ]


def _gains(own: Mapping[int, Record], base: Mapping[int, Record]) -> list[float | None]:
    """Per class, the difference of the means over trials; None for a class without images.

    Empty where a run has no measures, or they are of another number of classes.
    """
    sides = [[_per_class(record) for record in records.values()] for records in (own, base)]
    sizes = {len(values) for side in sides for values in side}
    if not all(sides) or len(sizes) != 1 or sizes == {0}:
        return []
    means = [np.array(side, dtype=float).mean(axis=0) for side in sides]
    gains = (means[0] - means[1]).tolist()
    return [None if gain != gain else rounded(gain) for gain in gains]


def _per_class(record: Record) -> Sequence[float | None]:
    return record.measures.per_class if record.measures else ()


@functools.cache
def _classes_spec(baseline: str | None) -> dict[str, Any]:
    import altair as alt

    title = f"Δ to {style.short(baseline or '')} (points)"
    labels = alt.Axis(title=None, labelLimit=style.LABEL, ticks=False, domain=False)
    y = alt.Y("name:N", sort=alt.EncodingSortField(field="place", op="min"), axis=labels)
    x = alt.X("gain:Q", stack=None, axis=style.zero_axis(title))
    tooltip = [alt.Tooltip("name:N", title="class"), alt.Tooltip("gain:Q", format="+.2f")]
    bars = alt.Chart().mark_bar(height={"band": 0.7}).encode(
        x=x, y=y, color=_sign(alt.Color), tooltip=tooltip, description="description:N"
    )  # fmt: skip
    whole = style.described(
        _ordered(style.layered("per_class", bars)), "format(datum.gain, '+.2f')", "name"
    )
    return style.specification(whole, ["pair"], step=16)


def _ordered(chart: alt.LayerChart) -> alt.LayerChart:
    """Classes from the most gained to the most lost; of many, only both ends."""
    import altair as alt

    of_pair = f"pair == null || pair == '{ALL_PAIRS}' ? ({style.IN_PAIRS}) : datum.pair == pair"
    half = MOST_CLASSES // 2
    names = alt.LookupData(data=alt.NamedData("classes"), key="class", fields=["name"])
    gains = (
        chart.transform_filter(style.CHOSEN)
        .transform_filter(of_pair)
        .transform_flatten(["class", "difference"])
        .transform_filter("isValid(datum.difference)")
        .transform_aggregate(gain="mean(difference)", groupby=["class"])
    )
    return (
        style.windowed(gains, "row_number", "place", ["-gain"])
        .transform_joinaggregate(number="count()")
        .transform_filter(
            f"datum.number <= {MOST_CLASSES} || datum.place <= {half}"
            f" || datum.place > datum.number - {half}"
        )
        .transform_lookup(lookup="class", from_=names)
        .transform_calculate(sign="datum.gain > 0 ? 'gain' : 'loss'")
    )
