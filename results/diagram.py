"""A critical-difference diagram: mean ranks over pairs, joined where they cannot be told apart.

For a selection of methods only. Its test, Nemenyi's, compares all methods with all others by their
ranks: over 13 pairs, the critical difference of forty methods is 17.8 mean ranks, so nothing could
ever be separated (Demšar, JMLR 2006, section 3.2.2).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from results.leaderboard import Leaderboard
from results.printed import ROUNDING
from results.statistics import MIN_UNITS
from results.verdicts import groups_of

if TYPE_CHECKING:
    import pandas as pd

MOST_METHODS = 10
ENDINGS = (".svg", ".pdf", ".png")


class DiagramError(ValueError):
    """A table of which no such diagram can be drawn; the message is one line."""


def ranks(board: Leaderboard) -> pd.DataFrame:
    """Pairs × methods, each method's rank in its pair; 1 is best, ties share the mean rank.

    Only methods with every pair, of the table's own recipe and data. DiagramError where a diagram
    would mislead.
    """
    scores = _complete(board)
    if scores.shape[1] > MOST_METHODS:
        raise DiagramError(
            f"a critical-difference diagram shows at most {MOST_METHODS} methods, here "
            f"{scores.shape[1]}: choose some with --methods"
        )
    if scores.shape[1] < 3:
        raise DiagramError(f"{scores.shape[1]} methods have every pair: ranks need at least 3")
    shown = [cell for cell in board.cells if cell.method in scores.columns]
    units = len(set(groups_of(shown, board.pairs)))
    if units < MIN_UNITS:
        raise DiagramError(
            f"a critical-difference diagram needs at least {MIN_UNITS} pairs that share no runs, "
            f"here {units}"
        )
    return scores.round(ROUNDING).rank(axis=1, ascending=False)


def _complete(board: Leaderboard) -> pd.DataFrame:
    whole = board.frame.groupby("method", sort=False)["complete"].all()
    whole &= ~whole.index.isin(board.departing)
    frame = board.frame[board.frame["method"].map(whole)]
    table = frame.pivot(index="pair", columns="method", values="mean")
    return table.loc[list(board.pairs), [m for m in board.methods if whole[m]]]


def draw(board: Leaderboard, ending: str) -> bytes:
    """The diagram as a picture in the format of one of `ENDINGS`; equal boards, equal bytes."""
    import matplotlib
    import scikit_posthocs

    matplotlib.use("agg")
    from matplotlib import pyplot

    found = ranks(board)
    p = scikit_posthocs.posthoc_nemenyi_friedman(-found)  # of scores, where more is better
    # Labels as they are: "$x$" is no formula, and text in an SVG stays text.
    style: Any = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "cd"}
    with matplotlib.rc_context({**style, "font.size": 9}):
        figure, axes = pyplot.subplots(figsize=(6.5, 0.6 + 0.22 * found.shape[1]))
        scikit_posthocs.critical_difference_diagram(found.mean(), p, ax=axes)
        axes.set_title(
            f"{board.dataset}: mean rank over {len(found)} pairs (1 is best)", fontsize=9
        )
        file = io.BytesIO()
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(ending)
        figure.savefig(file, format=ending[1:], bbox_inches="tight", dpi=200, metadata=metadata)
        pyplot.close(figure)
    return file.getvalue()
