"""`status`: per pair and method, how many trials are in which state."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.commands import streams, terminal
from experiments.commands.arguments import positive
from experiments.commands.common import (
    Verbs,
    add_matrix_verb,
    command,
    is_filtered,
    note_unreadable,
    planned,
    warn_of_damage,
)
from results.printable import printable

if TYPE_CHECKING:
    from experiments.cluster.looks import Looks
    from experiments.cluster.queue_status import View
    from experiments.plan.plan import Plan
    from experiments.rundir.status import Status

WATCH_SECONDS = 5.0  # between two looks that see something change
CLEAR = "\x1b[H\x1b[2J"  # the cursor to the top, nothing on the screen


def status(args: argparse.Namespace) -> int:
    """Show how many trials of each pair and method are in which state, and why some failed.

    With --exit-code: 0 everything is done (or n/a); 1 something failed, is blocked, stale or lost;
    3 the rest is to do, pending, running or unknown.
    """
    from experiments.cluster import job_lines, queue_status
    from experiments.cluster.looks import MOST_SECONDS, Looks
    from experiments.plan import choosing

    plan = planned(args, strict=False, looks=True)
    if args.watch is not None:
        seconds = args.watch or WATCH_SECONDS  # with a number, at equal intervals
        _watch(Looks(plan, seconds, args.watch or MOST_SECONDS, failed=True), args)
    view = _with_unanswered(plan, queue_status.look(plan, failed=True))
    streams.show(_text(plan, view, args))
    if not args.exit_code:
        return 0
    lost = choosing.lost_runs(plan.expansion, view.statuses)
    return job_lines.exit_code(s for run, s in view.statuses.items() if run not in lost)


def _with_unanswered(plan: Plan, view: View) -> View:
    """What SLURM's queue says is not all: what was sent may not have an answer yet."""
    from experiments.cluster import recovery

    return replace(view, statuses=recovery.unanswered(plan.workspace.runs, view.statuses))


def _watch(looks: Looks, args: argparse.Namespace) -> None:
    """Print the table again and again, until Ctrl-C."""
    while True:
        view, now = _with_unanswered(looks.plan, looks()), time.strftime("%H:%M:%S")
        text = _text(looks.plan, view, args)
        if sys.stdout.isatty():
            text = CLEAR + _first_lines(text, shutil.get_terminal_size().lines - 2)
        every = "every" if args.watch else "again in"
        streams.show(f"{text}\n---- {now}, {every} {looks.pause:.0f} seconds, Ctrl-C ends")
        time.sleep(looks.pause)


def _first_lines(text: str, count: int) -> str:
    """As much as fits on the screen, and how much does not."""
    lines = text.splitlines()
    if len(lines) <= count:
        return text
    return "\n".join([*lines[: count - 1], f"… {len(lines) - count + 1} more lines"])


def _text(plan: Plan, view: View, args: argparse.Namespace) -> str:
    """Who does not answer, the counts, a table as wide as the terminal, and what to look at."""
    from experiments.cluster import job_lines
    from experiments.plan.summary import format_counts

    statuses = view.statuses
    note_unreadable(statuses.values())
    warn_of_damage(args, statuses)
    header, rows = _each(plan, view) if args.each else _groups(plan, statuses)
    first = job_lines.silence(view)
    first += [] if args.quiet else [format_counts(plan, statuses)]
    last = [] if args.quiet or args.each else job_lines.ends(statuses, view.queue)
    last += [] if args.quiet or view.silent else _removed(plan, args)
    text = "\n".join([*first, terminal.grid(rows, header, terminal.columns()), *last])
    return terminal.colored(printable(text))


def _removed(plan: Plan, args: argparse.Namespace) -> list[str]:
    """Lines about jobs of runs that are no longer in the matrix; a part of it cannot tell."""
    from experiments.cluster import removed

    if is_filtered(args):
        return []
    return removed.lines(removed.find(plan), command(args, "cancel"))


Table = tuple[list[str], list[tuple[str, ...]]]


def _each(plan: Plan, view: View) -> Table:
    """One row per run, in the words of the matrix; lost and failed ones with their job's log."""
    from experiments.cluster import job_lines
    from experiments.plan.summary import format_status, labels, pairs, run_name

    shown, of_pair = labels(plan), pairs(plan)
    rows: list[tuple[str, ...]] = [
        (
            run,
            run_name(s.spec, shown.get(run), of_pair.get(run)),
            "; ".join([format_status(s), *job_lines.of_run(s, view.queue.get(run))]),
        )
        for run, s in view.statuses.items()
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
        const=0,
        help=f"print it again every so often, until Ctrl-C (default: after {WATCH_SECONDS:.0f} "
        "seconds, up to a minute while nothing changes)",
    )
    verb.add_argument(
        "--exit-code",
        action="store_true",
        help="exit with 0 if everything is done, 1 if something failed or is lost, else 3",
    )
