#!/usr/bin/env python3
"""Compare knowledge distillation methods: run a matrix, see where it stands, print its table.

    benchmark.py list methods | models | datasets
    benchmark.py plan   MATRIX      what would run, and what it costs
    benchmark.py run    MATRIX      train it on this machine
    benchmark.py submit MATRIX      train it on a SLURM cluster
    benchmark.py status MATRIX      done, running, pending, failed, …, per pair and method
    benchmark.py logs   RUN         what became of one run, and what its job printed
    benchmark.py cancel MATRIX      take its jobs out of the queue
    benchmark.py retry  MATRIX      let run and submit try again what failed
    benchmark.py table  MATRIX      the leaderboard of what is done
    benchmark.py evaluate FILE      measure a checkpoint, anyone's, on a data set's test part
    benchmark.py export RUN         a finished run's student as a file for others
    benchmark.py clean  MATRIX      what can be removed, and remove it
    benchmark.py doctor [MATRIX]    is everything in place here?

Exit codes: 0 all well, 1 some runs failed or are missing, 2 bad input.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    import yaml
    from tabulate import tabulate

    import datasets
    import distillers
    import models
    from experiments import (
        catalogue,
        census,
        cli,
        cluster,
        doctor,
        estimate,
        housekeeping,
        launch,
        worker,
    )
    from experiments import evaluate as evaluation
    from experiments import export as exporting
    from experiments.arguments import (
        Parser,
        add_checkpoint_arguments,
        add_doctor_arguments,
        add_export_arguments,
        add_logs_arguments,
        add_matrix_verb,
        add_retry_arguments,
        add_run_arguments,
        add_submit_arguments,
        add_verb,
        add_yes,
    )
    from experiments.board import contents
    from experiments.errors import InputError
    from experiments.progress import Progress
    from experiments.workspace import Plan, check_accuracies, check_writable
    from results import records
    from results.leaderboard import FORMATS, Cell, leaderboard
except (ImportError, OSError) as error:  # a package is missing, or a library of its own
    from experiments.checks import packages

    sys.exit(packages.explain(error))

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
        header, rows = catalogue.table(args.pair)
        print(tabulate(rows, header, disable_numparse=True))
        print(
            '\n"+kd" behind a name adds Hinton\'s term with weight 1, as in crd+kd. Before a name:'
        )
        print(tabulate(catalogue.wrappers(), tablefmt="plain", disable_numparse=True))
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
    found = cli.planned(args)
    statuses = cluster.look(found)
    print(cli.census_line(found, statuses))
    for line in catalogue.beyond_recipe(found.expansion):
        print(line)
    for reason in dict.fromkeys(
        f"n/a: {s.spec.pair} {s.spec.method}: {s.detail}"
        for s in statuses.values()
        if s.state == census.UNSUPPORTED
    ):
        print(reason)
    assert found.data is not None  # a strict plan has its data
    kind = found.workspace.device
    timed, processes = not args.no_timing, found.processes
    todo = estimate.cost(statuses.values(), found.data, kind, timed, processes)
    print(f"to do: {todo.steps:,} steps, {todo.disk_bytes / 1e6:,.0f} MB of weights", end="")
    if todo.seconds:
        slots = launch.slots(kind, None, found.matrix.recipe.threads, processes)
        print(
            f"; about {cli.duration(todo.seconds)} of one worker on this machine's {kind}", end=""
        )
        several = f", {cli.duration(todo.seconds / len(slots))} on {len(slots)} workers"
        print(several if len(slots) > 1 else "")
    else:
        print()
    return 0


def run(args: argparse.Namespace) -> int:
    """Train what is to do on this machine."""
    found = cli.planned(args)
    check_writable(found.workspace.runs)
    wanted = cli.wanted(args)
    check_accuracies(found, (s.spec for s in found.statuses().values() if s.state in wanted))
    cli.reset(found, wanted)
    statuses = list(found.statuses().values())
    print(cli.census_line(found, {s.spec.id: s for s in statuses}), flush=True)
    todo = [s for s in statuses if s.state == census.TODO]
    if not todo:
        return _verdict(found, args)
    threads, several = found.matrix.recipe.threads, found.processes
    slots = launch.slots(found.workspace.device, args.workers, threads, several)
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
    found = cli.planned(args, strict=False)
    statuses = cluster.look(found)
    print(cli.census_line(found, statuses))
    if args.each:
        rows = [(s.spec.id, str(s.spec), cli.standing_of(s)) for s in statuses.values()]
        print(tabulate(rows, ["run", "what", "state"], disable_numparse=True))
        return 0
    teachers = [
        (s.pair, "teacher", cli.standing([statuses[s.id]])) for s in found.expansion.teachers
    ]
    groups: dict[tuple[str, str], list[census.Status]] = {}
    for entry in found.expansion.entries:
        groups.setdefault((entry.pair, entry.label), []).append(statuses[entry.spec.id])
    rows = [(pair, label, cli.standing(group)) for (pair, label), group in groups.items()]
    print(tabulate([*teachers, *rows], ["pair", "method", "trials"], disable_numparse=True))
    return 0


def table(args: argparse.Namespace) -> int:
    """The leaderboard, to standard output or a file."""
    found = cli.planned(args, strict=False)
    parts = contents(found)
    cells = [Cell(*cell) for cell in parts.pop("cells")]
    board = leaderboard(cells, **parts)
    text = board.render(_format(args), best=args.best)
    if args.output:
        records.write_atomic(args.output, text)
        print(f"wrote {args.output}")
    else:
        print(text, end="" if text.endswith("\n") else "\n")
    if not board.frame["n"].any():
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
    print(f"the table: {cli.command(args, 'table')}")
    return 1 if bad else 0


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
    lister.add_argument("--pair", help='of methods: what they cost on "resnet32x4 -> resnet8x4"')
    planner = add_matrix_verb(verbs, "plan", plan)
    planner.add_argument("--no-timing", action="store_true", help="do not time steps")
    add_run_arguments(add_matrix_verb(verbs, "run", run))
    add_submit_arguments(add_matrix_verb(verbs, "submit", cluster.submit))
    shower = add_matrix_verb(verbs, "status", status)
    shower.add_argument("--each", action="store_true", help="one line per run, with its id")
    add_doctor_arguments(add_verb(verbs, "doctor", doctor.doctor))
    add_logs_arguments(add_verb(verbs, "logs", housekeeping.logs))
    add_yes(add_matrix_verb(verbs, "cancel", cluster.cancel))
    add_retry_arguments(add_matrix_verb(verbs, "retry", housekeeping.retry))
    tables = add_matrix_verb(verbs, "table", table)
    tables.add_argument("--format", choices=list(FORMATS), help="default: by the output's ending")
    tables.add_argument("--output", type=Path, help="write to this file")
    tables.add_argument("--best", action="store_true", help="add the best epochs' accuracies")
    add_checkpoint_arguments(add_verb(verbs, "evaluate", evaluation.evaluate))
    add_export_arguments(add_verb(verbs, "export", exporting.export))
    add_yes(add_matrix_verb(verbs, "clean", housekeeping.clean))
    worker_verb = verbs.add_parser("work")  # no help: people do not start workers
    worker_verb.set_defaults(action=work)
    worker_verb.add_argument("job", type=Path)
    worker_verb.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    gc.freeze()  # what was imported stays: no search for garbage goes through it again
    sys.exit(main())
