"""Charts of methods' and runs' pages: their numbers, and that every page is made of few parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from results.report import charts
from results.schema import Measures
from results.verdict_tables import signed
from tests.results.report.boards import (
    GAINS,
    NASTY,
    content,
    described,
    history,
    several,
    small_boards,
    svg,
    texts,
)
from tests.results.test_verdicts import ALONE, board_of


def named(made):
    return {chart.name: chart for chart in made}


def measured(cells, classes):
    """Cells whose runs have made-up accuracies by class; the first class has no images."""
    rng = np.random.default_rng(0)
    made = []
    for cell in cells:
        accuracies = (None, *rng.uniform(20, 80, classes - 1).round(2).tolist())
        found = Measures(
            format=1, run="r", samples=100, top1=cell.record.top1, per_class=accuracies
        )
        record = cell.record.model_copy(update={"measures": found})
        made.append(dataclasses.replace(cell, record=record))
    return made


# ---- differences by pair -------------------------------------------------------------------------


def test_the_interval_of_a_pair_is_scipys():
    board = several()
    chart = named(charts.method_charts(board, "KD"))["pairs"]
    scores = {
        (c.method, c.pair): [x.record.top1 for x in board.board.cells
                             if (x.method, x.pair) == (c.method, c.pair)]
        for c in board.board.cells
    }  # fmt: skip
    for row in chart.data["by_pair"]:
        own, base = (scores[m, row["pair"]] for m in ("KD", ALONE))
        expected = stats.ttest_rel(own, base).confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    by_pair = board.board.verdicts.comparisons["KD"].by_pair
    found = described(chart)
    assert len(found) == 8
    assert all(
        text.startswith(f"{pair}: {signed(by_pair[pair])} [")
        for text, pair in zip(found, by_pair, strict=True)
    )
    assert "not corrected" in chart.description


def test_one_trial_has_no_interval():
    chart = named(charts.method_charts(small_boards()["one trial"], "KD"))["pairs"]
    assert {row["low"] for row in chart.data["by_pair"]} == {None}
    assert "no interval" in chart.description
    assert all("[" not in text for text in described(chart))


def test_a_pair_that_lacks_a_trial_is_left_out():
    board = small_boards()["failed runs"]
    lacking = board.board.frame[~board.board.frame["complete"]].iloc[0]
    chart = named(charts.method_charts(board, lacking["method"]))["pairs"]
    assert lacking["pair"] not in {row["pair"] for row in chart.data["by_pair"]}
    assert len(chart.data["by_pair"]) == 7


# ---- classes -------------------------------------------------------------------------------------


def gains_of(board, pairs):
    """Per class, the mean over the pairs of the differences of the means over trials."""
    found = []
    for pair in pairs:
        means = [
            np.mean([c.record.measures.per_class[1:] for c in board.board.cells
                     if (c.method, c.pair) == (method, pair)], axis=0)
            for method in ("KD", ALONE)
        ]  # fmt: skip
        found.append(means[0] - means[1])
    return np.mean(found, axis=0)


def axis(chart, names, **parameters):
    """Those of the names that stand on an axis, from top to bottom."""
    return [text for text in texts(chart, **parameters) if text in names]


def test_classes_are_sorted_by_their_gain_and_named():
    names = ["no images", "crane", "crane", NASTY[0]]
    board = content(measured(board_of(GAINS, pairs=3), 4), classes=names)
    chart = named(charts.method_charts(board, "KD"))["per_class"]
    (control,) = chart.controls
    shown = ["crane (1)", "crane (2)", NASTY[0]]
    for choice, pairs in [(None, board.board.pairs), *((p, [p]) for p in board.board.pairs)]:
        gains = gains_of(board, pairs)
        expected = dict(zip(shown, gains, strict=True))
        found = [text.rsplit(": ", 1) for text in described(chart, pair=choice)]
        assert axis(chart, shown, pair=choice) == sorted(shown, key=lambda n: -expected[n])
        for name, text in found:
            assert float(text.replace("−", "-")) == pytest.approx(expected[name], abs=0.011)
    assert control.choices[0] == "all pairs"
    assert described(chart, pair="all pairs") == described(chart)
    some = list(board.board.pairs[:1])
    assert described(chart, pairs=some) == described(chart, pair=some[0])


def test_of_many_classes_both_ends_are_shown():
    board = content(measured(board_of(GAINS, pairs=1), 101))
    chart = named(charts.method_charts(board, "KD"))["per_class"]
    gains = gains_of(board, board.board.pairs)
    order = np.argsort(-gains, kind="stable") + 1
    expected = [f"class {i}" for i in (*order[:15], *order[-15:])]
    assert axis(chart, expected) == expected
    assert {text.split(":")[0] for text in described(chart)} == set(expected)
    assert "15 most gained" in chart.description


def test_without_measures_nothing_is_said_of_classes():
    assert "per_class" not in named(charts.method_charts(several(), "KD"))


# ---- pages ---------------------------------------------------------------------------------------


def test_every_method_page_is_drawn():
    board = small_boards()["nasty labels"]
    for label in NASTY:
        for chart in charts.method_charts(board, label):
            svg(chart)
            assert label[:50] not in str(chart.spec) or len(label) < 3


def test_pages_share_their_specifications():
    board = content(measured(board_of(GAINS, pairs=6), 5))
    board_page = named(charts.board_charts(board))
    first, second = (named(charts.method_charts(board, label)) for label in ("KD", "Bad"))
    assert list(first) == ["pairs", "per_class", "curves"]
    for name, chart in first.items():
        assert chart.spec is second[name].spec
    assert first["curves"].spec is board_page["curves"].spec


def test_the_baselines_page_has_its_curves_alone():
    (chart,) = charts.method_charts(several(), ALONE)
    assert {text.split(":")[0] for text in described(chart)} == {ALONE}


def test_a_methods_curves_stand_beside_the_baselines():
    chart = named(charts.method_charts(several(), "Bad"))["curves"]
    assert {text.split(":")[0] for text in described(chart)} == {ALONE, "Bad"}


def test_an_unknown_label_is_an_error():
    with pytest.raises(ValueError, match="'kd' is not a row: Student alone, KD"):
        charts.method_charts(several(), "kd")


def test_a_broken_history_is_left_out_and_named():
    good = "stage,epoch,test_top1\nmain,1,50\nmain,2,60\n"
    whole = board_of(GAINS, pairs=1)
    broken = next(cell.record.run for cell in whole if cell.method == "KD" and cell.record)
    board = content(whole, history=lambda run: good.replace("60", "x") if run == broken else good)
    chart = named(charts.board_charts(board))["curves"]
    assert f"Left out, as their histories cannot be read: 1, e.g. {broken} (could not" in (
        chart.description
    )
    counts = {row["method"]: row["trials"] for row in chart.data["curves"]}
    assert counts["KD"] == counts["Student alone"] - 1


# ---- runs ----------------------------------------------------------------------------------------


def rows():
    """As the page's script makes them of an initial stage of two epochs and three more."""
    steps = [("initial", 1), ("initial", 2), ("main", 1), ("main", 2), ("main", 3)]
    columns = {"lr": 0.1, "train_loss": 12.5, "at": 0.0, NASTY[0]: -3.0, "constructor": 1e-5}
    made = [
        {"stage": stage, "epoch": epoch, "name": name, "value": value}
        for stage, epoch in steps
        for name, value in columns.items()
    ]
    accuracies = [("train_top1", 50.0), ("test_top1", 40.0), ("validation_top5", 90.0)]
    return made + [
        {"stage": "main", "epoch": epoch, "name": name, "value": value + epoch}
        for epoch in (1, 2, 3)
        for name, value in accuracies
    ]


