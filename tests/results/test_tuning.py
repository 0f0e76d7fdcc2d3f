"""Tuning: best-of-k, gains and their intervals, the order of methods, and what tables say."""

from __future__ import annotations

import csv
import io
import itertools
import json
import statistics as plain
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from results import statistics, tuning_order, tuning_tables
from results.cells import Cell
from results.formats import FORMATS, to_text
from results.layout import Style
from results.leaderboard import leaderboard
from results.selection import sorted_by
from results.tuning import DIVERGED, Stage, budgets, expected_best
from results.tuning_gains import gains
from results.tuning_order import order
from results.tuning_rows import curves_csv
from tests.results import tuned
from tests.results.tuned import ALONE, METHODS, board, row, search

# ---- searches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[3.0], [1.0, 5.0, 2.0, 2.0, 9.5], [4.0] * 6])
def test_the_expected_best_is_that_of_all_draws(values):
    found = expected_best(values)
    assert len(found) == len(values)
    for k, (mean, std) in enumerate(found, start=1):
        best = [max(draw) for draw in itertools.combinations(values, k)]
        assert mean == pytest.approx(plain.fmean(best))
        assert std == pytest.approx(plain.pstdev(best))
    assert found[-1] == (max(values), 0.0)


@pytest.mark.parametrize(
    ("n", "shown"),
    [(0, []), (1, [1]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8]), (20, [1, 2, 4, 8, 16, 20])],
)
def test_a_table_shows_powers_of_two_and_the_whole_budget(n, shown):
    assert budgets(n) == shown


def test_a_configuration_counts_with_all_its_runs():
    made = search("KD", ("p",), None)
    scores = ((70.0, 72.0), (70.0, None), (DIVERGED, None), (80.0, DIVERGED), *made.scores[4:])
    one = replace(made, scores=scores)
    assert one.values[:4] == [71.0, None, DIVERGED, DIVERGED]
    assert (one.done, one.diverged, one.curve) == (7, 2, [])
    whole = replace(one, scores=((70.0,), (60.0,), (DIVERGED,)), options=one.options[:3])
    assert whole.curve == expected_best([70.0, 60.0, 0.0])


def test_what_was_chosen_is_what_differs_from_the_own_options():
    assert search("KD", ("p",), 5).changed == {"weight": 6.0, "temperature": 8.0}
    assert search("KD", ("p",), 0).changed == search("KD", ("p",), None).changed == {}


def test_no_unknown_options_are_lost():
    made = search("KD", ("p",), 1)
    options = (made.options[0], {**made.options[0], "new": 0.0}, *made.options[2:])
    assert replace(made, options=options).changed == {"new": 0.0}


# ---- gains ---------------------------------------------------------------------------------------


def scores(of, method, pair):
    return [c.record.top1 for c in of.cells if (c.method, c.pair) == (method, pair)]


def test_gains_are_paired_by_trial_and_paid_for_together():
    made = board()
    found = {gain.method: gain for gain in gains(made, made.tuning)}
    assert list(found) == list(METHODS)
    for method in ("KD", "DKD", "AT"):
        differences = []
        for pair, one in found[method].pairs.items():
            both = scores(made, row(method), pair), scores(made, method, pair)
            differences.append(statistics.paired(*both, 0.01))
            assert one.gain == differences[-1]
            assert one.estimate == statistics.estimate(one.gain, 6)  # CRD's are no comparisons
        over = statistics.over_pairs(differences)
        assert found[method].these == statistics.estimate(over, 4)
        assert found[method].like_these is None
    assert [found[m].these.verdict for m in ("KD", "DKD", "AT")] == [
        "above", "not separated", "above",
    ]  # fmt: skip


def test_where_the_own_options_were_chosen_the_gain_is_nothing_and_certain():
    made = board()
    crd = gains(made, made.tuning)[-1]
    assert crd.same
    assert (crd.mean, crd.these.low, crd.these.high) == (0.0, 0.0, 0.0)
    assert all(one.estimate is None for one in crd.pairs.values())


