"""Predicted power against tables that are simulated and judged by the module itself."""

from __future__ import annotations

import numpy as np
import pytest

from results import power, statistics
from results.power import ENOUGH, USUAL, Spread
from tests.results.test_verdicts import ALONE, board_of


def simulated(effect, spread, pairs, trials, comparisons, tables=300):
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(tables):
        noise = rng.normal(0, spread.trial / np.sqrt(trials), (pairs, comparisons + 1))
        between = rng.normal(0, spread.pair, (pairs, comparisons))
        differences = noise[:, 1:] - noise[:, :1] + between
        differences[:, 0] += effect
        found += statistics.across_units(differences)[0].verdict == statistics.ABOVE
    return found / tables


@pytest.mark.parametrize(("effect", "pairs"), [(0.5, 13), (0.3, 13), (1.0, 8)])
def test_power_across_pairs(effect, pairs):
    predicted = power.across(effect, USUAL, pairs, 3, 9)
    assert predicted == pytest.approx(simulated(effect, USUAL, pairs, 3, 9), abs=0.1)


def test_power_within_a_pair_is_students():
    """One pair, one comparison, against statsmodels' power of a one-sample t-test."""
    from statsmodels.stats.power import TTestPower

    spread = Spread(0.3, 0.0)
    theirs = TTestPower().power(0.5 / (0.3 * np.sqrt(2)), nobs=5, alpha=0.05)
    lower_tail = 1e-3  # theirs counts verdicts in the wrong direction, too
    assert power.within(0.5, spread, 1, 5, 1) == pytest.approx(theirs, abs=lower_tail)


def test_trials_do_not_replace_pairs():
    assert power.fewest_trials(0.3, USUAL, 13, 9, power.across) is None
    assert power.fewest_trials(0.3, USUAL, 13, 9, power.within) == 2
    needed = power.fewest_pairs(0.5, USUAL, 3, 9)
    assert power.across(0.5, USUAL, needed, 3, 9) >= ENOUGH
    assert power.across(0.5, USUAL, needed - 1, 3, 9) < ENOUGH


def test_nothing_without_pairs_or_trials():
    assert power.across(5.0, USUAL, 5, 30, 1) == 0
    assert power.within(5.0, USUAL, 5, 1, 1) == 0


def test_the_spread_on_record():
    spread, cells = power.observed(board_of({"A": 0.0, "B": 1.0}, pairs=40, spread=0.2), ALONE)
    assert cells == 120
    assert spread.trial == pytest.approx(0.2, rel=0.1)
    assert spread.pair < 0.1  # every method gains the same on all pairs


def test_without_records_it_is_the_usual_one():
    assert power.observed(board_of({"A": 0.0}, trials=1), ALONE) == (USUAL, 0)
    spread, cells = power.observed(board_of({"A": 0.0}, pairs=1), ALONE)
    assert (spread.pair, cells) == (USUAL.pair, 2)
