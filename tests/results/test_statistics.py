"""Against scipy, statsmodels and plain enumeration; and the error rate that the module promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from results import statistics
from results.statistics import ABOVE, BELOW, UNDECIDED, Difference, Estimate

CLOSE = pytest.approx
RNG = np.random.default_rng


def exactly(value):
    return pytest.approx(value, rel=1e-10, abs=1e-12)


# ---- trial noise ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trials", [2, 3, 5])
def test_paired_is_scipys(trials):
    a, b = RNG(trials).normal(70, 0.3, (2, trials))
    made = statistics.estimate(statistics.paired(a, b), 1)
    theirs = stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert made.p == exactly(theirs.pvalue)
    assert (made.low, made.high) == (exactly(interval.low), exactly(interval.high))


def test_welch_is_scipys_and_statsmodels():
    a, b = RNG(1).normal(70, 0.3, 3), RNG(2).normal(70.5, 1.0, 5)
    made = statistics.estimate(statistics.welch(a, b), 1)
    assert made.p == exactly(stats.ttest_ind(a, b, equal_var=False).pvalue)
    theirs = CompareMeans(DescrStatsW(a), DescrStatsW(b)).tconfint_diff(usevar="unequal")
    assert (made.low, made.high) == (exactly(theirs[0]), exactly(theirs[1]))


def test_all_comparisons_are_paid_for():
    one = statistics.paired([70.0, 70.4, 70.9], [69.0, 69.3, 69.5])
    alone, of_nine = statistics.estimate(one, 1), statistics.estimate(one, 9)
    assert of_nine.p == exactly(min(1, 9 * alone.p))
    assert of_nine.half_width > alone.half_width


def test_the_mean_over_fixed_pairs():
    """Of equal spreads: the mean, the standard error of a mean, and all degrees of freedom."""
    made = statistics.over_pairs([Difference(1.0, 0.2, 2), Difference(3.0, 0.2, 2)])
    assert (made.mean, made.error, made.freedom) == (2.0, exactly(0.2 / math.sqrt(2)), exactly(4))
    uneven = statistics.over_pairs([Difference(1.0, 1.0, 2), Difference(3.0, 1e-9, 2)])
    assert uneven.freedom == CLOSE(2, abs=1e-6)  # the noise is that of one pair


def test_one_trial_says_nothing():
    assert statistics.estimate(statistics.paired([70.0], [60.0]), 1) is None
    assert statistics.estimate(statistics.welch([70.0], [60.0, 61.0]), 1) is None


def test_equal_differences_by_chance_prove_nothing():
    """Three trials that each differ by one of 360 images have a spread of zero."""
    step = 100 / 360
    a, b = [99.0 + step] * 3, [99.0] * 3
    assert statistics.estimate(statistics.paired(a, b), 1) is None  # of unknown steps
    assert statistics.estimate(statistics.paired(a, b, step), 1).verdict == UNDECIDED
    assert statistics.estimate(statistics.welch(a, b, step), 9).verdict == UNDECIDED


def test_verdicts_of_estimates():
    assert Estimate(1.0, 0.5, 1.5, 0.01).verdict == ABOVE
    assert Estimate(-1.0, -1.5, -0.5, 0.01).verdict == BELOW
    assert Estimate(1.0, 0.0, 2.0, 0.06).verdict == UNDECIDED


def test_the_best_by_trials():
    scores = np.array([[[70.0, 70.1, 70.2], [70.1, 70.0, 70.2], [60.0, 60.1, 60.2]]])
    assert statistics.best_by_trials(scores) == [True, True, False]
    assert statistics.best_by_trials(scores[:, :, :1]) == [True] * 3
    # the same by scipy's one-sided tests, one by one
    cube = RNG(3).normal([[[70.0], [70.4], [71.0], [69.0]]], 0.3, (1, 4, 4))
    tests = [
        [stats.ttest_rel(cube[0, j], cube[0, k], alternative="greater").pvalue for j in range(4)]
        for k in range(4)
    ]
    expected = [not any(p < 0.05 / 3 for p in row) for row in tests]  # NaN of itself is no test
    assert statistics.best_by_trials(cube) == expected and not all(expected)


def test_the_best_by_trials_is_rarely_left_out():
    """Of equal methods any one may be the best; 4,000 tables of one pair, and their noise."""
    rng, out = RNG(0), 0
    for _ in range(4000):
        out += not statistics.best_by_trials(rng.normal(0, 0.25, (1, 9, 3)))[0]
    assert out <= (0.05 + 2 * 0.0034) * 4000


# ---- across pairs --------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [6, 9])
def test_one_method_is_scipys_permutation_test(pairs):
    values = RNG(pairs).normal(0.4, 0.5, (pairs, 1))
    theirs = stats.permutation_test(
        (values[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert statistics.across_units(values)[0].p == exactly(theirs.pvalue)


def brute(values):
    """Adjusted p-values by all patterns of signs, one after the other."""

    def t(rows):
        errors = rows.std(0, ddof=1) / math.sqrt(len(rows))
        return np.abs(rows.mean(0)) / (errors + np.median(errors))

    observed = t(values)
    reached = np.zeros(values.shape[1])
    patterns = list(itertools.product([1, -1], repeat=len(values)))
    for signs in patterns:
        reached += t(np.array(signs)[:, None] * values).max() >= observed * (1 - 1e-9)
    return reached / len(patterns)


def test_the_maximum_statistic_is_exact():
    values = RNG(3).normal([0.0, 0.4, 1.0, 2.0], 0.5, (7, 4))
    made = statistics.across_units(values)
    assert [e.p for e in made] == [exactly(p) for p in brute(values)]
    assert [e.mean for e in made] == [exactly(m) for m in values.mean(0)]


def test_thirteen_pairs_have_all_patterns():
    assert len(statistics._signs(13)) == 2**12  # of 2^13, a pattern and its opposite are one
    values = np.abs(RNG(0).normal(2.0, 0.3, (13, 1)))
    assert statistics.across_units(values)[0].p == exactly(1 / 2**12)


def test_pairs_that_share_runs_are_one_unit():
    """Twelve pairs with six students are as much evidence as six pairs, not more."""
    six = RNG(5).normal(0.5, 0.4, (6, 3))
    units = [student for student in "abcdef" for _ in "12"]
    doubled = statistics.across_units(np.repeat(six, 2, axis=0), units)
    for made, once in zip(doubled, statistics.across_units(six), strict=True):
        assert vars(made) == {name: exactly(value) for name, value in vars(once).items()}


def test_five_units_claim_nothing():
    with pytest.raises(ValueError, match="5 independent pairs: a claim needs at least 6"):
        statistics.across_units(np.ones((5, 2)))
    with pytest.raises(ValueError, match="2 independent pairs"):
        statistics.best_set(np.ones((6, 2)), list("aaabbb"))


def test_no_difference_at_all_is_no_claim():
    made = statistics.across_units(np.zeros((8, 3)))
    assert [(e.p, e.verdict) for e in made] == [(1.0, UNDECIDED)] * 3


def test_patterns_without_spread_leave_the_intervals_finite():
    """Half of the pairs differ by one test image, the others by two: turned, all are equal."""
    values = np.array([[0.1, 0.1, 0.1, 0.2, 0.2, 0.2]]).T
    (made,) = statistics.across_units(values)
    assert math.isfinite(made.low) and math.isfinite(made.high)
    assert made.p == exactly(1 / 32) and made.verdict == ABOVE


def test_an_interval_never_says_more_than_the_test():
    for seed in range(60):
        for e in statistics.across_units(RNG(seed).normal(0.3, 0.4, (7, 5))):
            assert e.low <= e.mean <= e.high
            assert e.verdict == UNDECIDED or e.p <= statistics.LEVEL


def test_the_best_set():
    means = RNG(1).normal([70.0, 70.0, 68.0, 66.0], 0.1, (8, 4))
    assert statistics.best_set(means) == [True, True, False, False]
    assert statistics.best_set(means[:, :1]) == [True]
    equal = np.repeat(means[:, :1], 3, axis=1)
    assert statistics.best_set(equal) == [True] * 3


def test_many_units_are_drawn_and_reproducible():
    values = RNG(2).normal(0.5, 0.5, (20, 2))
    first, second = statistics.across_units(values), statistics.across_units(values)
    assert first == second
    assert all(e.p <= 0.05 for e in first)


def test_false_verdicts_are_as_rare_as_promised():
    """Ten equal methods, six pairs, three trials; 400 tables. The report has the long version."""
    rng, false, covered = RNG(0), 0, 0
    for _ in range(400):
        scores = rng.normal(0, 0.3, (6, 10)) + rng.normal(0, 0.25, (6, 10, 3)).mean(2)
        made = statistics.across_units(scores[:, 1:] - scores[:, :1])
        false += any(e.verdict != UNDECIDED for e in made)
        covered += all(e.low <= 0 <= e.high for e in made)
    assert false <= 0.05 * 400
    assert covered >= 0.95 * 400


def test_the_noise_of_a_test_set():
    assert statistics.binomial_error(75.0, 10_000) == exactly(0.4330127018922193)
    shares = RNG(0).binomial(10_000, 0.75, 4000) / 100
    assert shares.std() == CLOSE(statistics.binomial_error(75.0, 10_000), rel=0.05)
