"""Charts of boards: they are drawn from any board, and their numbers are the leaderboard's."""

from __future__ import annotations

import json
import math
import re

import pytest
from scipy import stats

from results import diagram, tables
from results.report import chart_ranks, chart_style, charts
from results.report.chart_ranks import critical_values
from results.verdict_tables import signed
from tests.results.example import large_board
from tests.results.report.boards import (
    GAINS,
    NASTY,
    content,
    content_of,
    described,
    history,
    several,
    small_boards,
    svg,
    texts,
    with_costs,
)
from tests.results.test_verdicts import ALONE, board_of

ORDER = ["differences", "heatmap", "improved", "cost", "curves", "ranks", "gap"]


def by_name(made):
    return {chart.name: chart for chart in made}


@pytest.fixture(scope="module")
def board():
    return several()


@pytest.fixture(scope="module")
def made(board):
    return by_name(charts.board_charts(board))


# ---- any board -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("one run", ["cost", "curves"]),
        ("no baseline", ["cost", "curves", "ranks"]),
        ("no run done", []),
        ("failed runs", ORDER),
        ("one pair", ["differences", "cost", "curves"]),
        ("one trial", ORDER),
        ("equal runs", ["differences", "heatmap", "improved", "cost", "curves", "gap"]),
        ("several pairs", ORDER),
        ("nasty labels", ORDER),
    ],
)
def test_every_chart_of_any_board_is_drawn(name, expected):
    board = small_boards()[name]
    found = charts.board_charts(board)
    assert [chart.name for chart in found] == expected
    for chart in found:
        assert "<svg" in svg(chart)
        assert {p["name"] for p in chart.spec["params"]} >= {"methods", "pairs"}
    reasons = charts.missing(board)
    assert ("ranks" in expected) == (not any("Mean ranks" in reason for reason in reasons))
    assert ("differences" in expected) == (not any(r.startswith("Differences:") for r in reasons))


@pytest.mark.parametrize("name", ["one trial", "several pairs"])
def test_any_choice_is_drawn(name):
    board = small_boards()[name]
    for chart in charts.board_charts(board):
        for methods in ([], list(board.board.methods[:2]), ["no such method"]):
            svg(chart, methods=methods)
        svg(chart, pairs=list(board.board.pairs[:2]))
        for control in chart.controls:
            for choice in control.choices[-2:]:
                svg(chart, **{control.signal: choice})


def test_the_large_board():
    board = content_of(large_board(53), history=lambda run: history(run, epochs=240))
    found = charts.board_charts(board)
    assert [chart.name for chart in found] == ORDER[:-1]  # its teachers are equally good
    sizes = {chart.name: len(json.dumps(chart.data)) for chart in found}
    assert sizes.pop("curves") < 1_500_000
    assert max(sizes.values()) < 100_000
    for chart in found:
        svg(chart)
    assert "choose three to ten methods" in texts(by_name(found)["ranks"])


def test_labels_are_only_data():
    plain, nasty = (
        charts.board_charts(content(board_of(dict.fromkeys(labels, 1.0), pairs=6)))
        for labels in ([f"M{i}" for i in range(len(NASTY))], NASTY)
    )
    assert [chart.name for chart in nasty] == ORDER
    for one, other in zip(plain, nasty, strict=True):
        if one.name != "heatmap":  # its scale is the numbers'
            assert one.spec is other.spec
        assert not any(label in json.dumps(other.spec) for label in NASTY[:2])
    shown = texts(by_name(nasty)["improved"])
    assert {*NASTY[:2], *NASTY[3:8]} <= set(shown)
    assert max(map(len, shown)) < 100  # what is too long is cut
    assert len(described(by_name(nasty)["differences"])) == len(NASTY)


def test_a_hostile_baseline_stays_a_title():
    label = '"+alert(1)+"' + "\n" + "x" * 10_000
    cells = board_of({"A": 1.0}, pairs=1)
    renamed = [
        type(c)(c.pair, label if c.method == ALONE else "A", c.trial, c.record) for c in cells
    ]
    chart = by_name(charts.board_charts(content(renamed, baseline=label)))["differences"]
    assert len(json.dumps(chart.spec)) < 5_000
    assert any(text.startswith('Δ to "+alert(1)+" xxx') for text in texts(chart))


