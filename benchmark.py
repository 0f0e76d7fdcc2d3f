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
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    import datasets
    import distillers
    import models
    from experiments.commands import (
        cancel,
        clean,
        doctor,
        evaluate,
        export,
        listing,
        logs,
        plan,
        run,
        status,
        submit,
        table,
    )
    from experiments.commands.common import Parser
    from experiments.errors import InputError
    from experiments.worker import worker
    from results import records
except (ImportError, OSError) as error:  # a package is missing, or a library of its own
    from experiments.doctor import packages

    sys.exit(packages.explain(error))

COMMANDS = (
    listing, plan, run, submit, status, doctor, logs, cancel, table, evaluate, export, clean,
)  # fmt: skip
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


def work(args: argparse.Namespace) -> int:
    """One job, as the queue or a cluster starts it."""
    return worker.work(args.job, args.json)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="benchmark.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(debug=False)
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.register(verbs)
    worker_verb = verbs.add_parser("work")  # no help: people do not start workers
    worker_verb.set_defaults(action=work)
    worker_verb.add_argument("job", type=Path)
    worker_verb.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    gc.freeze()  # what was imported stays: no search for garbage goes through it again
    sys.exit(main())
