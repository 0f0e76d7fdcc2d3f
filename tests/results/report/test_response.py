"""The chart of response curves."""

from __future__ import annotations

import json

import pytest

from results.leaderboard import Leaderboard
from results.report import chart_response, charts
from results.report.chart import Chart
from results.report.chart_response import is_geometric
from tests.results.report.boards import NASTY, content_of, described, several, svg
from tests.results.swept import PAIRS, swept, without

FACTORS = [{"t": t} for t in (1, 2, 4, 8)]
STEPS = [{"w": w} for w in (0, 1, 2)]


def charts_of(board: Leaderboard) -> dict[str, Chart]:
    return {chart.name: chart for chart in chart_response.charts(board)}


@pytest.mark.parametrize(
    "values, expected",
    [
        ([1, 2, 4, 8], True),
        ([8, 1, 4, 2], True),
        ([0.1, 1, 10], True),
        ([60, 120, 240], True),
        ([1, 2, 3], False),
        ([0, 1, 10], False),
        ([1, 10], False),
        ([-4, -2, -1], False),
    ],
)
def test_values_that_grow_by_factors_are_told_from_steps(values: list[float], expected: bool):
    assert is_geometric(values) is expected


@pytest.mark.parametrize("points, name", [(FACTORS, "response-log"), (STEPS, "response")])
def test_a_line_for_each_pair(points: list[dict[str, float]], name: str):
    key = next(iter(points[0]))
    board = swept({key: 1}, points)
    (chart,) = charts_of(board).values()
    assert (chart.name, list(chart.controls)) == (name, [])
    means = board.frame.set_index(["method", "pair"])
    expected = [
        f"{pair}: {point[key]:g}: {means['mean'][row, pair]:.2f} ± {means['std'][row, pair]:.2f}"
        for point in points
        for pair in PAIRS
        for row in [f"KD ({key} {point[key]:g})"]
    ]
    assert sorted(described(chart)) == sorted(expected)
    assert f"KD: {key}" in chart.description
    kinds = json.dumps(chart.spec).count('"type": "log"')
    assert bool(kinds) is (name == "response-log")


def test_it_follows_the_choice_of_methods_and_pairs():
    (chart,) = charts_of(swept({"t": 4}, FACTORS)).values()
    assert {text.split(":")[0] for text in described(chart, pairs=[PAIRS[1]])} == {PAIRS[1]}
    assert len(described(chart, methods=["KD (t 1)", "KD (t 8)"])) == 4
    assert described(chart, methods=[]) == []


def test_several_sweeps_have_a_control():
    points = [{"t": t, "e": e} for t in (1, 2, 4) for e in (1, 2)]
    found = charts_of(swept({"t": 4, "e": 1}, points))
    chart = found["response-log"]
    (control,) = chart.controls
    assert list(control.choices) == ["KD (e 1): t", "KD (e 2): t"]
    shown = [described(chart, sweep=name) for name in control.choices]
    assert [len(texts) for texts in shown] == [6, 6]
    assert shown[0] != shown[1]
    assert described(chart) == shown[0]
    assert len(found["response"].controls[0].choices) == 3  # e at each t, by steps


def test_it_is_on_the_page_of_the_board():
    made = charts.board_charts(content_of(swept({"t": 4}, FACTORS)))
    assert "response-log" in [chart.name for chart in made]


def test_only_complete_cells_are_shown():
    board = without(swept({"t": 4}, FACTORS), "KD (t 8)", PAIRS[0])
    (chart,) = charts_of(board).values()
    assert len(described(chart)) == 7
    assert {row["value"] for row in chart.data["response-log"] if row["own"]} == {"4"}


def test_without_two_values_the_page_says_so():
    board = swept({"t": 4}, FACTORS[:1])
    assert charts_of(board) == {}
    assert any(text.startswith("Response curves:") for text in charts.missing(content_of(board)))
    assert not any(text.startswith("Response") for text in charts.missing(several()))


def test_labels_are_only_data():
    plain = charts_of(swept({"t": 4}, FACTORS))["response-log"]
    nasty = charts_of(swept({"t": 4}, FACTORS, family=NASTY[0], pairs=NASTY[1:4]))["response-log"]
    assert nasty.spec is plain.spec
    assert "<svg" in svg(nasty)
