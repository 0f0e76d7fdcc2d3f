"""What the commands of the command line share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from results import records

from . import census
from .census import Status
from .environment import CHECKOUT
from .workspace import Plan, Selection, Workspace, prepare


def planned(args: argparse.Namespace, strict: bool = True, here: bool = True) -> Plan:
    """The plan that a command's arguments ask for."""
    several = getattr(args, "processes", None)
    workspace = Workspace(args.runs, args.data, args.device, tuple(args.plugin), here, several)
    selection = Selection(args.methods, args.pairs, args.trials)
    return prepare(args.matrix, workspace, selection, strict, args.transfer)


def census_line(found: Plan, statuses: Mapping[str, Status]) -> str:
    """ "digits.yaml: 28 runs: 20 done, 8 to do"."""
    counts = census.count(statuses.values())
    listed = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"{found.source}: {len(statuses)} runs: {listed}"


def duration(seconds: float) -> str:
    """ "3 hours"."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} seconds"


def wanted(args: argparse.Namespace) -> set[str]:
    """The states whose runs are to be trained now."""
    states = set(census.OPEN)
    states |= {census.FAILED} if args.retry_failed else set()
    return states | ({census.STALE} if args.redo_stale else set())


def reset(found: Plan, states: set[str]) -> int:
    """Put what failed or is stale aside where it is to be trained again; nothing is deleted."""
    count = 0
    for entry in found.statuses().values():
        directory = entry.spec.directory(found.workspace.runs)
        if entry.state == census.FAILED in states:
            records.set_aside(directory / "error.txt")
            count += 1
        if entry.state == census.STALE in states and not census.is_claimed(directory):
            directory.rename(_free_name(directory))
            count += 1
    return count


def _free_name(directory: Path) -> Path:
    number = 1
    while (name := directory.with_name(f"{directory.name}.stale-{number}")).exists():
        number += 1
    return name


def places(args: argparse.Namespace) -> str:
    """The flags that a command about the same runs needs, too."""
    given = [(f"--{name}", getattr(args, name)) for name in ("runs", "data")]
    flags = [f"{flag} {path}" for flag, path in given if path != CHECKOUT / flag[2:]]
    flags += [f"--transfer {args.transfer}"] if getattr(args, "transfer", None) else []
    flags += [f"--plugin {path}" for path in args.plugin]
    return "".join(f" {flag}" for flag in flags)


def command(args: argparse.Namespace, verb: str) -> str:
    """How to give another command about the same runs."""
    return f"python {sys.argv[0]} {verb} {args.matrix}{places(args)}"


def standing(group: Iterable[Status]) -> str:
    """ "2/3 done, 1 running (epoch 17/240, 3 hours left)"."""
    group = list(group)
    parts = [f"{sum(s.state == census.DONE for s in group)}/{len(group)} done"]
    for s in group:
        if s.state == census.DONE or (s.state == census.TODO and not s.epoch and not s.detail):
            continue
        parts.append(standing_of(s))
    return "; ".join(dict.fromkeys(parts))


def standing_of(s: Status) -> str:
    """One run's state with epoch, time left, the reason, and where to read more."""
    notes = []
    if s.epoch and s.state in (*census.OPEN, *census.BUSY):
        notes.append(f"epoch {s.epoch}/{s.spec.recipe.epochs}")
    if s.seconds_left:
        notes.append(f"{duration(s.seconds_left)} left")
    notes += [s.detail] if s.detail else []
    more = f" (logs {s.spec.id})" if s.state in (census.FAILED, census.LOST) else ""
    return f"{s.state}: {', '.join(notes)}{more}" if notes else f"{s.state}{more}"


def may_go_on(args: argparse.Namespace, question: str) -> bool:
    """--yes, or a person's yes; without a terminal to ask at, no."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        print("nothing was done: give --yes where nobody can be asked", file=sys.stderr)
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
