"""The command line's own grammar: flags that several commands share, errors in one line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from models.registry import near

from .environment import CHECKOUT

Action = Callable[[argparse.Namespace], int]


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
    verbs: argparse._SubParsersAction[Parser],
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
    verbs: argparse._SubParsersAction[Parser],
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


def add_doctor_arguments(verb: argparse.ArgumentParser) -> None:
    """What to look at; the matrix may be left out."""
    verb.add_argument("matrix", nargs="?", help="a YAML file; with it data and space are looked at")
    _add_places(verb)
    verb.add_argument("--partition", help="where jobs are to go")
    verb.add_argument("--site", type=Path, help=_SITE)


def add_run_arguments(verb: argparse.ArgumentParser) -> None:
    """What only training asks for."""
    verb.add_argument("--workers", type=positive, help="default: all GPUs, or cores / threads")
    verb.add_argument("--processes", type=positive, help=_PROCESSES)
    verb.add_argument("--cohort-size", type=positive, help="runs that share a process at most")
    verb.add_argument("--save-minutes", type=float, default=10.0, help="also saved every epoch")
    verb.add_argument("--retry-failed", action="store_true", help="also what failed before")
    verb.add_argument("--redo-stale", action="store_true", help="also what is out of date")


def add_submit_arguments(verb: argparse.ArgumentParser) -> None:
    """SLURM's options (they win over the matrix and the site file), and how to send."""
    for name in ("partition", "account", "qos", "time", "mem", "constraint"):
        verb.add_argument(f"--{name}", help=f"of every job{_TEXTS.get(name, '')}")
    verb.add_argument("--processes", type=positive, help=_PROCESSES)
    verb.add_argument("--nodes", type=int, help="for the processes of a job (1)")
    verb.add_argument("--gpus", type=int, help="per process, 0 or 1")
    verb.add_argument("--cpus", type=int, help="per process")
    verb.add_argument("--setup", action="append", default=[], help="a shell line before Python")
    verb.add_argument(
        "--sbatch", action="append", default=[], metavar="KEY=VALUE", help="any other"
    )
    verb.add_argument("--site", type=Path, help=_SITE)
    verb.add_argument("--cohort-size", type=positive, help="runs per job at most (8)")
    verb.add_argument("--array-parallelism", type=positive, help="jobs of an array at once")
    verb.add_argument("--max-jobs", type=positive, help="of yours in the queue at once")
    verb.add_argument("--save-minutes", type=float, default=10.0, help="also saved every epoch")
    verb.add_argument("--no-timing", action="store_true", help="do not time steps here")
    verb.add_argument("--snapshot", action="store_true", help="run from a copy of today's code")
    verb.add_argument("--dry-run", action="store_true", help="print the sbatch scripts only")
    verb.add_argument("--wait", action="store_true", help="follow until all has ended")
    verb.add_argument("--retry-failed", action="store_true", help="also what failed before")
    verb.add_argument("--redo-stale", action="store_true", help="also what is out of date")
    add_yes(verb)


_PROCESSES = "that train a job together, in place of the matrix's"
_SITE = "options of this cluster; default: site.yaml here"
_TEXTS = {
    "time": ": minutes, or 12:00:00; default: from the predicted cost",
    "mem": ", e.g. 16G",
}


def add_yes(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--yes", action="store_true", help="do not ask")


def add_retry_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--redo-stale", action="store_true", help="also what is out of date")


def add_logs_arguments(verb: argparse.ArgumentParser) -> None:
    """One run, and how much of it."""
    verb.add_argument("run", help="a run's id (as status shows it), or its directory")
    verb.add_argument("--runs", type=Path, default=CHECKOUT / "runs", help="where runs are kept")
    verb.add_argument("--lines", type=positive, default=40, help="of each log, from its end")


def add_checkpoint_arguments(verb: argparse.ArgumentParser) -> None:
    """A weights file, which network it is, and the data to measure it on."""
    verb.add_argument("file", type=Path, help="weights: ours, or anyone's")
    verb.add_argument("--model", help="the network, where the file does not say and several fit")
    verb.add_argument("--part", choices=["student", "teacher"], default="student", help=_PART)
    verb.add_argument("--dataset", help="on whose test part; default: what the file says")
    verb.add_argument("--data", type=Path, default=CHECKOUT / "data", help="root of the data sets")
    verb.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="of the data set"
    )
    verb.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    verb.add_argument("--batch-size", type=positive, default=250)


_PART = "of a distiller that was saved whole (student)"


def add_export_arguments(verb: argparse.ArgumentParser) -> None:
    """Which run, in whose format, where to."""
    verb.add_argument("run", help="a finished run's id (as status shows it), or its directory")
    verb.add_argument("--runs", type=Path, default=CHECKOUT / "runs", help="where runs are kept")
    verb.add_argument("--format", choices=["repdistiller", "ours"], default="repdistiller")
    verb.add_argument("--output", type=Path, help="default: a name that says what it is, here")


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)
