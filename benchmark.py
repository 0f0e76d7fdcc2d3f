#!/usr/bin/env python3
"""Compare knowledge distillation methods: train a matrix of them, watch it, print its table.

    benchmark.py list methods | models | datasets | published
    benchmark.py check  PLUGIN      try a method or a network of your own
    benchmark.py plan   MATRIX      show what would run, and what it costs
    benchmark.py run    MATRIX      train it on this machine
    benchmark.py submit MATRIX      train it on a SLURM cluster
    benchmark.py status MATRIX      count what is done, running, failed, … per pair and method
    benchmark.py logs   RUN         show what happened to one run, and what its job printed
    benchmark.py cancel MATRIX      take its jobs out of the queue
    benchmark.py retry  MATRIX      let run and submit try again what failed
    benchmark.py accept MATRIX      keep results of an earlier version of a plugin
    benchmark.py table  MATRIX      print the leaderboard of what is done
    benchmark.py report MATRIX …    write pages to look at, and figures for papers
    benchmark.py collect DIR …      gather finished runs of several places into one file
    benchmark.py evaluate FILE|RUN  measure anyone's checkpoint, or a run, on the test part
    benchmark.py export RUN         write a finished run's student as a file for others
    benchmark.py clean  MATRIX      list what can be removed, and remove it
    benchmark.py doctor [MATRIX]    check that everything is in place here
    benchmark.py completion SHELL   print a script that completes all this in bash or zsh

Without a command it prints this text. KD_RUNS and KD_DATA in the environment are the defaults of
--runs and --data. NO_COLOR turns colors off.
Exit codes: 0 all well, 1 some runs failed or are missing, 2 bad input, 130 stopped (Ctrl-C).
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import activity, environment
from experiments.commands import completion
from experiments.commands.arguments import Parser
from experiments.commands.entry import entry_point

# Verbs and the modules of `experiments.commands` that register them, in the order of the help. One
# verb needs one of them: every module and every flag is a few requests to the disk more.
COMMANDS = {
    "list": "listing", "check": "check", "plan": "plan", "run": "run", "retry": "run",
    "submit": "submit", "status": "status", "doctor": "doctor", "logs": "logs",
    "cancel": "cancel", "accept": "accept", "table": "table", "report": "report.command",
    "collect": "collect", "evaluate": "evaluate", "export": "export", "clean": "clean",
}  # fmt: skip


# Otherwise pydantic reads a file of every installed package, to see whether one is a plugin of it.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; bad input is one line per problem and exit code 2."""
    words = sys.argv[1:] if arguments is None else arguments
    parser = _parser(COMMANDS.get(words[0]) if words else None)
    if words and not words[0].startswith("-") and words[0] not in (*COMMANDS, "completion", "work"):
        parser.error(_unknown(words[0]))
    args = parser.parse_args(arguments)
    if args.action is None:
        parser.print_help()
        return 0
    activity.start_command(args.quiet)
    if args.loads_torch:
        with activity.activity("loading PyTorch"):  # two seconds, or ten on a busy machine
            import torch  # noqa: F401
    code: int = args.action(args)
    return code or int(args.is_partial)


def _unknown(word: str) -> str:
    """What to say of a command that is none; argparse would list all, that of workers too."""
    from models.registry import near

    return f"unknown command {word!r:.60}: {near(word, [*COMMANDS, 'completion'])}"


def work(args: argparse.Namespace) -> int:
    """Train one job, as the local queue or a cluster starts it."""
    from experiments.worker import job, worker

    together = job.worker_files(args.job) if args.job.is_dir() else []
    if together:
        from experiments.local import packed

        return packed.work(together)
    gc.freeze()  # what was imported stays: garbage collection need not visit it again
    return worker.work(args.job, args.json)


class _ShowVersion(argparse.Action):
    """Asks git only when it is asked itself."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"{parser.prog} {environment.version()}")
        parser.exit()


def _parser(only: str | None = None) -> argparse.ArgumentParser:
    """The command line; ``only`` with the verbs of that module, as far as it is well-formed."""
    Parser.add_all = _parser
    parser = Parser(
        prog="benchmark.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(debug=False, quiet=False, action=None, loads_torch=False, is_partial=False)
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="print it, and the commit")
    verbs = parser.add_subparsers(metavar="COMMAND")
    for module in dict.fromkeys([only] if only else COMMANDS.values()):
        importlib.import_module(f"experiments.commands.{module}").register(verbs)
    completion.register(verbs, _parser)
    worker_verb = verbs.add_parser("work")  # no help: people do not start workers
    worker_verb.set_defaults(action=work)
    worker_verb.add_argument("job", type=Path)
    worker_verb.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    # Otherwise Python looks for garbage among all that was imported before it exits: 0.3 seconds.
    atexit.register(gc.freeze)
    sys.exit(main())
