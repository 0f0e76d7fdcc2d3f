"""Teacher ladders: what a student gains from better teachers.

A ladder has the pairs of one student with two teachers or more. Chains are left out: whom the last
student learns from there is another network for each method.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from results import statistics
from results.cells import Cell, is_missing, of_one_protocol
from results.leaderboard import Leaderboard, leaderboard
from results.statistics import Difference, Estimate

FEWEST = 2  # teachers of a ladder
FEWEST_FOR_TAU = 3  # of two, tau is 1 or -1 whatever the students do
FEWEST_FOR_CLAIM = statistics.MIN_UNITS
ARROW = " → "
NO_TEACHER = "none"


@dataclass(frozen=True)
class Gain:
    """Points above the student alone; ``estimate`` is for all gains of the ladder together."""

    difference: Difference
    estimate: Estimate | None = None


@dataclass(frozen=True)
class Trend:
    """Kendall's tau-b between the accuracies of n teachers and of their students.

    ``p`` is for all methods of the ladder together (Bonferroni); None under `FEWEST_FOR_CLAIM`
    teachers, and where one side is all equal.
    """

    tau: float | None
    n: int
    p: float | None = None


@dataclass(frozen=True)
class Ladder:
    """The teachers of one student, by their accuracy.

    board    the cells of its pairs alone, in this order
    alone    the row of the student without a teacher; None where the matrix has none
    left_out rows of another recipe or other data
    """

    student: str
    board: Leaderboard
    alone: str | None
    left_out: tuple[str, ...]
    gains: dict[tuple[str, str], Gain]  # by (method, pair); only of complete cells
    trends: dict[str, Trend]

    @property
    def methods(self) -> list[str]:
        """The rows that have a teacher."""
        return [method for method in self.board.methods if method != self.alone]


def ladders(board: Leaderboard) -> list[Ladder]:
    """A ladder for each student with two teachers, in the order of the board's pairs."""
    by_student: dict[str, list[str]] = {}
    for pair in board.pairs:
        teacher, _, student = pair.partition(ARROW)
        if ARROW not in student and teacher != NO_TEACHER:
            by_student.setdefault(student, []).append(pair)
    found = (pairs for pairs in by_student.items() if len(pairs[1]) >= FEWEST)
    return [made for student, pairs in found if (made := _ladder(board, student, pairs))]


def teacher_of(pair: str) -> str:
    """The teacher of a pair as tables print it."""
    return pair.partition(ARROW)[0]


def _ladder(board: Leaderboard, student: str, pairs: Sequence[str]) -> Ladder | None:
    """None where no row of the table's own recipe and data has a teacher."""
    place = {pair: i for i, pair in enumerate(_by_accuracy(board, pairs))}
    shown = [cell for cell in of_one_protocol(board.cells) if cell.pair in place]
    alone = (
        board.baseline if any(_is_alone(c) for c in shown if c.method == board.baseline) else None
    )
    if all(cell.method == alone for cell in shown):
        return None
    methods = {method: i for i, method in enumerate(board.methods)}
    shown.sort(key=lambda cell: (methods[cell.method], place[cell.pair]))
    teachers = {pair: board.teachers[pair] for pair in place if pair in board.teachers}
    left = tuple(method for method in board.methods if method in board.departing)
    own = leaderboard(
        shown,
        teachers,
        dataset=board.dataset,
        recipe=board.recipe,
        exceptions=board.exceptions_beside(left),
        level=board.level,
    )
    gains = _judged(_gains(own, alone), board.level)
    return Ladder(student, own, alone, left, gains, _trends(own, alone))


def _is_alone(cell: Cell) -> bool:
    """Whether a row's student has no teacher."""
    spec = cell.record.spec if cell.record else cell.spec or {}
    return not spec.get("teacher")


def _by_accuracy(board: Leaderboard, pairs: Sequence[str]) -> list[str]:
    """From the weakest teacher to the best; those that are not measured yet are last."""
    known = {pair: board.teacher(pair)[0] for pair in pairs}
    return sorted(
        pairs, key=lambda p: (is_missing(known[p]), 0.0 if is_missing(known[p]) else known[p])
    )


# ---- gains ---------------------------------------------------------------------------------------


def _gains(board: Leaderboard, alone: str | None) -> dict[tuple[str, str], Gain]:
    """Of every method on every pair where it and the student alone have the same trials."""
    scores: dict[tuple[str, str], dict[int, float | None]] = {}
    for cell in board.cells:
        value = cell.record.top1 if cell.record else None
        scores.setdefault((cell.method, cell.pair), {})[cell.trial] = value
    whole = {key: _whole(found) for key, found in scores.items()}
    step = 100 / min(_sizes(board), default=float("inf"))
    found = {}
    for (method, pair), own in whole.items():
        base = whole.get((alone, pair), {}) if alone else {}
        if method != alone and own and own.keys() == base.keys():
            trials = sorted(own)
            above, below = ([side[t] for t in trials] for side in (own, base))
            found[method, pair] = Gain(statistics.paired(above, below, step))
    return found


def _whole(scores: dict[int, float | None]) -> dict[int, float]:
    """By trial; empty unless every planned trial is there."""
    known = {trial: score for trial, score in scores.items() if score is not None}
    return known if len(known) == len(scores) else {}


def _sizes(board: Leaderboard) -> Iterable[int]:
    counts = (cell.record.accuracy.samples for cell in board.cells if cell.record)
    return (n for n in counts if n)


def _judged(gains: dict[tuple[str, str], Gain], level: float) -> dict[tuple[str, str], Gain]:
    """With intervals: Student's t on paired trials, Bonferroni over all gains of the ladder."""
    return {
        key: replace(gain, estimate=statistics.estimate(gain.difference, len(gains), level))
        for key, gain in gains.items()
    }


# ---- trends --------------------------------------------------------------------------------------


def _trends(board: Leaderboard, alone: str | None) -> dict[str, Trend]:
    """By method, over its complete cells whose teacher is measured."""
    methods = [method for method in board.methods if method != alone]
    cells = board.frame[board.frame["complete"] & board.frame["teacher_accuracy"].notna()]
    made = {}
    for method in methods:
        own = cells[cells["method"] == method]
        sides = (own["teacher_accuracy"].tolist(), own["mean"].tolist())
        made[method] = _trend(*sides, comparisons=len(methods))
    return made


def _trend(teachers: Sequence[float], students: Sequence[float], comparisons: int) -> Trend:
    from scipy import stats

    n = len(teachers)
    if n < FEWEST_FOR_TAU or len(set(teachers)) == 1 or len(set(students)) == 1:
        return Trend(None, n)
    found = stats.kendalltau(teachers, students)
    claim = min(1.0, comparisons * float(found.pvalue)) if n >= FEWEST_FOR_CLAIM else None
    return Trend(float(found.statistic), n, claim)
