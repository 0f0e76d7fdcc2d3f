"""How tables print numbers: equal averages print equal digits, and share their rank."""

from __future__ import annotations

from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results import diagram, printed, selection
from results.formats import to_text
from results.printed import MISSING, number, plus_minus, rounded, signed
from tests.results.test_leaderboard import make

ANSWERS = st.integers(1000, 9000)  # right ones of 10,000


@given(st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=3), st.integers(-900, 900))
def test_equal_averages_print_equal_digits(trials: list[tuple[int, int]], moved: int) -> None:
    """What one pair gains and the other loses changes no average of two pairs."""

    def average(gain: int) -> float:
        first = [(a + gain * (i == 0)) / 100 for i, (a, _) in enumerate(trials)]
        second = [(b - gain * (i == 0)) / 100 for i, (_, b) in enumerate(trials)]
        return fmean([fmean(first), fmean(second)])

    assert number(average(moved)) == number(average(0))
    assert rounded(average(moved)) == rounded(average(0))
    assert signed(average(moved) - average(0)) == "+0.00"


def test_the_last_bit_of_a_sum_would_print_another_digit() -> None:
    one, other = fmean([57.79, 83.04]), fmean([62.08, 78.75])
    assert (f"{one:.2f}", f"{other:.2f}") == ("70.42", "70.41")
    assert number(one) == number(other)


def test_a_table_ranks_them_alike() -> None:
    made = make(
        {
            "one": {"p": [57.79], "q": [83.04]},
            "other": {"p": [62.08], "q": [78.75]},
            "least": {"p": [10.0], "q": [20.0]},
        }
    )
    assert made.average("one") != made.average("other")  # what csv and json hold
    assert selection.ranks(made) == {"one": 1, "other": 1, "least": 3}
    assert selection.sorted_by(made, "average").methods == ("one", "other", "least")
    assert to_text(made, "markdown").count(" 70.42 ") == 2


def test_mean_ranks_share_a_place_where_only_rounding_tells_apart() -> None:
    one, other = [57.79, 83.04], [62.08, 78.75]
    pairs = [f"t{i} → s{i}" for i in range(6)]
    scores = {"one": one, "other": other, "least": [10.0, 20.0]}
    made = make({method: dict.fromkeys(pairs, trials) for method, trials in scores.items()})
    assert diagram.ranks(made).mean().to_dict() == {"one": 1.5, "other": 1.5, "least": 3.0}


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_what_is_not_there_is_a_dash(missing: float | None) -> None:
    assert number(missing) == plus_minus(missing, missing) == MISSING
    assert plus_minus(71.2, missing) == "71.20"


def test_forms() -> None:
    assert (number(71.204), number(0.12346, 4)) == ("71.20", "0.1235")
    assert plus_minus(71.2, 0.31) == "71.20 ± 0.31"
    assert number(3.815) == number(3.815 + 1e-12) == number(3.815 - 1e-12)
    assert [signed(x) for x in (0.27, -0.1, -0.001, 0.0)] == ["+0.27", "−0.10", "+0.00", "+0.00"]
    assert str(rounded(-0.001)) == "0.0"
    assert [str(rounded(float(x))) for x in ("nan", "inf")] == ["nan", "inf"]
    assert printed.settled(0.1 + 0.2) == 0.3
