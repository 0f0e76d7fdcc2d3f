"""From cells to conclusions: what is compared, what is left out, and how it is said."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from results.cells import Cell
from results.formats import to_text
from results.leaderboard import leaderboard
from results.measures import mcnemar
from results.predictions import packed
from results.schema import Measures
from results.verdicts import LIKE_THESE, THESE, groups_of, verdicts
from tests.results.example import record
from tests.results.test_leaderboard import grid, make

ALONE = "Student alone"


def board_of(gains, pairs=8, trials=3, seed=0, shared=False, spread=0.2):
    """Cells of ``gains`` (method -> points above the baseline) on pairs of their own level.

    ``shared``: two pairs each have one student, whose runs alone they share.
    """
    rng = np.random.default_rng(seed)
    made = []
    for p in range(pairs):
        student = p // 2 if shared else p
        for method, gain in {ALONE: 0.0, **gains}.items():
            for trial in range(trials):
                top1 = 40 + p + gain + rng.normal(0, spread)
                owner = f"s{student}" if method == ALONE else f"p{p}"
                name = f"{owner}-{method}-{trial}"
                made.append(Cell(f"t{p} → s{student}", method, trial, record(top1, run=name)))
    return made


def test_across_pairs():
    found = verdicts(board_of({"Good": 2.0, "Same": 0.0, "Bad": -2.0}), ALONE)
    assert (found.basis, found.units, found.pairs, found.trials) == (LIKE_THESE, 8, 8, 3)
    assert {m: c.headline.verdict for m, c in found.comparisons.items()} == {
        "Good": "above", "Same": "not separated", "Bad": "below",
    }  # fmt: skip
    assert found.best[""] == {"Good"}
    assert found.comparisons["Good"].improved == 8
    assert found.comparisons["Bad"].worst[1] < -1


def test_under_six_pairs_nothing_is_claimed_across_them():
    found = verdicts(board_of({"Good": 2.0}, pairs=5), ALONE)
    assert found.basis == THESE
    assert all(c.like_these is None for c in found.comparisons.values())


def test_pairs_that_share_a_student_count_once():
    cells = board_of({"Good": 2.0}, pairs=8, shared=True)
    found = verdicts(cells, ALONE)
    assert (found.pairs, found.units, found.basis) == (8, 4, THESE)
    text = to_text(leaderboard(cells, {}, dataset="d", baseline=ALONE), "markdown")
    assert "it needs 6 that share no runs, here 8 pairs in 4 groups" in text
    # without the rows they share, the pairs are independent
    others = [c for c in cells if c.method != ALONE]
    assert len(set(groups_of(others, [c.pair for c in others]))) == 8


def test_one_trial_over_many_pairs_is_enough_for_pairs_like_these():
    found = verdicts(board_of({"Good": 2.0, "Same": 0.0}, trials=1), ALONE)
    assert found.basis == LIKE_THESE
    assert found.comparisons["Good"].these is None
    assert found.judged == {""}  # no verdict within a pair


def test_a_method_that_lacks_a_cell_is_not_compared():
    cells = board_of({"Good": 2.0, "Half": 5.0})
    gone = next(i for i, c in enumerate(cells) if c.method == "Half")
    cells[gone] = Cell(cells[gone].pair, "Half", cells[gone].trial)
    found = verdicts(cells, ALONE)
    assert set(found.comparisons) == {"Good"}
    assert "Half" not in found.best[""]


@pytest.mark.parametrize("state", ["failed", "stale", "to do"])
def test_states_never_enter(state):
    cells = board_of({"Good": 2.0})
    cells[-1] = Cell(cells[-1].pair, "Good", 2, state=state)
    assert verdicts(cells, ALONE).comparisons == {}


def test_a_baseline_that_lacks_a_cell_leaves_no_verdicts():
    cells = board_of({"Good": 2.0})
    cells[0] = Cell(cells[0].pair, ALONE, 0)
    board = leaderboard(cells, {}, dataset="d", baseline=ALONE)
    assert verdicts(cells, ALONE).basis is None
    text = to_text(board, "markdown")
    assert "No verdict: a method or the baseline lacks a pair or a trial." in text
    assert "Differences to" not in text


def test_the_column_and_the_table_agree():
    cells = board_of({"Good": 2.0, "Bad": -2.0})
    made = leaderboard(cells, {}, dataset="d", baseline=ALONE)
    main, differences = grid(made), grid(made, table=1)
    place = main[0].index("Verdict")
    column = {line[0]: line[place] for line in main[1:]}
    assert column == {ALONE: "", "Good": "above", "Bad": "below"}
    assert differences[0] == [
        "Method", "Δ, these pairs", "Δ, pairs like these", "Improved", "Worst pair",
    ]  # fmt: skip
    assert [line[2].split()[-1] for line in differences[1:]] == ["above", "below"]
    assert [line[3] for line in differences[1:]] == ["8/8", "0/8"]


def test_the_resolution_is_what_an_interval_needs():
    cells = board_of({"A": 0.0, "B": 0.0, "C": 0.0})
    found = verdicts(cells, ALONE)
    widths = sorted(c.like_these.half_width for c in found.comparisons.values())
    assert found.resolution(LIKE_THESE) == pytest.approx(widths[1])
    text = to_text(leaderboard(cells, {}, dataset="d", baseline=ALONE), "markdown")
    assert f"{widths[1]:.2f} points (on pairs like these) cannot be seen with 8 pairs × 3" in text


def test_last_and_best_are_never_mixed():
    """The best epochs' table has no verdicts: its numbers were picked on the test set."""
    made = make({ALONE: {"p": [70.0, 71.0]}, "KD": {"p": [72.0, 73.5]}}, baseline=ALONE)
    text = to_text(made, "markdown", best=True)
    best = text.partition("### Best epoch")[2].partition("###")[0]
    assert "Verdict" not in best and "Verdict" in text


