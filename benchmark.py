#!/usr/bin/env python3
"""Compare knowledge distillation methods: run a matrix, see where it stands, print its table.

    benchmark.py list methods | models | datasets
    benchmark.py plan   MATRIX      what would run, and what it costs
    benchmark.py run    MATRIX      train it on this machine
    benchmark.py status MATRIX      done, running, failed, …, per pair and method
    benchmark.py table  MATRIX      the leaderboard of what is done

Exit codes: 0 all well, 1 some runs failed or are missing, 2 bad input.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from tabulate import tabulate

import datasets
import distillers
import models
from experiments import census, estimate, launch, worker
from experiments.arguments import Parser, add_matrix_verb, add_run_arguments, add_verb
from experiments.board import board
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.progress import Progress
from experiments.workspace import (
    Plan,
    Selection,
    Workspace,
    check_accuracies,
    check_writable,
    prepare,
)
from results import records
from results.leaderboard import FORMATS

BAD_INPUT = (
    InputError,
    models.ModelError,
    datasets.DataError,
    distillers.MethodError,
    records.RecordError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; bad input is one line on standard error and exit code 2."""
    args = _parser().parse_args(arguments)
    try:
        code: int = args.action(args)
        return code
    except BrokenPipeError:  # `benchmark.py table … | head`
        sys.stderr.close()
        return 0
    except (*BAD_INPUT, OSError) as error:
        if args.debug:
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before any worker was started; those save what they have
        print("interrupted", file=sys.stderr)
        return 1


# ---- commands ------------------------------------------------------------------------------------


def list_names(args: argparse.Namespace) -> int:
    """What can be named in a matrix."""
    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    if args.name:
        return _describe(args)
    if args.what == "methods":
        rows = [
            (name, cls.title, cls.paper, ", ".join(cls.presets) or "")
            for name in distillers.names()
            for cls in [distillers.find(name)]
        ]
        print(tabulate(rows, ["name", "title", "paper", "presets"], disable_numparse=True))
        print('\n"+kd" behind a name adds Hinton\'s term with weight 1, as in crd+kd.')
    else:
        names = models.names() if args.what == "models" else datasets.names()
        print("\n".join(names))
    return 0


def _describe(args: argparse.Namespace) -> int:
    """One method or data set: what it is, its options with their defaults, its presets."""
    if args.what == "methods":
        cls = distillers.find(args.name)
        print(f"{args.name}: {cls.title}. {cls.paper}\n\n{inspect.getdoc(cls)}\n")
        options, presets = distillers.defaults(args.name), cls.presets
    elif args.what == "datasets":
        options, presets = datasets.options(args.name), {}
    else:
        model = models.build(args.name, num_classes=100)
        options, presets = {"parameters": sum(p.numel() for p in model.parameters())}, {}
    print(yaml.safe_dump({"options": options}, sort_keys=False), end="")
    for name, values in presets.items():
        print(f"preset {name}: {dict(values)}")
    return 0


def plan(args: argparse.Namespace) -> int:
    """Census and cost of a matrix."""
    found = _prepare(args)
    statuses = found.statuses()
    print(_census(found, statuses))
    for reason in dict.fromkeys(
        f"n/a: {s.spec.pair} {s.spec.method}: {s.detail}"
        for s in statuses.values()
        if s.state == census.UNSUPPORTED
    ):
        print(reason)
    device = torch.device(found.workspace.device)
    assert found.data is not None  # a strict plan has its data
    todo = estimate.cost(statuses.values(), found.data, device, timed=not args.no_timing)
    print(f"to do: {todo.steps:,} steps, {todo.disk_bytes / 1e6:,.0f} MB of weights", end="")
    if todo.seconds:
        slots = launch.slots(found.workspace.device, None, found.matrix.recipe.threads)
        kind = found.workspace.device
        print(f"; about {_duration(todo.seconds)} of one worker on this machine's {kind}", end="")
        several = f", {_duration(todo.seconds / len(slots))} on {len(slots)} workers"
        print(several if len(slots) > 1 else "")
    else:
        print()
    return 0


def run(args: argparse.Namespace) -> int:
    """Train what is to do on this machine."""
    found = _prepare(args)
    check_writable(found.workspace.runs)
    wanted = _wanted(args)
    check_accuracies(found, (s.spec for s in found.statuses().values() if s.state in wanted))
    _reset(found, wanted)
    statuses = list(found.statuses().values())
    print(_census(found, {s.spec.id: s for s in statuses}), flush=True)
    todo = [s for s in statuses if s.state == census.TODO]
    if not todo:
        return _verdict(found, args)
    slots = launch.slots(found.workspace.device, args.workers, found.matrix.recipe.threads)
    size = args.cohort_size or launch.default_size(statuses, len(slots))
    queue = launch.tasks(statuses, found.template(args.save_minutes), found.teacher_files, size)
    progress = Progress(sum(s.spec.recipe.epochs - s.epoch for s in todo), len(todo))
    finished = launch.run(queue, slots, progress)
    progress.close()
    if not finished:
        print("stopped. What was saved is safe: to go on, give the same command again.")
        return 1
    return _verdict(found, args)


