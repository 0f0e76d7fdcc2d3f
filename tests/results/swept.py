"""Made-up leaderboards with sweeps and with several teachers; accuracies follow from a formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from results.cells import Cell, TeacherScores
from results.leaderboard import Leaderboard, leaderboard
from results.pivot import Family, Value
from tests.results.example import record

PAIRS = ("a → s", "b → s")
Point = Mapping[str, float]
Accuracy = Callable[[Point, int], float]  # of a point on the pair of this number, in percent


def value(number: float) -> Value:
    return Value(f"{number:g}", float(number))


def label(family: str, point: Point) -> str:
    listed = ", ".join(f"{key} {number:g}" for key, number in point.items())
    return f"{family} ({listed})" if listed else family


def swept(
    own: Point,
    points: Iterable[Point],
    accuracy: Accuracy = lambda point, pair: 60 + pair + sum(map(math.log1p, point.values())),
    *,
    pairs: Iterable[str] = PAIRS,
    trials: int = 3,
    spread: float = 0.1,
    family: str = "KD",
) -> Leaderboard:
    """A row for each point, which may leave out what stays at the entry's own value."""
    rng, made, variants = np.random.default_rng(0), [], {}
    for point in points:
        row = label(family, point)
        variants[row] = {key: value({**own, **point}[key]) for key in own}
        for p, pair in enumerate(pairs):
            for trial in range(trials):
                score = accuracy({**own, **point}, p) + spread * rng.normal()
                run = f"{row}-{p}-{trial}"
                made.append(Cell(pair, row, trial, record(score, run=run)))
    board = leaderboard(made, {}, dataset="digits", recipe="240 epochs")
    known = {key: value(number) for key, number in own.items()}
    return replace(board, families=(Family(family, known, variants),))


def without(board: Leaderboard, row: str, pair: str, trial: int = 0) -> Leaderboard:
    """The board where one run is not done yet."""
    cells = [
        replace(c, record=None, state="to do")
        if (c.method, c.pair, c.trial) == (row, pair, trial)
        else c
        for c in board.cells
    ]
    made = leaderboard(cells, {}, dataset=board.dataset, recipe=board.recipe)
    return replace(made, families=board.families)


def taught(
    teachers: Mapping[str, float],
    gains: Mapping[str, Callable[[float], float]],
    *,
    trials: int = 3,
    spread: float = 0.1,
    students: Iterable[str] = ("s",),
) -> Leaderboard:
    """Teachers by accuracy, methods by what they add to the student alone (60 %)."""
    rng, cells = np.random.default_rng(0), []
    alone = {"teacher": None}
    for student in students:
        luck = [60 + spread * rng.normal() for _ in range(trials)]
        for name, accuracy in teachers.items():
            pair = f"{name} → {student}"
            for t in range(trials):
                run = record(luck[t], run=f"{student}-{t}", spec=alone)
                cells.append(Cell(pair, "Student alone", t, run))
                for method, gain in gains.items():
                    score = luck[t] + gain(accuracy) + spread * rng.normal()
                    spec = {"teacher": {"name": name}}
                    run = record(score, run=f"{pair}-{method}-{t}", spec=spec)
                    cells.append(Cell(pair, method, t, run))
    order = ["Student alone", *gains]
    cells.sort(key=lambda cell: order.index(cell.method))
    known = {
        cell.pair: TeacherScores(t := cell.pair.split(" → ")[0], (teachers[t],)) for cell in cells
    }
    return leaderboard(
        cells, known, dataset="digits", recipe="240 epochs", baseline="Student alone"
    )
