"""What must be said below the tables of a tuning."""

from __future__ import annotations

from collections.abc import Sequence

from results.leaderboard import Leaderboard
from results.printed import rounded
from results.statistics import MIN_UNITS
from results.tuning import Search, Tuning
from results.tuning_gains import Gain, units_of
from results.tuning_order import DRAWS, INSIDE, Order

# Degrees of freedom, pairs × (trials − 1). In simulated tables of 20 methods the intervals held the
# true rank in 87 % of cases with 2, 94 % with 4, 95 % with 6.
_ENOUGH = 6


def about_gains(board: Leaderboard, tuning: Tuning, found: Sequence[Gain]) -> list[str]:
    """What the test set was used for, and what the intervals are of."""
    lines = [
        "The test set was read once by each run of these two rows, at its last epoch. The runs of "
        "the search did not read it, so no accuracy on it played a part in a choice."
    ]
    judged = [p for gain in found for p in gain.pairs.values() if p.estimate]
    whole = [gain for gain in found if gain.complete]
    if judged:
        lines.append(_confidence(board, len(judged), len(whole)))
        lines.append(
            "Intervals are of the chosen options: another search (seed, hold-out) may choose "
            "others, and that is in no interval."
        )
    elif any(p.gain and not p.same for gain in found for p in gain.pairs.values()):
        lines.append("One trial per cell: no gain can be judged.")
    return [*lines, *_across(board, whole)]


def _confidence(board: Leaderboard, cells: int, methods: int) -> str:
    level = f"{100 * (1 - board.level):g} % confidence"
    text = f"Brackets: intervals of the gain, paired by trial (Student's t), with {level} for "
    text += "this comparison" if cells == 1 else f"all {cells} comparisons of this table together"
    if len(board.pairs) < 2 or not methods:
        return f"{text}."
    return f"{text}; of the averages, for all methods together."


def _across(board: Leaderboard, whole: Sequence[Gain]) -> list[str]:
    units = len(set(units_of(board, whole))) if whole else 0
    if not whole or len(board.pairs) < 2:
        return []
    if units < MIN_UNITS:
        return [f"No claim is made across pairs: it needs {MIN_UNITS} that share no runs."]
    return [
        "Pairs like these: exact sign-flip test of the pairs' means, the largest moderated |t|."
    ]


def about_choices(tuning: Tuning, searches: Sequence[Search]) -> list[str]:
    """How the choice was made, and on which images."""
    where = "all pairs together" if tuning.joint else "each pair by itself"
    epochs = f", {tuning.epochs} epoch{'s' * (tuning.epochs > 1)}" if tuning.epochs else ""
    trials = f", {tuning.trials} trials each" if tuning.trials > 1 else ""
    lines = [
        f"Every method had {tuning.configs} configurations on {where}{epochs}{trials}: number 0 is "
        f"its own options, the others are points of a scrambled Sobol sequence (seed "
        f"{tuning.seed}) in its search space. The highest mean validation accuracy at the last "
        "epoch was chosen; of equal ones the lowest number."
    ]
    if tuning.held_out:
        lines.append(
            f"Held out for the search: {tuning.held_out}. The runs of the tables above were "
            "trained on the whole training set."
        )
    lines.append(
        "The validation accuracy of what was chosen is the highest of several, so it is "
        "flattering: the result is the test accuracy."
    )
    return [*lines, *_given(tuning), *_diverged(searches)]


def _given(tuning: Tuning) -> list[str]:
    if not tuning.given:
        return []
    which = ", ".join(tuning.given)
    verb = "teachers were" if len(tuning.given) > 1 else "teacher was"
    return [
        f"Warning: the {verb} not trained here ({which}) and may have seen the held-out images: "
        "validation accuracies may be too high, and choices may lean to what trusts the teacher."
    ]


def _diverged(searches: Sequence[Search]) -> list[str]:
    lost = sum(search.diverged for search in searches)
    if not lost:
        return []
    return [f"{lost} configuration{'s' * (lost > 1)} diverged, and so lost."]


def about_curves(searches: Sequence[Search]) -> list[str]:
    """What is drawn, and what the spread is."""
    lines = [
        "Mean ± standard deviation of the best of k configurations drawn at random, without "
        "replacement, from those that were tried (Dodge et al., EMNLP 2019, have the form with "
        "replacement). k = 1: a configuration at random."
    ]
    if any(search.diverged for search in searches):
        lines.append("A configuration that diverged counts as 0 %.")
    return lines


def about_order(found: Order) -> list[str]:
    """The agreement of both orders, and what changes of places are worth."""
    methods = len(found.own)
    lines = [
        f"Ranks by the average over {found.pairs} pair{'s' * (found.pairs > 1)}, of the {methods} "
        "methods that have every pair and trial with both options."
        if found.pairs > 1
        else f"Ranks of the {methods} methods that have every trial with both options."
    ]
    return [*lines, _agreement(found), *_bootstrap(found), _swaps(found)]


def _agreement(found: Order) -> str:
    tau = found.tau
    text = f"Kendall's tau-b between the two orders: {_tau(tau.value)}"
    if tau.low is None or tau.high is None or found.again is None:
        return f"{text}."
    low, high = found.again
    return (
        f"{text} [{_tau(tau.low)}, {_tau(tau.high)}]. Two repetitions of the own options alone "
        f"would have [{_tau(low)}, {_tau(high)}]."
    )


def _bootstrap(found: Order) -> list[str]:
    if found.trials < 2:
        return ["One trial per cell: it cannot be said how sure a rank is."]
    few = found.pairs * (found.trials - 1) < _ENOUGH
    narrow = " Of so few trials they are somewhat too narrow." if few else ""
    return [
        f"Brackets: {100 * INSIDE:g} % of {DRAWS:,} bootstrap draws (seed 0) of the n = "
        f"{found.trials} trials, the same trials for all rows of a pair, widened by √(n / (n − 1));"
        f" of these pairs only.{narrow}"
    ]


def _swaps(found: Order) -> str:
    methods = len(found.own)
    every = methods * (methods - 1) // 2
    swapped, apart = len(found.swapped), found.separated
    if not swapped:
        return "No two methods changed places."
    text = f"{swapped} of {every} pairs of methods changed places"
    if not apart:
        return f"{text}; of none are both differences separated (Student's t, Bonferroni)."
    listed = "; ".join(f"{a} and {b}" for a, b in apart)
    return f"{text}; both differences are separated (Student's t, Bonferroni) of {listed}."


def _tau(value: float) -> str:
    return f"{rounded(value):.2f}".replace("-", "−")


def about_stages(tuning: Tuning) -> list[str]:
    """What the times are."""
    lines = ["Time as recorded, of the runs that are done; runs may have shared a device."]
    if any(search.chosen == 0 for search in tuning.searches):
        lines.append("Tuned runs at a method's own options are the runs of these, counted once.")
    if any(stage.seconds is None for stage in tuning.stages):
        lines.append("–: not on record.")
    return lines
