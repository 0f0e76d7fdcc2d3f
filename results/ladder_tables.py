"""Teacher ladders as tables of text and as rows of data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from results import tables
from results.cells import is_missing
from results.ladder import FEWEST_FOR_CLAIM, FEWEST_FOR_TAU, Gain, Ladder, Trend, teacher_of
from results.layout import Table, transposed
from results.printed import MISSING, number, signed
from results.verdict_tables import interval

_ACCURACY = "Its accuracy"


def of_all(ladders: Iterable[Ladder]) -> list[Table]:
    """Of each ladder: accuracies, gains over the student alone, and whether they follow."""
    return [table for ladder in ladders for table in _of(ladder)]


def _of(ladder: Ladder) -> Iterator[Table]:
    yield _accuracies(ladder)
    if ladder.alone is not None:
        yield _gains(ladder)
    yield _trends(ladder)


def _title(ladder: Ladder, what: str) -> str:
    return f"{ladder.board.dataset}: {ladder.student} by its teachers, {what}"


# ---- accuracies ----------------------------------------------------------------------------------


def _accuracies(ladder: Ladder) -> Table:
    """Teachers as rows, methods as columns."""
    turned = transposed(tables.of_pairs(ladder.board, _title(ladder, "test top-1 accuracy (%)")))
    scores = _teachers(ladder)
    is_there = bool(ladder.board.teachers)
    names = [name for name in turned.header[1:] if not (is_there and name == "Teacher")]
    rows = [
        [teacher_of(pair), scores[pair], *row[1 + is_there :]]
        for pair, row in zip(ladder.board.pairs, turned.rows, strict=True)
    ]
    header = ["Teacher", _ACCURACY, *names]
    return replace(
        turned, header=header, rows=rows, notes=_notes(ladder, turned.notes), has_pairs=False
    )


def _teachers(ladder: Ladder) -> dict[str, str]:
    """The teachers' accuracies by pair; a dash where it is not measured yet."""
    means = {pair: ladder.board.teacher(pair)[0] for pair in ladder.board.pairs}
    return {pair: number(mean) for pair, mean in means.items()}


def _notes(ladder: Ladder, about_cells: Iterable[str]) -> list[str]:
    recipe, left = ladder.board.recipe, ladder.left_out
    return [
        *about_cells,
        *[f"Recipe: {recipe}."] * bool(recipe),
        *(f"Exception: {text}" for text in ladder.board.exceptions),
        *[f"Left out, as of another recipe or other data: {', '.join(left)}."] * bool(left),
        *["No gains: the matrix has no student alone (vanilla)."] * (ladder.alone is None),
        *(f"Warning: {text}" for text in ladder.board.warnings),
    ]


# ---- gains ---------------------------------------------------------------------------------------


def _gains(ladder: Ladder) -> Table:
    scores = _teachers(ladder)
    rows = [
        [teacher_of(pair), scores[pair], *(_gain(ladder, m, pair) for m in ladder.methods)]
        for pair in ladder.board.pairs
    ]
    title = _title(ladder, f"gain over {ladder.alone} (points)")
    header = ["Teacher", _ACCURACY, *ladder.methods]
    return Table(title, header, rows, notes=_about_gains(ladder))


def _gain(ladder: Ladder, method: str, pair: str) -> str:
    gain = ladder.gains.get((method, pair))
    if gain is None:
        return MISSING
    return interval(gain.estimate) if gain.estimate else signed(gain.difference.mean)


def _about_gains(ladder: Ladder) -> list[str]:
    judged = sum(gain.estimate is not None for gain in ladder.gains.values())
    if not judged:
        return [
            "Nothing is claimed of gains: their noise is not known from one trial."
            if ladder.gains
            else "No gain yet: it needs every trial of a method and of the student alone."
        ]
    return [
        f"Brackets: intervals that hold with {100 * (1 - ladder.board.level):g} % confidence for "
        f"all {len(ladder.gains)} gains together, for these teachers: paired by trial, Student's "
        "t, Bonferroni. All gains share the runs of the student alone."
    ]


# ---- trends --------------------------------------------------------------------------------------


def _trends(ladder: Ladder) -> Table:
    rows = [[m, _tau(t), str(t.n), _p(t), _claim(ladder, t)] for m, t in ladder.trends.items()]
    header = ["Method", "Kendall's τ", "n", "p", "With better teachers"]
    title = _title(ladder, "order of the students against order of the teachers")
    return Table(title, header, rows, notes=_about_trends(ladder))


def _tau(trend: Trend) -> str:
    return MISSING if trend.tau is None else signed(trend.tau)


def _p(trend: Trend) -> str:
    return MISSING if trend.p is None else f"{trend.p:.2g}"


def _claim(ladder: Ladder, trend: Trend) -> str:
    verdict = claim_of(trend, ladder.board.level)
    return MISSING if verdict is None else verdict


def claim_of(trend: Trend, level: float) -> str | None:
    """What can be said of a trend; None where nothing is claimed."""
    if trend.p is None or trend.tau is None:
        return None
    if trend.p > level:
        return "not separated"
    return "better students" if trend.tau > 0 else "worse students"


def _about_trends(ladder: Ladder) -> list[str]:
    lines = [
        f"τ-b between the accuracies of n teachers, each trained once, and of their students; from "
        f"{FEWEST_FOR_TAU} teachers on."
    ]
    many = len(ladder.trends)
    if any(trend.p is not None for trend in ladder.trends.values()):
        together = f", times {many} for all methods together" if many > 1 else ""
        lines.append(f"p: of no association, two-sided{together}. The unit is the teacher.")
    if any(trend.n < FEWEST_FOR_CLAIM for trend in ladder.trends.values()):
        lines.append(f"Nothing is claimed of fewer than {FEWEST_FOR_CLAIM} teachers.")
    return lines


# ---- data ----------------------------------------------------------------------------------------


def rows(ladders: Iterable[Ladder]) -> list[dict[str, Any]]:
    """One row per teacher and method; accuracies in percent, gains in points, None for no value."""
    return [
        {
            "student": ladder.student,
            "teacher": teacher_of(cell["pair"]),
            "method": cell["method"],
            **{name: _value(cell[name]) for name in ("teacher_accuracy", "n", "mean", "std")},
            **{name: _value(cell[name]) for name in ("complete", "reason")},
            **_gain_row(ladder.gains.get((cell["method"], cell["pair"]))),
        }
        for ladder in ladders
        for cell in ladder.board.frame.to_dict("records")
    ]


def _value(value: Any) -> Any:
    return None if is_missing(value) else value


def _gain_row(gain: Gain | None) -> dict[str, Any]:
    estimate = gain.estimate if gain else None
    names = ("low", "high", "p", "verdict")
    judged = {f"gain_{name}": getattr(estimate, name) if estimate else None for name in names}
    return {"gain": gain.difference.mean if gain else None, **judged}


def objects(ladders: Iterable[Ladder]) -> list[dict[str, Any]]:
    """The json's ``ladders``: each with its rows, and Kendall's tau by method."""
    return [
        {
            "student": ladder.student,
            "alone": ladder.alone,
            "left_out": list(ladder.left_out),
            "confidence": round(1 - ladder.board.level, 6),
            "rows": rows([ladder]),
            "trends": {m: _trend(ladder, trend) for m, trend in ladder.trends.items()},
        }
        for ladder in ladders
    ]


def _trend(ladder: Ladder, trend: Trend) -> dict[str, Any]:
    claim = claim_of(trend, ladder.board.level)
    return {"tau": trend.tau, "n": trend.n, "p": trend.p, "verdict": claim}