def test_every_column_of_a_history_is_in_one_chart():
    found = {}
    for chart in charts.run_charts():
        assert not chart.data
        assert {p["name"] for p in chart.spec["params"]} == {"methods", "pairs"}
        filled = dataclasses.replace(chart, data={"history": rows()})
        found[chart.name] = {text.split(": ")[0] for text in described(filled)}
        assert "main, epoch 3" in svg(filled)
        svg(dataclasses.replace(chart, data={"history": []}))
    assert found == {
        "accuracy": {"train_top1", "test_top1", "validation_top5"},
        "losses": {"train_loss", "at", NASTY[0], "constructor"},
        "rate": {"lr"},
    }


def test_an_initial_stage_ends_at_0():
    chart = dataclasses.replace(charts.run_charts()[2], data={"history": rows()})
    ticks = [text.replace("−", "-") for text in texts(chart)]
    assert [t for t in ticks if t in {"-2", "-1", "0", "1", "2", "3", "4"}][:5] == [
        "-1", "0", "1", "2", "3",
    ]  # fmt: skip


def test_the_axis_of_losses_is_labeled_whatever_their_range():
    chart = charts.run_charts()[1]
    for values, ticks in [((1.25, 4.5), {"1.25", "2", "4.5"}), ((-0.5, 20.0), {"−0.5", "0", "20"})]:
        made = [
            {"stage": "main", "epoch": epoch, "name": "ce", "value": value}
            for epoch, value in enumerate(values, start=1)
        ]
        assert ticks <= set(texts(dataclasses.replace(chart, data={"history": made})))


def test_histories_of_the_tests_are_what_runs_write():
    assert history("x").startswith("stage,epoch,lr,train_top1,")