# ---- colors --------------------------------------------------------------------------------------


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("color", sorted(set(chart_style.COLORS)))
def test_colors_are_legible_on_white_and_on_black(color):
    black, own = luminance("#111111"), luminance(color)
    assert 1.05 / (own + 0.05) >= 3
    assert (own + 0.05) / (black + 0.05) >= 3


def test_ten_methods_differ_not_by_color_alone():
    dashes = map(tuple, chart_style.DASHES)
    assert len(set(zip(chart_style.COLORS, dashes, strict=True))) == chart_style.MOST_COLORS == 10
    assert len(set(chart_style.SHAPES)) == 10


# ---- differences ---------------------------------------------------------------------------------


def test_differences_are_the_tables(board, made):
    table = next(t for t in tables.all_of(board.board) if t.title.startswith("Differences"))
    column = next(i for i, title in enumerate(table.header) if "pairs like these" in title)
    expected = {f"{row[0]}: {row[column]}" for row in table.rows}
    assert set(described(made["differences"])) == expected
    improved = table.header.index("Improved")
    assert set(described(made["improved"])) == {f"{r[0]}: {r[improved]}" for r in table.rows}


def test_methods_that_are_not_chosen_are_gone(made):
    assert [text.split(":")[0] for text in described(made["differences"], methods=["Bad"])] == [
        "Bad"
    ]
    assert len(described(made["heatmap"], methods=["Bad", "KD"])) == 16


def test_of_a_part_of_the_pairs_there_is_a_mean_and_no_verdict(board, made):
    pairs = list(board.board.pairs[:3])
    of = board.board.verdicts.comparisons
    expected = {
        f"{m}: {signed(sum(of[m].by_pair[p] for p in pairs) / 3)} on the pairs chosen" for m in of
    }
    assert set(described(made["differences"], pairs=pairs)) == expected
    counts = {m: sum(of[m].by_pair[p] > 0 for p in pairs) for m in of}
    assert set(described(made["improved"], pairs=pairs)) == {
        f"{m}: {n}/3" for m, n in counts.items()
    }


def test_the_heatmap_has_the_frames_differences(board, made):
    frame = board.board.frame.set_index(["method", "pair"])["mean"]
    expected = {
        f"{m}: {p}: {signed(frame[m, p] - frame[ALONE, p])}"
        for m in GAINS
        for p in board.board.pairs
    }
    assert set(described(made["heatmap"])) == expected
    assert {signed(frame["KD", p] - frame[ALONE, p]) for p in board.board.pairs} <= set(
        texts(made["heatmap"])
    )


def test_incomplete_cells_are_left_out_of_the_heatmap():
    board = small_boards()["failed runs"]
    found = described(by_name(charts.board_charts(board))["heatmap"])
    gone = board.board.frame[~board.board.frame["complete"]]
    assert len(gone) == 1
    assert len(found) == 3 * 8 - 1
    method, pair = gone.iloc[0][["method", "pair"]]
    assert not any(text.startswith(f"{method}: {pair}") for text in found)


