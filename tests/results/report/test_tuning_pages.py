"""The section on tuning of a board's page, and its chart."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from results.leaderboard import Leaderboard
from results.report import charts
from results.report.chart import Chart
from results.report.chart_tuning import CONFIGURATIONS, TIME
from results.report.pages import Pages
from tests.results.report.boards import NASTY, content_of, described, several, svg
from tests.results.tuned import METHODS, board, search


def chart_of(made: Leaderboard) -> Chart:
    found = {chart.name: chart for chart in charts.board_charts(content_of(made))}
    return found["tuning"]


def with_searches(made: Leaderboard, *searches) -> Leaderboard:
    return replace(made, tuning=replace(made.tuning, searches=searches))


@pytest.mark.parametrize("pair", [0, 1])
@pytest.mark.parametrize("budget", [CONFIGURATIONS, TIME])
def test_the_chart_has_the_expected_best_of_each_search(pair, budget):
    made = board()
    chart = chart_of(made)
    assert [control.signal for control in chart.controls] == ["pair", "budget"]
    expected = [
        f"{s.label}: best of {k}: {mean:.2f} ± {std:.2f}"
        for s in made.tuning.searches
        if s.pairs == (made.pairs[pair],)
        for k, (mean, std) in enumerate(s.curve, start=1)
    ]
    assert described(chart, pair=made.pairs[pair], budget=budget) == expected
    assert len(expected) == len(METHODS) * 8


def test_it_follows_the_choice_of_methods_and_pairs():
    made = board()
    chart = chart_of(made)
    assert {text.split(":")[0] for text in described(chart, methods=["AT"])} == {"AT"}
    second = list(made.pairs[1:])
    assert described(chart, pairs=second) == described(chart, pair=second[0])
    assert described(chart, methods=[]) == []


def test_hours_are_those_of_the_method():
    made = board(pairs=1)
    slow = search("KD", made.pairs, 3, seconds=8 * 7200.0)
    unknown = search("AT", made.pairs, 3, seconds=None)
    chart = chart_of(with_searches(made, slow, unknown))
    hours = {row["method"]: row["hours"] for row in chart.data["tuning"]}
    assert hours == {"KD": 2.0, "AT": None}
    in_hours = described(chart, budget=TIME)
    assert {text.split(":")[0] for text in in_hours} == {"KD"}


def test_a_joint_choice_needs_no_control_of_pairs():
    made = board()
    joint = with_searches(made, *(search(method, made.pairs, 3) for method in METHODS))
    chart = chart_of(joint)
    assert [control.signal for control in chart.controls] == ["budget"]
    assert "on all pairs together" in chart.description
    shown = described(chart)
    assert len(shown) == len(METHODS) * 8
    assert described(chart, pairs=list(made.pairs[1:])) == shown


def test_without_a_complete_search_the_page_says_so():
    made = board(pairs=1)
    waiting = search("KD", made.pairs, None, scores=((50.0,), *[(None,)] * 7))
    content = content_of(with_searches(made, waiting))
    assert "tuning" not in {chart.name for chart in charts.board_charts(content)}
    assert "Tuning against its budget: no search is complete." in charts.missing(content)
    assert not any(reason.startswith("Tuning") for reason in charts.missing(several()))


def test_labels_are_only_data():
    methods = dict.fromkeys(NASTY, (1.0, 0.5))
    chart = chart_of(board(pairs=1, methods=methods))
    assert chart.spec is chart_of(board()).spec
    assert not any(label in json.dumps(chart.spec) for label in NASTY[:2])
    assert "<svg" in svg(chart)


def body_of(made: Leaderboard) -> str:
    return next(Pages([content_of(made)]).of_boards()).body


def test_the_page_of_a_board_has_the_section():
    made = board()
    text = body_of(made)
    for heading in ("<h2 id=", "Order of the methods", "What was chosen", "own options chosen"):
        assert heading in text
    assert text.count("<caption>Tuning: ") == 6
    plain = body_of(replace(made, tuning=None))
    assert "Tuning" not in plain