def status(args: argparse.Namespace) -> int:
    """Per pair and method: how many trials are in which state, and the first line of errors."""
    found = _prepare(args, strict=False)
    statuses = found.statuses()
    print(_census(found, statuses))
    teachers = [(s.pair, "teacher", _standing([statuses[s.id]])) for s in found.expansion.teachers]
    groups: dict[tuple[str, str], list[census.Status]] = {}
    for entry in found.expansion.entries:
        groups.setdefault((entry.pair, entry.label), []).append(statuses[entry.spec.id])
    rows = [(pair, label, _standing(group)) for (pair, label), group in groups.items()]
    print(tabulate([*teachers, *rows], ["pair", "method", "trials"], disable_numparse=True))
    return 0


def table(args: argparse.Namespace) -> int:
    """The leaderboard, to standard output or a file."""
    found = _prepare(args, strict=False)
    leaderboard = board(found)
    text = leaderboard.render(_format(args), best=args.best)
    if args.output:
        records.write_atomic(args.output, text)
        print(f"wrote {args.output}")
    else:
        print(text, end="" if text.endswith("\n") else "\n")
    if not leaderboard.frame["n"].any():
        print(f"note: no results of this matrix in {found.workspace.runs}", file=sys.stderr)
    return 0


def _format(args: argparse.Namespace) -> str:
    """As asked for, else by the output file's ending."""
    endings = {".md": "markdown", ".tex": "latex", ".html": "html", ".csv": "csv", ".json": "json"}
    by_name = endings.get(args.output.suffix.lower(), "markdown") if args.output else "markdown"
    return args.format or by_name


def work(args: argparse.Namespace) -> int:
    """One job, as the queue or a cluster starts it."""
    return worker.work(args.job, args.json)


# ---- what the commands share ---------------------------------------------------------------------


def _prepare(args: argparse.Namespace, strict: bool = True) -> Plan:
    workspace = Workspace(args.runs, args.data, args.device, tuple(args.plugin))
    selection = Selection(args.methods, args.pairs, args.trials)
    return prepare(args.matrix, workspace, selection, strict)


def _census(found: Plan, statuses: dict[str, census.Status]) -> str:
    counts = census.count(statuses.values())
    listed = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"{found.source}: {len(statuses)} runs: {listed}"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _wanted(args: argparse.Namespace) -> set[str]:
    """The states whose runs are trained now."""
    states = {census.TODO}
    states |= {census.FAILED} if args.retry_failed else set()
    return states | ({census.STALE} if args.redo_stale else set())


def _reset(found: Plan, wanted: set[str]) -> None:
    """Put what failed or is stale aside where it is to be trained again; nothing is deleted."""
    for entry in found.statuses().values():
        directory = entry.spec.directory(found.workspace.runs)
        if entry.state == census.FAILED in wanted:
            records.set_aside(directory / "error.txt")
        if entry.state == census.STALE in wanted and not census.is_claimed(directory):
            directory.rename(_free_name(directory))


def _free_name(directory: Path) -> Path:
    number = 1
    while (name := directory.with_name(f"{directory.name}.stale-{number}")).exists():
        number += 1
    return name


def _verdict(found: Plan, args: argparse.Namespace) -> int:
    """What is not done and why; exit code 1 if that is an error."""
    states = found.statuses().values()
    good = (census.DONE, census.RUNNING, census.UNSUPPORTED)
    bad = [s for s in states if s.state not in good]
    for s in bad[:20]:
        print(f"{s.spec}: {s.state}: {s.detail or 'not trained'}")
    if any(s.state == census.FAILED for s in bad):
        print("failed runs are tried again with --retry-failed")
    if any(s.state == census.STALE for s in bad):
        print("stale runs are put aside and trained again with --redo-stale")
    print(f"the table: python {sys.argv[0]} table {found.source}{_places(args)}")
    return 1 if bad else 0


def _places(args: argparse.Namespace) -> str:
    """The flags that a command about the same runs needs, too."""
    given = [(f"--{name}", getattr(args, name)) for name in ("runs", "data")]
    flags = [f"{flag} {path}" for flag, path in given if path != CHECKOUT / flag[2:]]
    flags += [f"--plugin {path}" for path in args.plugin]
    return "".join(f" {flag}" for flag in flags)


def _standing(group: list[census.Status]) -> str:
    """ "2/3 done, 1 running (epoch 17/240)"."""
    parts = [f"{sum(s.state == census.DONE for s in group)}/{len(group)} done"]
    for s in group:
        if s.state == census.RUNNING or (s.state == census.TODO and s.epoch):
            parts.append(f"{s.state} (epoch {s.epoch}/{s.spec.recipe.epochs})")
        elif s.state not in (census.DONE, census.TODO):
            parts.append(f"{s.state}: {s.detail}")
    return "; ".join(dict.fromkeys(parts))


# ---- arguments -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="benchmark.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(debug=False)
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    lister = add_verb(verbs, "list", list_names)
    lister.add_argument("what", choices=["methods", "models", "datasets"])
    lister.add_argument("name", nargs="?", help="one of them, with its options and presets")
    planner = add_matrix_verb(verbs, "plan", plan)
    planner.add_argument("--no-timing", action="store_true", help="do not time steps")
    add_run_arguments(add_matrix_verb(verbs, "run", run))
    add_matrix_verb(verbs, "status", status)
    tables = add_matrix_verb(verbs, "table", table)
    tables.add_argument("--format", choices=list(FORMATS), help="default: by the output's ending")
    tables.add_argument("--output", type=Path, help="write to this file")
    tables.add_argument("--best", action="store_true", help="add the best epochs' accuracies")
    worker_verb = verbs.add_parser("work")  # no help: people do not start workers
    worker_verb.set_defaults(action=work)
    worker_verb.add_argument("job", type=Path)
    worker_verb.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