def test_the_scale_of_the_heatmap_is_symmetric_and_ignores_one_outlier():
    cells = board_of({f"M{i}": 1.0 for i in range(9)} | {"Worst": -30.0}, pairs=2, spread=0.0)
    chart = by_name(charts.board_charts(content(cells)))["heatmap"]
    domain = chart.spec["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert (domain[0], domain[1]) == (-domain[2], 0)
    many = board_of({f"M{i}": 1.0 for i in range(29)} | {"Worst": -30.0}, pairs=2, spread=0.0)
    chart = by_name(charts.board_charts(content(many)))["heatmap"]
    assert chart.spec["layer"][0]["encoding"]["color"]["scale"]["domain"] == [-1.0, 0, 1.0]


# ---- cost ----------------------------------------------------------------------------------------


def test_costs_are_those_of_the_cost_frame(board, made):
    frame = board.board.cost_frame.set_index("method")
    chart = made["cost"]
    (control,) = chart.controls
    columns = [frame["seconds"], frame["step_by_kd"], frame["extra_parameters"] / 1e6]
    for choice, column in zip(control.choices, columns, strict=True):
        found = described(chart, cost=choice)
        assert len(found) == len(board.board.methods)
        for text in found:
            method, rest = text.split(": ")
            accuracy, cost = rest.split(" %, cost ")
            assert accuracy == f"{board.board.average(method):.2f}"
            assert float(cost) == pytest.approx(column[method], rel=1e-3)


def test_the_front_follows_the_choice():
    cells = with_costs(board_of({"KD": 2.0, "Dear": 1.0, "Dearest": 3.0}, pairs=6, spread=0.0))
    chart = by_name(charts.board_charts(content(cells)))["cost"]
    labels = {ALONE, "KD", "Dear", "Dearest"}
    assert labels & set(texts(chart)) == {ALONE, "KD", "Dearest"}
    assert labels & set(texts(chart, methods=["Dear", "Dearest"])) == {"Dear", "Dearest"}
    assert labels & set(texts(chart, methods=["Dearest", "KD"])) == {"KD", "Dearest"}


def test_a_method_that_lacks_a_chosen_pair_has_no_average():
    cells = with_costs(board_of({"KD": 2.0}, pairs=3))
    last = cells[-1]
    cells[-1] = type(last)(last.pair, last.method, last.trial)
    board = content(cells)
    chart = by_name(charts.board_charts(board))["cost"]
    assert [text.split(":")[0] for text in described(chart)] == [ALONE]
    some = list(board.board.pairs[:2])
    assert {text.split(":")[0] for text in described(chart, pairs=some)} == {ALONE, "KD"}


# ---- curves --------------------------------------------------------------------------------------


def ending_at(cells, epochs=3):
    """Histories that end at the runs' accuracies."""
    final = {cell.record.run: cell.record.top1 for cell in cells if cell.record}
    header = "stage,epoch,test_top1\n"
    return lambda run: (
        header + "".join(f"main,{e},{final[run] - epochs + e!r}\n" for e in range(1, epochs + 1))
    )


def test_curves_end_at_the_boards_numbers():
    cells = board_of(GAINS, pairs=2)
    board = content(cells, history=ending_at(cells))
    chart = by_name(charts.board_charts(board))["curves"]
    pair, quantity = chart.controls
    assert list(pair.choices) == list(board.board.pairs)
    frame = board.board.frame.set_index(["pair", "method"])
    for name in board.board.pairs:
        found = {t for t in described(chart, pair=name) if "epoch 3:" in t}
        assert found == {
            f"{m}: epoch 3: {row['mean']:.2f} ± {row['std']:.2f} (n = 3)"
            for m, row in frame.loc[name].iterrows()
        }
    assert described(chart) == described(chart, pair=board.board.pairs[0])
    found = [t for t in described(chart, quantity=quantity.choices[1]) if "epoch 3:" in t]
    deltas = [board.board.verdicts.comparisons[m].by_pair[board.board.pairs[0]] for m in GAINS]
    assert [t.split(": ")[2].split(" ")[0] for t in found] == [signed(delta) for delta in deltas]


def test_while_no_pair_is_chosen_the_first_that_is_shown_is():
    board = several()
    chart = by_name(charts.board_charts(board))["curves"]
    shown = list(board.board.pairs[2:4])
    assert described(chart, pairs=shown) == described(chart, pair=shown[0])


def test_at_most_ten_curves_are_shown():
    board = content(board_of({f"M{i}": 1.0 for i in range(14)}, pairs=1, trials=1))
    chart = by_name(charts.board_charts(board))["curves"]
    assert {t.split(":")[0] for t in described(chart)} == {ALONE, *(f"M{i}" for i in range(9))}
    last = [f"M{i}" for i in range(4, 14)]
    assert {t.split(":")[0] for t in described(chart, methods=last)} == set(last)


def test_one_evaluated_epoch_is_no_curve():
    board = content(board_of(GAINS, pairs=1), history=lambda run: history(run, epochs=1))
    assert "curves" not in by_name(charts.board_charts(board))
    assert any(reason.startswith("Learning curves:") for reason in charts.missing(board))


# ---- ranks ---------------------------------------------------------------------------------------


def ranks_of(chart, **parameters):
    found = (text.split(": mean rank ") for text in described(chart, **parameters))
    return {method: float(rank) for method, rank in found}


def expected(cells):
    made = content(cells, baseline=None).board
    return dict(diagram.ranks(made).mean().items())


def test_ranks_are_the_diagrams_for_any_choice():
    cells = board_of({"A": 1.0, "B": 0.0, "C": 0.1, "D": 0.1}, spread=0.3)
    cells += [type(c)(c.pair, "A again", c.trial, c.record) for c in cells if c.method == "A"]
    chart = by_name(charts.board_charts(content(cells)))["ranks"]
    assert ranks_of(chart) == pytest.approx(expected(cells), abs=0.0051)
    some = ["A", "A again", "D"]
    chosen = [cell for cell in cells if cell.method in some]
    assert ranks_of(chart, methods=some) == pytest.approx(expected(chosen), abs=0.0051)
    pairs = list(dict.fromkeys(cell.pair for cell in cells))[1:7]
    part = [cell for cell in chosen if cell.pair in pairs]
    assert ranks_of(chart, methods=some, pairs=pairs) == pytest.approx(expected(part), abs=0.0051)


def test_critical_values_are_demsars():
    table = [2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]  # JMLR 2006, table 5a
    assert critical_values(0.05) == pytest.approx(table, abs=1.1e-3)
    assert critical_values(0.01)[0] == pytest.approx(
        stats.studentized_range.isf(0.01, 3, math.inf) / 2**0.5
    )


def test_bars_are_as_long_as_the_critical_difference(board, made):
    drawn = svg(made["ranks"])
    points = re.findall(r'label="(\S+): mean rank [^>]*translate\(([\d.]+),', drawn)
    place = {method: float(x) for method, x in points}
    mean = diagram.ranks(board.board).mean()
    unit = (place["Bad"] - place["KD"]) / (mean["Bad"] - mean["KD"])  # pixels per rank
    bars = [float(x) for x in re.findall(r'x2="([\d.]+)" y2="0" stroke="#0072B2"', drawn)]
    difference = critical_values(0.05)[1] * math.sqrt(4 * 5 / (6 * 8))  # 4 methods, 8 pairs
    assert [bar / unit for bar in bars] == pytest.approx([difference] * 4)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"methods": ["KD", "Bad"]}, "choose three to ten methods"),
        ({"methods": []}, "choose three to ten methods"),
        ({"pairs": ["t0 → s0", "t1 → s1"]}, "choose 6 pairs that share no runs"),
    ],
)
def test_what_would_mislead_is_not_ranked(made, choice, sentence):
    assert sentence in texts(made["ranks"], **choice)
    assert described(made["ranks"], **choice) == []
    assert not any("choose" in text for text in texts(made["ranks"]))


