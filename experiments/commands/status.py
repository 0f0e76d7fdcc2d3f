"""`status`: per pair and method, how many trials are in which state."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from experiments.commands.common import Verbs, add_matrix_verb, planned

if TYPE_CHECKING:
    from experiments.rundir.status import Status


def status(args: argparse.Namespace) -> int:
    """Show how many trials of each pair and method are in which state, and why some failed."""
    from tabulate import tabulate

    from experiments.cluster import queue_status
    from experiments.plan.summary import format_counts, format_status, summarize

    plan = planned(args, strict=False)
    statuses = queue_status.statuses(plan)
    print(format_counts(plan, statuses))
    if args.each:
        rows = [(s.spec.id, str(s.spec), format_status(s)) for s in statuses.values()]
        print(tabulate(rows, ["run", "what", "state"], disable_numparse=True))
        return 0
    teachers = [(s.pair, "teacher", summarize([statuses[s.id]])) for s in plan.expansion.teachers]
    groups: dict[tuple[str, str], list[Status]] = {}
    for entry in plan.expansion.entries:
        groups.setdefault((entry.pair, entry.label), []).append(statuses[entry.spec.id])
    rows = [(pair, label, summarize(group)) for (pair, label), group in groups.items()]
    print(tabulate([*teachers, *rows], ["pair", "method", "trials"], disable_numparse=True))
    return 0


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_matrix_verb(verbs, "status", status)
    verb.add_argument("--each", action="store_true", help="print one line per run, with its id")
