"""A made-up leaderboard of a matrix that tunes; its numbers follow from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from results.cells import Cell
from results.leaderboard import Leaderboard, leaderboard
from results.tuning import Search, Stage, Tuning
from tests.results.example import record

ALONE = "Student alone"
CONFIGS = 8
# method -> (points above the student with its own options, points that tuning adds)
METHODS = {"KD": (2.0, 1.0), "DKD": (2.5, 0.1), "AT": (0.5, 2.5), "CRD": (1.8, 0.0)}


def row(method: str) -> str:
    return f"{method} (tuned)"


def board(
    pairs: int = 2,
    trials: int = 3,
    spread: float = 0.1,
    methods: Mapping[str, tuple[float, float]] = METHODS,
) -> Leaderboard:
    """CRD's own options were chosen: its tuned runs are its own."""
    made = cells(pairs, trials, spread, methods)
    names = list(dict.fromkeys(cell.pair for cell in made))
    plain = leaderboard(made, {}, dataset="digits", baseline=ALONE)
    return replace(plain, tuning=tuning(names, methods))


def cells(
    pairs: int, trials: int, spread: float, methods: Mapping[str, tuple[float, float]] = METHODS
) -> list[Cell]:
    rng, made = np.random.default_rng(0), []
    for p in range(pairs):
        pair = f"t{p} → s{p}"
        gains = {ALONE: (0.0, 0.0), **methods}
        for method, (gain, more) in gains.items():
            for trial in range(trials):
                score = 60 + p + gain + rng.normal(0, spread)
                own = record(score, run=f"{p}-{method}-{trial}")
                made.append(Cell(pair, method, trial, own))
                if method == ALONE:
                    continue
                run = f"{p}-{method}-tuned-{trial}"
                other = record(score + more + rng.normal(0, spread), run=run) if more else own
                made.append(Cell(pair, row(method), trial, other))
    order = [ALONE, *methods, *map(row, methods)]
    return sorted(made, key=lambda cell: order.index(cell.method))


def tuning(pairs: list[str], methods: Mapping[str, tuple[float, float]] = METHODS) -> Tuning:
    searches = [search(m, (p,), 0 if not methods[m][1] else 3) for m in methods for p in pairs]
    final = len(pairs) * len(methods) * 3
    return Tuning(
        searches=tuple(searches),
        tuned={method: row(method) for method in methods},
        stages=(
            Stage("teachers of the search", len(pairs), len(pairs), 60.0),
            Stage("search", len(searches) * CONFIGS, len(searches) * CONFIGS, 9000.0),
            Stage("final, own options", final, final, 4000.0),
            Stage("final, tuned", final, final, 4000.0),
        ),
        configs=CONFIGS,
        trials=1,
        epochs=60,
        held_out="10 % of the training set",
    )


def search(method: str, pairs: tuple[str, ...], chosen: int | None, **changes: Any) -> Search:
    """Configuration ``chosen`` is the best; number 0 has weight 1 and temperature 4."""
    rng = np.random.default_rng(sum(map(ord, method + pairs[0])))
    scores = 50 + 5 * rng.random(CONFIGS)
    scores[chosen or 0] = 56.25
    options = [{"weight": 1.0 + i, "temperature": 4.0, "ce": 1.0} for i in range(CONFIGS)]
    options[5]["temperature"] = 8.0
    made = Search(
        method, pairs, tuple(options), tuple((float(s),) for s in scores), chosen, seconds=900.0
    )
    return replace(made, **changes)


if __name__ == "__main__":
    from results.formats import to_text

    print(to_text(board(), "markdown"), end="")
