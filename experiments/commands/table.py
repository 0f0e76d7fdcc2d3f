"""`table`: the leaderboard of what is done."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.commands.common import Verbs, add_matrix_verb, planned

# Those of results.formats, which imports pandas (a test compares them), by their files' endings.
FORMATS = {
    "markdown": ".md",
    "csv": ".csv",
    "latex": ".tex",
    "json": ".json",
    "html": ".html",
}


def table(args: argparse.Namespace) -> int:
    """Print the leaderboard, or write it to a file."""
    from experiments.commands.board import board_of
    from results import records
    from results.formats import to_text

    plan = planned(args, strict=False)
    board = board_of(plan)
    text = to_text(board, args.format or _format_of(args.output), args.best)
    if args.output:
        records.write_atomic(args.output, text)
        print(f"wrote {args.output}")
    else:
        print(text, end="" if text.endswith("\n") else "\n")
    if not board.frame["n"].any():
        print(f"note: no results of this matrix in {plan.workspace.runs}", file=sys.stderr)
    return 0


def _format_of(output: Path | None) -> str:
    """By the file's ending; markdown for the terminal and for unknown endings."""
    ending = output.suffix.lower() if output else ""
    return next((name for name, its in FORMATS.items() if its == ending), "markdown")


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_matrix_verb(verbs, "table", table)
    verb.add_argument(
        "--format",
        choices=list(FORMATS),
        help="write this format (default: by the ending of --output, else markdown)",
    )
    verb.add_argument("--output", type=Path, help="write to this file")
    verb.add_argument("--best", action="store_true", help="add the best epochs' accuracies")
