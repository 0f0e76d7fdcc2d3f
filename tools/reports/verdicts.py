#!/usr/bin/env python3
"""How often verdicts of tables are false, and how small a difference they find, by simulation.

    tools/reports/verdicts.py --output results/reports/verdicts.md

Scores are normal: each method deviates by its own amount on each pair (the interaction), each trial
by another. Three trials with a standard deviation of 0.25 points; 95 % confidence per table.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.commands.arguments import positive
from experiments.commands.entry import entry_point
from results import power, statistics
from results.power import Spread
from results.statistics import ABOVE, LEVEL, UNDECIDED, Estimate
from tools.reports import shared

TRIALS, SPREAD = 3, 0.25
SIZES = ((6, 10), (6, 40), (13, 10), (13, 40))  # pairs, methods
INTERACTIONS = (0.0, 0.3, 0.5)
EFFECTS = (0.3, 0.5, 1.0)
ABOUT = """\
Simulated tables; a share is in percent, with its standard error. `tools/reports/verdicts.py` makes
this page again (a fixed seed; the numbers do not depend on the machine)."""

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator], Array]  # scores (pairs, methods, trials)


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate and write the report."""
    parser = shared.make_parser(__doc__)
    shared.add_output(parser)
    parser.add_argument("--tables", type=positive, default=2000, help="per row (default: 2000)")
    args = parser.parse_args(arguments)
    parts = (false_verdicts, power_across, shared_baselines, spreads_within)
    texts = [part(args.tables) for part in parts]
    shared.publish("\n\n".join(["# Verdicts", ABOUT, *texts]) + "\n", args.output)
    return 0


# ---- drawing and judging tables ------------------------------------------------------------------


def scores(
    rng: np.random.Generator, pairs: int, methods: int, interaction: float, effect: float = 0.0
) -> Array:
    """(pairs, methods, trials); the second method is better by ``effect``."""
    made = rng.normal(0, interaction, (pairs, methods, 1))
    made = made + rng.normal(0, SPREAD, (pairs, methods, TRIALS))
    made[:, 1] += effect
    return np.asarray(made)


def like_these(table: Array, units: Sequence[int] = ()) -> list[Estimate]:
    means = table.mean(axis=2)
    return statistics.across_units(means[:, 1:] - means[:, :1], units)


def these(table: Array) -> list[Estimate]:
    others = range(1, table.shape[1])
    pairs = [[statistics.paired(pair[m], pair[0]) for pair in table] for m in others]
    made = [statistics.estimate(statistics.over_pairs(found), len(others)) for found in pairs]
    return [estimate for estimate in made if estimate]


def any_verdict(estimates: Sequence[Estimate]) -> bool:
    return any(estimate.verdict != UNDECIDED for estimate in estimates)


def judged(draw: Draw, is_so: Callable[[Array], bool]) -> Callable[[np.random.Generator], bool]:
    """Whether something is so of a table that is drawn."""
    return lambda rng: is_so(draw(rng))


def share(tables: int, outcome: Callable[[np.random.Generator], bool]) -> str:
    """In how many of ``tables`` the outcome is true: "4.6 ± 0.5"."""
    rng = np.random.default_rng(0)
    found = sum(outcome(rng) for _ in range(tables)) / tables
    return f"{100 * found:.1f} ± {100 * np.sqrt(found * (1 - found) / tables):.1f}"


def section(title: str, text: str, rows: Iterator[list[object]], header: Sequence[str]) -> str:
    shared.progress(f"{title} …")
    table = tabulate(list(rows), header, tablefmt="pipe", disable_numparse=True)
    return f"## {title}\n\n{text}\n\n{table}"


# ---- the parts of the report ---------------------------------------------------------------------


def false_verdicts(tables: int) -> str:
    """All methods are equal."""
    return section(
        "False verdicts",
        "All methods are equal to the baseline. Tables in which any method is called above or "
        f"below it, or is called worse than the best: at most {LEVEL:.0%} are promised. *These "
        "pairs* is shown without an interaction: with one, methods do differ on these pairs.",
        _false_rows(tables),
        ["pairs", "methods", "interaction", "pairs like these", "these pairs", "best set"],
    )