def test_six_pairs_allow_a_claim_across_pairs():
    made = board(pairs=6, trials=1)
    found = {gain.method: gain for gain in gains(made, made.tuning)}
    assert all(gain.these is None for m, gain in found.items() if m != "CRD")
    assert found["KD"].like_these.verdict == "above"
    assert found["CRD"].like_these.verdict == "not separated"
    means = [[one.gain.mean for one in gain.pairs.values()] for gain in found.values()]
    expected = statistics.across_units(np.array(means).T)
    assert [gain.like_these for gain in found.values()] == expected


def without(made, method, pair_number=0, trial=0):
    """The board as it is before a run of it is done."""
    cells = list(made.cells)
    pair = made.pairs[pair_number]
    place = next(
        i for i, c in enumerate(cells) if (c.method, c.pair, c.trial) == (method, pair, trial)
    )
    cells[place] = Cell(pair, method, trial)
    remade = leaderboard(cells, {}, dataset="digits", baseline=ALONE)
    return replace(remade, tuning=made.tuning)


@pytest.mark.parametrize("missing", ["KD", "KD (tuned)"])
def test_what_lacks_a_trial_has_no_gain_and_no_average(missing):
    made = without(board(), missing)
    kd = gains(made, made.tuning)[0]
    first, second = kd.pairs.values()
    assert first.gain is None
    assert second.gain is not None
    assert (kd.complete, kd.these) == (False, None)
    assert list(order(made, made.tuning).own) == ["DKD", "AT", "CRD"]
    averages = tuning_tables.named(made)["Averages"]
    assert averages.rows[0][3:] == ["–", "–"]
    assert "a pair or a trial is not there yet" in averages.notes[0]


# ---- the order of methods ------------------------------------------------------------------------


def test_tau_is_kendalls_tau_b():
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 4, 7), rng.integers(0, 4, 7)) for _ in range(20)]
    a, b = (np.array([pair[i] for pair in pairs], dtype=float) for i in (0, 1))
    expected = [stats.kendalltau(x, y).statistic for x, y in pairs]
    assert tuning_order.tau(a, b) == pytest.approx(expected)
    assert tuning_order.tau(np.ones(3), np.array([1.0, 2.0, 3.0])) == 0


def test_equal_methods_share_a_rank():
    assert tuning_order.ranks(np.array([70.0, 72.0, 70.0, 71.0])).tolist() == [3, 1, 3, 2]


def test_means_of_equally_many_right_answers_tie():
    """0.1 + 0.2 is not 0.3: which of the two comes first must not depend on that."""
    means = np.array([0.1 + 0.2, 0.3, 0.2])
    assert means[0] != means[1] and tuning_order.ranks(means).tolist() == [1, 1, 3]
    assert tuning_order.tau(means, np.array([1.0, 2.0, 0.0])) == pytest.approx(
        stats.kendalltau([2, 2, 1], [2, 3, 1]).statistic
    )


def test_the_order_before_and_after():
    made = board()
    found = order(made, made.tuning)
    assert {m: p.rank for m, p in found.own.items()} == {"KD": 2, "DKD": 1, "AT": 4, "CRD": 3}
    assert {m: p.rank for m, p in found.tuned.items()} == {"KD": 2, "DKD": 3, "AT": 1, "CRD": 4}
    assert found.tau.value == pytest.approx(stats.kendalltau([2, 1, 4, 3], [2, 3, 1, 4]).statistic)
    places = [*found.own.values(), *found.tuned.values()]
    assert all(place.low <= place.rank <= place.high for place in places)
    assert set(found.swapped) == {("KD", "DKD"), ("KD", "AT"), ("DKD", "AT"), ("AT", "CRD")}
    assert ("DKD", "AT") in found.separated
    assert order(made, made.tuning) == found  # the seed is fixed


def test_ranks_of_equal_methods_are_uncertain_and_of_distant_ones_not():
    equal = board(spread=0.5, methods={f"M{i}": (1.0, 1e-9) for i in range(5)})
    far = board(spread=0.01, methods={f"M{i}": (2.0 * i, 1e-9) for i in range(5)})
    wide = order(equal, equal.tuning)
    assert all(place.high - place.low >= 2 for place in wide.own.values())
    assert wide.separated == ()
    narrow = order(far, far.tuning)
    assert all(place.low == place.high for place in narrow.own.values())
    assert narrow.again == (1.0, 1.0)


