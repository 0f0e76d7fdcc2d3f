"""`plan`: what would run, and what it costs."""

from __future__ import annotations

import argparse

from distillers import catalogue
from experiments.cluster import queue_status
from experiments.commands.common import (
    Verbs,
    add_matrix_verb,
    planned,
)
from experiments.local import devices
from experiments.matrix.expand import Expansion
from experiments.plan.cost import predict_cost
from experiments.plan.summary import census_line, duration
from experiments.rundir.status import State


def not_compute_matched(expansion: Expansion) -> list[str]:
    """One line about the methods of a matrix that compute more than its recipe says."""
    found = {
        entry.label: catalogue.extra_compute(entry.spec.method, entry.spec.options)
        for entry in expansion.entries
    }
    listed = "; ".join(f"{label} ({', '.join(more)})" for label, more in found.items() if more)
    return [f"not compute-matched: {listed}"] if listed else []


def plan(args: argparse.Namespace) -> int:
    """Census and cost of a matrix."""
    found = planned(args)
    statuses = queue_status.statuses(found)
    print(census_line(found, statuses))
    for line in not_compute_matched(found.expansion):
        print(line)
    for reason in dict.fromkeys(
        f"n/a: {s.spec.pair} {s.spec.method}: {s.detail}"
        for s in statuses.values()
        if s.state == State.UNSUPPORTED
    ):
        print(reason)
    assert found.data is not None  # a strict plan has its data
    kind = found.workspace.device
    timed, processes = not args.no_timing, found.processes
    todo = predict_cost(statuses.values(), found.data, kind, timed, processes)
    print(f"to do: {todo.steps:,} steps, {todo.disk_bytes / 1e6:,.0f} MB of weights", end="")
    if todo.seconds:
        slots = devices.slots(kind, None, found.matrix.recipe.threads, processes)
        print(f"; about {duration(todo.seconds)} of one worker on this machine's {kind}", end="")
        several = f", {duration(todo.seconds / len(slots))} on {len(slots)} workers"
        print(several if len(slots) > 1 else "")
    else:
        print()
    return 0


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_matrix_verb(verbs, "plan", plan)
    verb.add_argument("--no-timing", action="store_true", help="do not time steps")
