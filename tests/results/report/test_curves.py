"""Histories to curves: what is read, and statistics that numpy and scipy give, too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from results.report import curves

HISTORY = """stage,epoch,lr,train_top1,hint,ce,test_top1,test_top5,test_loss
initial,1,0.05,,3.0,,,,
initial,2,0.05,,2.5,,,,
main,1,0.05,40.0,,1.5,31.5,80.0,2.0
main,2,0.05,50.0,,1.4,,,
main,3,0.05,60.0,,1.3,52.25,90.0,1.5
"""


def trials(n, epochs=12, seed=0):
    values = np.random.default_rng(seed).normal(70, 2, (n, epochs))
    return values, [dict(enumerate(row.tolist(), start=1)) for row in values]


def test_only_evaluated_epochs_of_the_main_stage_are_read():
    assert curves.accuracies(HISTORY) == ("test", {1: 31.5, 3: 52.25})


def test_the_test_set_comes_before_the_held_out_part():
    held_out = HISTORY.replace("test_", "validation_")
    assert curves.accuracies(held_out) == ("validation", {1: 31.5, 3: 52.25})
    both = "stage,epoch,validation_top1,test_top1\nmain,1,10,20\n"
    assert curves.accuracies(both) == ("test", {1: 20.0})


@pytest.mark.parametrize("text", ["", "stage,epoch,lr\nmain,1,0.1\n", "epoch,test_top1\n1,50\n"])
def test_without_accuracies_there_is_no_curve(text):
    assert curves.accuracies(text) == ("", {})


def test_a_row_that_is_being_written_is_left_out():
    assert curves.accuracies(HISTORY + "main,4,0.05,61.0")[1] == {1: 31.5, 3: 52.25}


@pytest.mark.parametrize(
    ("text", "message"),
    [("abc", "abc"), ("nan", "of nan"), ("inf", "of inf"), ("1e300", "0 to 100"), ("-1", "of -1")],
)
def test_what_is_no_number_is_an_error(text, message):
    with pytest.raises(ValueError, match=message):
        curves.accuracies(f"stage,epoch,test_top1\nmain,1,{text}\n")


def test_what_is_no_table_is_an_error():
    with pytest.raises(ValueError, match="field larger"):
        curves.accuracies("x" * 200_000)
    with pytest.raises(ValueError, match="an epoch beyond 1,000,000,000"):
        curves.accuracies("stage,epoch,test_top1\nmain,1000000000000,50\n")


def test_of_an_epoch_that_is_there_twice_the_last_line_counts():
    assert curves.accuracies("stage,epoch,test_top1\nmain,1,50\nmain,1,60\n")[1] == {1: 60.0}


def test_mean_and_spread_are_numpys():
    values, made = trials(4)
    found = curves.mean(made)
    np.testing.assert_allclose(found.values, values.mean(axis=0))
    np.testing.assert_allclose(found.spread, values.std(axis=0, ddof=1))
    assert found.trials == 4


def test_one_trial_has_no_spread():
    values, made = trials(1)
    assert (curves.mean(made).values, curves.mean(made).spread) == (values[0].tolist(), [])
    assert curves.difference(made, made).spread == []


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_differences_have_scipys_interval(level):
    (a, first), (b, second) = trials(3), trials(3, seed=1)
    found = curves.difference(first, second, level)
    expected = stats.ttest_rel(a, b, axis=0).confidence_interval(1 - level)
    np.testing.assert_allclose(np.subtract(found.values, found.spread), expected.low)
    np.testing.assert_allclose(np.add(found.values, found.spread), expected.high)


def test_differences_need_as_many_trials():
    with pytest.raises(ValueError, match="3 and 2 trials"):
        curves.difference(trials(3)[1], trials(2)[1])


def test_only_epochs_that_all_trials_have_count():
    assert curves.mean([{1: 1.0, 2: 2.0, 3: 3.0}, {2: 4.0, 3: 5.0, 4: 0.0}]).epochs == [2, 3]
    assert curves.mean([{1: 1.0}, {2: 2.0}]).epochs == []
    assert curves.mean([]).values == []


def test_long_curves_are_thinned_evenly_and_keep_both_ends():
    epochs = curves.shared([dict.fromkeys(range(1, 241), 0.0)])
    assert (len(epochs), epochs[0], epochs[-1]) == (60, 1, 240)
    assert set(np.diff(epochs)) == {4, 5}
    assert len(curves.shared([dict.fromkeys(range(1, 61), 0.0)])) == 60
