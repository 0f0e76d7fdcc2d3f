"""The charts of a report: of a board, of one method, of one run.

What each shows is in the files ``chart_*.py``; what they share in ``chart_style.py``. A chart of
which there is nothing to show is left out, and `missing` says why where a reader would wonder.
"""

from __future__ import annotations

from collections.abc import Sequence

from results.diagram import MOST_METHODS
from results.leaderboard import Leaderboard
from results.report import (
    chart_cost,
    chart_curves,
    chart_differences,
    chart_gap,
    chart_method,
    chart_ranks,
    chart_response,
    chart_run,
    chart_tuning,
)
from results.report.chart import Chart
from results.report.content import Content
from results.statistics import MIN_UNITS


def board_charts(content: Content) -> list[Chart]:
    """The charts of a board, in the order of its page."""
    board = content.board
    return [
        *chart_differences.charts(board),
        *chart_cost.charts(board),
        *chart_curves.charts(content),
        *chart_ranks.charts(board),
        *chart_gap.charts(board),
        *chart_response.charts(board),
        *chart_tuning.charts(board),
    ]


def method_charts(content: Content, label: str) -> list[Chart]:
    """The charts of a method's page. ValueError for a label that is no row of the board."""
    board = content.board
    if label not in board.methods:
        raise ValueError(f"{label!r} is not a row: {', '.join(board.methods)}")
    shown = [method for method in (label, board.baseline) if method is not None]
    return [*chart_method.charts(content, label), *chart_curves.charts(content, shown)]


def run_charts() -> list[Chart]:
    """The charts of every run's page, without data: see `chart_run`."""
    return chart_run.charts()


def missing(content: Content, made: Sequence[Chart] | None = None) -> list[str]:
    """Why charts that a reader may look for are not among `board_charts`; one sentence each.

    made  the board's charts, where they have been made before
    """
    board = content.board
    names = {chart.name for chart in (board_charts(content) if made is None else made)}
    reasons = {
        "differences": _without_differences(board),
        "cost": "Accuracy and cost: no method has every pair with a recorded cost.",
        "curves": "Learning curves: no finished run here has a history of two epochs; a board file "
        "has histories after `collect --history`.",
        "ranks": _without_ranks(),
    }
    if len(board.pairs) > 1:
        reasons |= {
            "heatmap": "Differences by pair: no method and the baseline are complete on a pair.",
            "gap": "Capacity gap: it needs two teachers of different accuracy and a baseline.",
        }
    if board.families and not names & {chart_response.LINEAR, chart_response.LOG}:
        reasons["response"] = "Response curves: no pair has two complete values of an option."
    if board.tuning:
        reasons["tuning"] = "Tuning against its budget: no search is complete."
    return [reason for name, reason in reasons.items() if name not in names]


def _without_differences(board: Leaderboard) -> str:
    if board.baseline is None:
        return "Differences: there is no baseline; one is chosen by --baseline."
    return f"Differences: {board.baseline} or every other method lacks a pair or a trial."


def _without_ranks() -> str:
    return (
        f"Mean ranks: they need {chart_ranks.FEWEST_METHODS} to {MOST_METHODS} methods with every "
        f"pair, and {MIN_UNITS} pairs that share no runs."
    )
