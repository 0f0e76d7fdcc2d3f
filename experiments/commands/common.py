"""What the commands of the command line share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeAlias

from experiments.environment import CHECKOUT
from experiments.plan.plan import Plan, prepare
from experiments.plan.workspace import Selection, Workspace
from experiments.rundir.status import NOT_STARTED, State
from models.registry import near


def planned(args: argparse.Namespace, strict: bool = True, here: bool = True) -> Plan:
    """The plan that a command's arguments ask for."""
    several = getattr(args, "processes", None)
    workspace = Workspace(args.runs, args.data, args.device, tuple(args.plugin), here, several)
    selection = Selection(args.methods, args.pairs, args.trials)
    return prepare(args.matrix, workspace, selection, strict, args.transfer)


def location_flags(args: argparse.Namespace) -> str:
    """The flags that a command about the same runs needs, too."""
    given = [(f"--{name}", getattr(args, name)) for name in ("runs", "data")]
    flags = [f"{flag} {path}" for flag, path in given if path != CHECKOUT / flag[2:]]
    flags += [f"--transfer {args.transfer}"] if getattr(args, "transfer", None) else []
    flags += [f"--plugin {path}" for path in args.plugin]
    return "".join(f" {flag}" for flag in flags)


def command(args: argparse.Namespace, verb: str) -> str:
    """How to give another command about the same runs."""
    return f"python {sys.argv[0]} {verb} {args.matrix}{location_flags(args)}"


def confirm(args: argparse.Namespace, question: str) -> bool:
    """--yes, or a person's yes; without a terminal to ask at, no."""
    if args.yes:
        return True
    if not sys.stdin.isatty():
        print("nothing was done: give --yes where nobody can be asked", file=sys.stderr)
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


Action = Callable[[argparse.Namespace], int]


Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments, as for all other bad input."""

    flags: ClassVar[set[str]] = set()  # of all commands

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        self.flags.update(name for name in names if name.startswith("--"))
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        meant = f": {near(unknown.split()[0], self.flags)}" if unknown != message else ""
        self.exit(2, f"error: {message}{meant} (see {self.prog} --help)\n")


def add_verb(
    verbs: Verbs,
    name: str,
    action: Action,
) -> argparse.ArgumentParser:
    """A command with the flags that all have; its docstring is its help."""
    verb = verbs.add_parser(name, help=action.__doc__, allow_abbrev=False)
    verb.set_defaults(action=action)
    verb.add_argument("--debug", action="store_true", help="show tracebacks")
    verb.add_argument(
        "--plugin", type=Path, action="append", default=[], help="a file that registers methods"
    )
    return verb


def add_matrix_verb(
    verbs: Verbs,
    name: str,
    action: Action,
) -> argparse.ArgumentParser:
    """A command about a matrix: where it is, where its runs are, which part of it."""
    verb = add_verb(verbs, name, action)
    verb.add_argument("matrix", help="a YAML file, e.g. experiments/digits.yaml")
    _add_places(verb)
    verb.add_argument("--transfer", metavar="DATASET", help="the probes of its students on this")
    verb.add_argument("--methods", nargs="+", default=[], help="only these (names or labels)")
    verb.add_argument("--pairs", nargs="+", default=[], help='only these, e.g. "vgg13 -> *"')
    verb.add_argument("--trials", nargs="+", type=int, default=[], help="only these, from 0")
    return verb


def _add_places(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--runs", type=Path, default=CHECKOUT / "runs", help="where runs are kept")
    verb.add_argument("--data", type=Path, default=CHECKOUT / "data", help="root of the data sets")
    verb.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")


def add_yes(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--yes", action="store_true", help="do not ask")


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


_PROCESSES = "that train a job together, in place of the matrix's"


_SITE = "options of this cluster; default: site.yaml here"


def states_to_train(args: argparse.Namespace) -> set[str]:
    """The states whose runs are to be trained now."""
    states = set(NOT_STARTED)
    states |= {State.FAILED} if args.retry_failed else set()
    return states | ({State.STALE} if args.redo_stale else set())