def _false_rows(tables: int) -> Iterator[list[object]]:
    for pairs, methods in SIZES:
        for interaction in INTERACTIONS:
            draw = functools.partial(scores, pairs=pairs, methods=methods, interaction=interaction)
            fewer = _fewer(tables, pairs, methods)
            yield [
                *(pairs, methods, interaction),
                share(tables, judged(draw, lambda table: any_verdict(like_these(table)))),
                "" if interaction else share(tables // 4, judged(draw, _these_any)),
                share(fewer, judged(draw, _excludes)),
            ]


def _these_any(table: Array) -> bool:
    return any_verdict(these(table))


def _excludes(table: Array) -> bool:
    return not all(statistics.best_set(table.mean(axis=2)))


def _fewer(tables: int, pairs: int, methods: int) -> int:
    """The best of forty over 13 pairs: 780 comparisons under 4,096 patterns take a while."""
    return tables // 4 if pairs * methods > 500 else tables


def power_across(tables: int) -> str:
    """One method is better."""
    return section(
        "Power",
        "One method is better by so many points on average over pairs; tables in which it is found "
        "above the baseline, for pairs like these. *predicted* is what `plan --detect` uses.",
        _power_rows(tables),
        ["pairs", "methods", "interaction", *(f"{e:g} points" for e in EFFECTS), "predicted"],
    )


def _power_rows(tables: int) -> Iterator[list[object]]:
    for pairs, methods in SIZES:
        for interaction in INTERACTIONS:
            size: dict[str, Any] = {
                "pairs": pairs, "methods": methods, "interaction": interaction,
            }  # fmt: skip
            found = [
                share(tables // 4, judged(functools.partial(scores, **size, effect=effect), _finds))
                for effect in EFFECTS
            ]
            # Both a method and the baseline deviate, so their difference does by √2 as much.
            spread = Spread(SPREAD, interaction * np.sqrt(2))
            chances = [power.across(e, spread, pairs, TRIALS, methods - 1) for e in EFFECTS]
            yield [*size.values(), *found, ", ".join(f"{100 * c:.0f}" for c in chances)]


def _finds(table: Array) -> bool:
    return like_these(table)[0].verdict == ABOVE


def shared_baselines(tables: int) -> str:
    """Pairs with one student share its runs alone."""
    return section(
        "Pairs that share the student alone",
        "Twelve pairs, two for each of six students, ten equal methods, no interaction. Pairs with "
        "one student share the runs of the student alone, so their luck comes back in both. Tables "
        "with any false verdict where such pairs are taken as independent, and where they are one "
        "unit (what tables here do).",
        _shared_rows(tables),
        ["as twelve units", "as six units"],
    )


def _shared_rows(tables: int) -> Iterator[list[object]]:
    students = [pair // 2 for pair in range(12)]

    def draw(rng: np.random.Generator) -> Array:
        table = scores(rng, 12, 10, 0.0)
        table[1::2, 0] = table[::2, 0]
        return table

    yield [
        share(tables, lambda rng: any_verdict(like_these(draw(rng)))),
        share(tables, lambda rng: any_verdict(like_these(draw(rng), students))),
    ]


def spreads_within(tables: int) -> str:
    """One pair: each comparison's own spread, or one spread of all methods."""
    return section(
        "Within one pair",
        "Nine equal methods or fifty-three, one pair. Tables with any false verdict and the median "
        "half-width of the intervals in points, if each comparison uses its own spread (what "
        "tables here do) or all share a pooled one, as an analysis of variance does. *Unequal*: "
        "the methods' standard deviations scatter by a factor of 1.6 (log-normal); *one noisy*: "
        "one method has four times the others'.",
        _spread_rows(tables),
        ["methods", "trials", "spreads", "own: false", "width", "pooled: false", "width"],
    )


def _spread_rows(tables: int) -> Iterator[list[object]]:
    for methods, trials in ((9, 3), (9, 5), (9, 10), (53, 3), (53, 5)):
        for name in ("equal", "unequal", "one noisy"):
            row: list[object] = [methods, trials, name]
            for pooled in (False, True):
                row += _judged(tables // 2, methods, trials, name, pooled)
            yield row


def _judged(tables: int, methods: int, trials: int, spreads: str, pooled: bool) -> list[object]:
    from scipy import stats

    widths: list[float] = []
    freedom = (methods - 1) * (trials - 1) if pooled else trials - 1
    critical = float(stats.t.isf(LEVEL / (methods - 1) / 2, freedom))

    def outcome(rng: np.random.Generator) -> bool:
        table = rng.normal(size=(methods, trials)) * _deviations(rng, methods, spreads)[:, None]
        differences = table[1:] - table[0]
        variances = differences.var(axis=1, ddof=1)
        if pooled:
            rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
            variances = np.full(methods - 1, 2 * (rest**2).sum() / freedom)
        half = critical * np.sqrt(variances / trials)
        widths.append(float(np.median(half)))
        return bool((np.abs(differences.mean(axis=1)) > half).any())

    found = share(tables, outcome)
    return [found, f"{np.median(widths):.2f}"]


def _deviations(rng: np.random.Generator, methods: int, spreads: str) -> Array:
    made = np.full(methods, SPREAD)
    if spreads == "unequal":
        made = made * np.exp(rng.normal(0, 0.5, methods))
    elif spreads == "one noisy":
        made[1] *= 4
    return made


if __name__ == "__main__":
    sys.exit(main())