def test_pairs_that_share_a_student_count_once():
    cells = board_of({"A": 1.0, "B": 0.0, "C": 0.1}, pairs=8, shared=True)
    chart = by_name(charts.board_charts(content(cells)))["ranks"]
    assert "choose 6 pairs that share no runs" in texts(chart)
    assert len(ranks_of(chart, methods=["A", "B", "C"])) == 3  # without the student alone, eight
    assert not chart_ranks.can_be_ranked(chart, None, None)
    assert chart_ranks.can_be_ranked(chart, ["A", "B", "C"], None)


# ---- capacity gap --------------------------------------------------------------------------------


def test_the_gap_has_the_teachers_and_the_students(board, made):
    (control,) = made["gap"].controls
    frame = board.board.frame.set_index(["method", "pair"])["mean"]
    for row in made["gap"].data["gap"]:
        for i, pair in enumerate(row["pair"]):
            teacher = board.board.teacher(pair)[0]
            assert row["teacher"][i] == teacher
            assert row["ahead"][i] == pytest.approx(teacher - frame[ALONE, pair])
            assert signed(row["difference"][i]) == signed(
                frame[row["method"], pair] - frame[ALONE, pair]
            )
    for choice in control.choices:
        assert len(described(made["gap"], gap=choice)) == 3 * 8
        assert choice in texts(made["gap"], gap=choice)


def test_a_trend_needs_four_pairs(board, made):
    def lines(pairs):
        drawn = svg(made["gap"], pairs=list(board.board.pairs[:pairs]))
        return len(re.findall(r'stroke-width="1.5" stroke-dasharray', drawn))

    assert lines(4) == 3
    assert lines(3) == 0