def test_the_bootstrap_has_the_spread_of_the_means():
    """Not (n − 1) / n of its variance."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 1, 3))
    (drawn, _), _ = tuning_order._drawn(values, values)
    expected = values.var(axis=2, ddof=1)[:, 0] / 3
    assert drawn.var(axis=0) == pytest.approx(expected, rel=0.1)


def test_one_trial_has_an_order_without_intervals():
    made = board(trials=1)
    found = order(made, made.tuning)
    assert (found.tau.low, found.again, found.separated) == (None, None, ())
    text = to_text(made, "markdown")
    assert "it cannot be said how sure a rank is" in text
    assert "no gain can be judged" in text


def test_two_methods_have_no_order():
    some = {name: METHODS[name] for name in ("KD", "AT")}
    made = board(methods=some)
    assert order(made, made.tuning) is None
    assert "Order of the methods" not in tuning_tables.named(made)


# ---- tables --------------------------------------------------------------------------------------


def test_the_tables_of_a_tuning():
    found = tuning_tables.named(board())
    assert list(found) == [
        "Own options and tuned ones", "Averages", "Order of the methods", "What was chosen",
        "Best of k configurations", "What it cost",
    ]  # fmt: skip
    main = found["Own options and tuned ones"]
    assert [line[0] for line in main.rows][:3] == ["KD, t0 → s0", "KD, t1 → s1", "DKD, t0 → s0"]
    assert main.rows[-1][1] == main.rows[-1][2]
    assert main.rows[-1][4] == "own options chosen"
    chosen = found["What was chosen"].rows
    assert chosen[0] == ["KD, t0 → s0", "15.0", "51.87", "56.25", "3", "weight 4.0"]
    assert chosen[-1][-2:] == ["0", "its own"]
    assert found["Best of k configurations"].header[1:] == ["k = 1", "k = 2", "k = 4", "k = 8"]
    assert found["Best of k configurations"].rows[0][-1] == "56.25"
    assert found["What it cost"].rows[-1] == ["all", "114", "114", "4.7", "100 %"]


def test_of_one_pair_there_is_one_table_of_gains_named_by_method():
    found = tuning_tables.named(board(pairs=1))
    assert "Averages" not in found
    assert [line[0] for line in found["What was chosen"].rows] == list(METHODS)


def test_a_joint_choice_names_its_pairs_by_number():
    made = board()
    joint = tuple(search(method, made.pairs, 3) for method in METHODS)
    made = replace(made, tuning=replace(made.tuning, searches=joint))
    table = tuning_tables.named(made)["What was chosen"]
    assert [line[0] for line in table.rows] == [f"{method}, 2 pairs" for method in METHODS]
    assert "on all pairs together" in table.notes[0]


def test_a_search_under_way_says_how_far_it_is():
    made = board()
    first, *others = made.tuning.searches
    waiting = replace(first, chosen=None, scores=(*first.scores[:3], *[(None,)] * 5), seconds=None)
    made = replace(made, tuning=replace(made.tuning, searches=(waiting, *others)))
    found = tuning_tables.named(made)
    assert found["What was chosen"].rows[0][-4:] == ["51.87", "–", "–", "not yet: 3 of 8 done"]
    assert len(found["Best of k configurations"].rows) == 7


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"given": ("resnet56",)}, "Warning: the teacher was not trained here (resnet56)"),
        ({"given": ("a", "b")}, "Warning: the teachers were not trained here (a, b)"),
        ({"trials": 3}, "60 epochs, 3 trials each"),
        ({"epochs": 1}, "on each pair by itself, 1 epoch: number 0"),
        ({"held_out": "500 images"}, "Held out for the search: 500 images."),
        ({"stages": (Stage("search", 3, 2, None),)}, "–: not on record."),
    ],
)
def test_what_must_be_said(changes, expected):
    made = board()
    made = replace(made, tuning=replace(made.tuning, **changes))
    assert expected in to_text(made, "markdown")


def test_diverged_configurations_are_named_and_count_as_nothing():
    made = board()
    first, *others = made.tuning.searches
    lost = replace(first, scores=((DIVERGED,), *first.scores[1:]))
    made = replace(made, tuning=replace(made.tuning, searches=(lost, *others)))
    text = to_text(made, "markdown")
    assert "1 configuration diverged, and so lost." in text
    assert "diverged counts as 0 %" in text
    assert tuning_tables.named(made)["What was chosen"].rows[0][2] == "diverged"
    assert json.loads(to_text(made, "json"))["tuning"]["searches"][0]["diverged"] == [0]


def test_rows_follow_the_order_of_the_board():
    made = sorted_by(board(), "average")
    rows = [m for m in made.methods if m in made.tuning.tuned.values()]
    found = tuning_tables.named(made)["Averages"].rows
    assert [row(line[0]) for line in found] == rows


# ---- formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_equal_boards_give_equal_text_in_every_format(form):
    assert to_text(board(), form) == to_text(board(), form)


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_the_tables_stand_below_the_board(form):
    text = to_text(board(), form)
    places = [text.index(title) for title in ("test top-1 accuracy (", "Cost", "own options and")]
    assert places == sorted(places)
    assert "what it cost" in text
    assert "what it cost" not in to_text(board(), form, style=Style(cost=False))
    assert "Tuning" not in to_text(board(), form, style=Style(columns=("average",)))
    assert "Tuning" not in to_text(replace(board(), tuning=None), form)


def test_csv_has_the_choice_and_the_gain_in_the_tuned_rows():
    made = board()
    rows = list(csv.DictReader(io.StringIO(to_text(made, "csv"))))
    by_row = {(line["method"], line["pair"]): line for line in rows}
    kd = by_row["KD (tuned)", made.pairs[0]]
    assert (kd["tuned_from"], kd["configuration"]) == ("KD", "3.0")
    assert json.loads(kd["changed"]) == {"weight": 4.0}
    found = gains(made, made.tuning)[0].pairs[made.pairs[0]]
    assert float(kd["gain"]) == found.gain.mean
    assert (float(kd["gain_low"]), kd["gain_verdict"]) == (found.estimate.low, "above")
    assert by_row["KD", made.pairs[0]]["tuned_from"] == ""
    assert float(by_row["CRD (tuned)", made.pairs[0]]["gain"]) == 0.0
    untuned = to_text(replace(made, tuning=None), "csv")
    assert "tuned_from" not in untuned


def test_the_curves_are_a_csv_of_their_own():
    made = board()
    rows = list(csv.DictReader(io.StringIO(curves_csv(made, made.tuning))))
    assert len(rows) == len(made.tuning.searches) * tuned.CONFIGS
    for line in rows:
        found = made.tuning.search(line["method"], line["pairs"])
        mean, std = found.curve[int(line["k"]) - 1]
        assert (float(line["expected_best"]), float(line["std"])) == (mean, std)
        assert float(line["hours"]) == pytest.approx(int(line["k"]) * 900 / 8 / 3600)


def test_json_has_all_of_it():
    made = board()
    found = json.loads(to_text(made, "json"))["tuning"]
    assert (found["configs"], found["seed"], found["trials"], found["epochs"]) == (8, 0, 1, 60)
    first = found["searches"][0]
    assert (first["method"], first["chosen"], first["changed"]) == ("KD", 3, {"weight": 4.0})
    assert len(first["validation"]) == len(first["options"]) == len(first["expected_best"]) == 8
    assert [g["method"] for g in found["gains"]] == list(METHODS)
    assert found["gains"][3]["by_pair"]["t0 → s0"]["own_options_chosen"] is True
    assert found["order"]["tuned"]["AT"]["rank"] == 1
    assert found["stages"][1] == {"name": "search", "runs": 64, "done": 64, "seconds": 9000.0}


def test_accuracies_of_the_search_are_only_ever_called_validation():
    """A search's scores stand in the two tables about validation, and nowhere else."""
    made = board()
    values = {f"{v:.2f}" for s in made.tuning.searches for v in s.values}
    for name, table in tuning_tables.named(made).items():
        texts = {text for line in table.rows for text in line}
        if "validation" not in table.title:
            assert not values & texts, name


def test_a_board_whose_tuned_rows_are_not_shown_has_no_tables():
    made = board()
    only = [cell for cell in made.cells if cell.method == ALONE]
    alone = replace(leaderboard(only, {}, dataset="digits"), tuning=made.tuning)
    assert tuning_tables.tables(alone) == []
    assert "Tuning" not in to_text(alone, "markdown")
    assert tuned.row("KD") == "KD (tuned)"
