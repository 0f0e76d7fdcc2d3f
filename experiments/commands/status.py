"""`status`: per pair and method, how many trials are in which state."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from typing import TYPE_CHECKING

from experiments.commands import streams, terminal
from experiments.commands.arguments import positive
from experiments.commands.common import Verbs, add_matrix_verb, note_unreadable, planned
from results.printable import printable

if TYPE_CHECKING:
    from experiments.plan.plan import Plan
    from experiments.rundir.status import Status

WATCH_SECONDS = 5  # between two looks; a look at thousands of runs takes a second
CLEAR = "\x1b[H\x1b[2J"  # the cursor to the top, nothing on the screen


def status(args: argparse.Namespace) -> int:
    """Show how many trials of each pair and method are in which state, and why some failed."""
    plan = planned(args, strict=False, looks=True)
    if args.watch:
        _watch(plan, args)
    streams.show(_text(plan, args))
    return 0


def _watch(plan: Plan, args: argparse.Namespace) -> None:
    """Print the table again and again, until Ctrl-C."""
    while True:
        text, now = _text(plan, args), time.strftime("%H:%M:%S")
        if sys.stdout.isatty():
            text = CLEAR + _first_lines(text, shutil.get_terminal_size().lines - 2)
        streams.show(f"{text}\n---- {now}, every {args.watch} seconds, Ctrl-C ends")
        time.sleep(args.watch)


def _first_lines(text: str, count: int) -> str:
    """As much as fits on the screen, and how much does not."""
    lines = text.splitlines()
    if len(lines) <= count:
        return text
    return "\n".join([*lines[: count - 1], f"… {len(lines) - count + 1} more lines"])


def _text(plan: Plan, args: argparse.Namespace) -> str:
    """The counts and a table, as wide as the terminal."""
    from experiments.cluster import queue_status
    from experiments.plan.summary import format_counts

    statuses = queue_status.statuses(plan)
    note_unreadable(statuses.values())
    header, rows = _each(plan, statuses) if args.each else _groups(plan, statuses)
    counts = "" if args.quiet else format_counts(plan, statuses) + "\n"
    text = counts + terminal.grid(rows, header, terminal.columns())
    return terminal.colored(printable(text))


Table = tuple[list[str], list[tuple[str, ...]]]


def _each(plan: Plan, statuses: dict[str, Status]) -> Table:
    """One row per run, in the words of the matrix."""
    from experiments.plan.summary import format_status, labels, run_name

    shown = labels(plan)
    rows: list[tuple[str, ...]] = [
        (run, run_name(s.spec, shown.get(run)), format_status(s)) for run, s in statuses.items()
    ]
    return ["run", "what", "state"], rows


def _groups(plan: Plan, statuses: dict[str, Status]) -> Table:
    """One row per pair and method."""
    from experiments.plan.summary import groups, summarize

    rows: list[tuple[str, ...]] = [
        (pair, label, summarize(group)) for (pair, label), group in groups(plan, statuses).items()
    ]
    return ["pair", "method", "trials"], rows


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_matrix_verb(verbs, "status", status)
    verb.set_defaults(loads_torch=False)
    verb.add_argument("--each", action="store_true", help="print one line per run, with its id")
    verb.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=positive,
        const=WATCH_SECONDS,
        help=f"print it again every so often, until Ctrl-C (default: {WATCH_SECONDS} seconds)",
    )
