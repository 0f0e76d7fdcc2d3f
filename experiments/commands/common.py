"""What the commands share: flags, plans, questions to the user.

No command imports torch, pydantic or pandas at module level: `--help` must answer at once. What
needs them is imported inside the function that runs.
"""

from __future__ import annotations

import argparse
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from experiments.commands.arguments import FILES, Parser, minutes, positive, sharing
from experiments.commands.examples import epilog
from experiments.environment import CHECKOUT

if TYPE_CHECKING:
    from experiments.plan.plan import Plan
    from experiments.rundir.status import Status

Action = Callable[[argparse.Namespace], int]
Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"


# ---- verbs and flags -----------------------------------------------------------------------------


def add_verb(verbs: Verbs, name: str, action: Action) -> argparse.ArgumentParser:
    """Add a command with the flags that all have; the action's docstring is its help."""
    about = inspect.cleandoc(action.__doc__ or "")
    verb = verbs.add_parser(
        name,
        help=about.partition("\n")[0],
        description=about,
        epilog=epilog(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.set_defaults(action=action, loads_torch=True)
    verb.add_argument("--quiet", action="store_true", help="print only errors and results")
    verb.add_argument("--debug", action="store_true", help="show tracebacks")
    verb.add_argument(
        "--plugin",
        type=Path,
        action="append",
        default=[],
        help="import this file, which registers methods or models (repeatable)",
    )
    return verb


def add_matrix_verb(verbs: Verbs, name: str, action: Action) -> argparse.ArgumentParser:
    """Add a command about a matrix: its file, where its runs are, which part of it."""
    verb = add_verb(verbs, name, action)
    add_file(verb, "matrix", help="a YAML file, e.g. experiments/digits.yaml")
    add_matrix_flags(verb)
    return verb


def add_matrix_flags(verb: argparse.ArgumentParser) -> None:
    """Where the runs and data of a matrix are, and which part of it is meant."""
    add_runs_flag(verb)
    add_data_flags(verb)
    verb.add_argument(
        "--transfer", metavar="DATASET", help="act on the probes of its students on this data set"
    )
    verb.add_argument(
        "--methods", nargs="+", default=[], help="use only these methods (names or labels)"
    )
    verb.add_argument(
        "--pairs", nargs="+", default=[], help='use only these pairs, e.g. "vgg13 -> *"'
    )
    verb.add_argument(
        "--trials", nargs="+", type=int, default=[], help="use only these trials, counted from 0"
    )


def add_file(verb: argparse.ArgumentParser, *names: str, **settings: Any) -> None:
    """An argument that is the name of a file; `completion` offers files for it."""
    action = verb.add_argument(*names, **settings)
    action.complete = FILES  # type: ignore[attr-defined]


def add_runs_flag(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--runs",
        type=Path,
        default=default_place("runs"),
        help="directory where runs are kept (default: $KD_RUNS, else runs/ in the checkout)",
    )


def default_place(name: str) -> Path:
    """The directory that KD_RUNS or KD_DATA names, else the checkout's own."""
    given = os.environ.get(f"KD_{name.upper()}")
    return Path(os.path.expanduser(given)) if given else CHECKOUT / name


def add_data_flags(verb: argparse.ArgumentParser) -> None:
    """Where the data sets are, and what computes on them."""
    verb.add_argument(
        "--data",
        type=Path,
        default=default_place("data"),
        help="root directory of the data sets (default: $KD_DATA, else data/ in the checkout)",
    )
    verb.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="what computes (auto: the GPU if there is one)",
    )


def add_training_flags(verb: argparse.ArgumentParser, cohort_size: str) -> None:
    """What `run` and `submit` share."""
    verb.add_argument(
        "--processes",
        type=positive,
        help="train each job with this many processes, overriding the matrix",
    )
    verb.add_argument("--cohort-size", type=positive, help=cohort_size)
    verb.add_argument(
        "--save-minutes",
        type=minutes,
        default=10.0,
        help="save this often, in addition to every epoch (default: 10)",
    )
    verb.add_argument(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="also write every epoch for TensorBoard, below this directory",
    )
    verb.add_argument("--verbose", action="store_true", help="print a line for every epoch")
    verb.add_argument("--retry-failed", action="store_true", help="also train what failed before")
    add_redo_flag(verb)


def add_sharing_flag(verb: argparse.ArgumentParser, help_text: str) -> None:
    verb.add_argument(
        "--workers-per-gpu", type=sharing, metavar="N", help=f"{help_text} (default: 1)"
    )


def add_redo_flag(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--redo-stale", action="store_true", help="also train again what is out of date"
    )


def add_site_flag(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--site", type=Path, help="read this cluster's options from here (default: site.yaml here)"
    )


def add_yes_flag(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--yes", action="store_true", help="do not ask for confirmation")


# ---- what commands do with them ------------------------------------------------------------------


def planned(
    args: argparse.Namespace, strict: bool = True, here: bool = True, looks: bool = False
) -> Plan:
    """The plan that a command's arguments describe; see `plan.prepare` for ``strict``, ``looks``.

    A strict plan without the runs of a broken plugin makes the command's exit code 1 (is_partial).
    """
    from experiments.plan.plan import prepare
    from experiments.plan.workspace import Selection, Workspace

    _check_runs(args.runs)
    if not strict:
        print_note(_not_begun(args.runs))
    processes = getattr(args, "processes", None)
    workspace = Workspace(args.runs, args.data, args.device, tuple(args.plugin), here, processes)
    selection = Selection(args.methods, args.pairs, args.trials)
    plan = prepare(args.matrix, workspace, selection, strict, args.transfer, looks)
    args.is_partial |= strict and bool(plan.left_out)
    return plan


def _check_runs(runs: Path) -> None:
    """Raise InputError for a file that is no board file: it would look like runs yet to be done."""
    from experiments.commands import places
    from experiments.errors import InputError

    if runs.exists() and not runs.is_dir() and runs.suffix != places.ENDING:
        expected = f"expected a directory of runs, or a board file (NAME{places.ENDING})"
        raise InputError(f"--runs: {runs} is a file, {expected}")


def _not_begun(runs: Path) -> str:
    """What to say of runs that are looked for where none are, with others beside it; or nothing."""
    from experiments.errors import beside

    meant = "" if runs.exists() else beside(runs)
    return f"note: --runs {runs}: no such directory, so no run has begun there{meant}" * bool(meant)


def check_tensorboard(args: argparse.Namespace) -> None:
    """Make --tensorboard an absolute path.

    Raises InputError if it is no directory, and where the package is missing.
    """
    if args.tensorboard is None:
        return
    from experiments.errors import InputError
    from experiments.rundir import event_files

    args.tensorboard = Path(os.path.expanduser(args.tensorboard)).absolute()
    if args.tensorboard.exists() and not args.tensorboard.is_dir():
        raise InputError(f"--tensorboard {args.tensorboard}: expected a directory, this is a file")
    event_files.require()


def note_unreadable(statuses: Iterable[Status]) -> None:
    """Name, on standard error, the results that cannot be understood; their runs are not done."""
    from experiments.errors import MOST

    problems = [status.problem for status in statuses if status.problem]
    for problem in problems[:MOST]:
        print(f"note: left out: {problem}", file=sys.stderr)
    if problems[MOST:]:
        print(f"note: left out: … and {len(problems) - MOST} more results", file=sys.stderr)


def warn_of_damage(args: argparse.Namespace, statuses: Mapping[str, Status]) -> None:
    """Name, on standard error, the weights that unfinished runs need and that are damaged."""
    from experiments.plan import weights

    damaged = weights.lines(statuses)
    for line in damaged:
        print(f"warning: {line}", file=sys.stderr)
    if damaged:
        again = command(args, "retry")
        print(f"to train what is damaged again: {again} --redo-teacher", file=sys.stderr)


def states_to_train(args: argparse.Namespace) -> set[str]:
    """The states whose runs are to be trained now."""
    from experiments.rundir.status import NOT_STARTED, State

    states = set(NOT_STARTED)
    states |= {State.FAILED} if args.retry_failed else set()
    return states | ({State.STALE} if args.redo_stale else set())


def command(args: argparse.Namespace, verb: str) -> str:
    """The command line of another command about the same runs."""
    given = [(f"--{name}", getattr(args, name)) for name in ("runs", "data")]
    words = ["python", sys.argv[0], verb, *([args.matrix] if args.matrix else [])]
    for flag, path in given:
        words += [flag, path] if path != CHECKOUT / flag[2:] else []
    words += ["--transfer", args.transfer] if args.transfer else []
    for path in args.plugin:
        words += ["--plugin", path]
    return " ".join(shlex.quote(str(word)) for word in words)


def is_filtered(args: argparse.Namespace) -> bool:
    """Whether only a part of the matrix is meant."""
    return bool(args.methods or args.pairs or args.trials)


def level(args: argparse.Namespace) -> int:
    """How much `Progress` says, by --quiet and --verbose."""
    from experiments.local import progress

    return progress.QUIET if args.quiet else progress.VERBOSE if args.verbose else progress.NORMAL


def print_note(line: str) -> None:
    """Print a line on standard error, where there is one."""
    if line:
        print(line, file=sys.stderr)


def confirm(args: argparse.Namespace, question: str) -> bool:
    """Whether the user agrees, by --yes or at the terminal; without a terminal, no."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        print("aborted: no terminal to ask at; pass --yes to confirm", file=sys.stderr)
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