def test_a_stricter_level_widens_the_intervals():
    cells = board_of({"Good": 2.0, "Same": 0.0})
    usual, strict = verdicts(cells, ALONE), verdicts(cells, ALONE, level=0.01)
    assert strict.resolution(THESE) > usual.resolution(THESE)
    text = to_text(leaderboard(cells, {}, dataset="d", baseline=ALONE, level=0.01), "markdown")
    assert "99 % confidence for all 2 comparisons together" in text


def test_csv_and_json_say_what_the_table_says():
    made = leaderboard(board_of({"Good": 2.0, "Bad": -2.0}), {}, dataset="d", baseline=ALONE)
    content = json.loads(to_text(made, "json"))["verdicts"]
    assert (content["basis"], content["independent_pairs"]) == ("pairs like these", 8)
    assert {m["method"]: m["verdict"] for m in content["methods"]} == {
        "Good": "above", "Bad": "below",
    }  # fmt: skip
    good = content["methods"][0]
    assert good["pairs_like_these"]["low"] < good["difference"] < good["pairs_like_these"]["high"]
    assert content["best"]["average"] == ["Good"]
    frame = pd.read_csv(io.StringIO(to_text(made, "csv"))).set_index(["method", "pair"])
    for pair, difference in good["by_pair"].items():
        row = frame.loc["Good", pair]
        assert (row["verdict"], row["basis"]) == ("above", "pairs like these")
        assert row["difference"] == pytest.approx(difference)
        assert row["average_difference"] == pytest.approx(good["difference"])
    assert frame.loc[ALONE]["verdict"].isna().all()


def with_correct(cell, correct):
    measures = {
        "format": 1, "run": cell.record.run, "samples": len(correct), "top1": cell.record.top1,
        "correct": packed(correct),
    }  # fmt: skip
    record_ = cell.record.model_copy(update={"measures": Measures.model_validate(measures)})
    return replace(cell, record=record_)


def test_the_noise_of_shared_images_is_mcnemars():
    """One pair, one trial: it follows from the images that only one of the two gets right."""
    rng, n = np.random.default_rng(0), 1000
    alone, kd = rng.random(n) < 0.6, rng.random(n) < 0.65
    cells = board_of({"KD": 0.0}, pairs=1, trials=1)
    made = [with_correct(c, alone if c.method == ALONE else kd) for c in cells]
    b, c, _ = mcnemar(kd, alone)
    expected = 100 / n * math.sqrt((b + c - (b - c) ** 2 / n) * n / (n - 1))
    assert verdicts(made, ALONE).comparisons["KD"].image_error == pytest.approx(expected)


def test_the_noise_of_images_needs_all_runs_of_both():
    rng = np.random.default_rng(0)
    cells = board_of({"KD": 1.0, "AT": 0.5})
    made = [with_correct(c, rng.random(100) < 0.5) for c in cells]
    made[-1] = cells[-1]
    found = verdicts(made, ALONE).comparisons
    assert found["KD"].image_error > 0 and found["AT"].image_error is None
    text = to_text(leaderboard(made, {}, dataset="d", baseline=ALONE), "markdown")
    assert "SE, images: standard error of Δ" in text
    assert "SE, images" not in to_text(
        leaderboard(cells, {}, dataset="d", baseline=ALONE), "markdown"
    )
