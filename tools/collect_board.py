#!/usr/bin/env python3
"""Collect the finished runs of a matrix, and of its probes, into one board file.

    tools/collect_board.py experiments/digits.yaml --output results/boards/digits.jsonl

Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from experiments.commands.common import Parser
from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from experiments.plan.plan import prepare
from experiments.plan.workspace import Workspace
from experiments.wording import plural
from results import board_file, records


def collect(matrix: str, workspace: Workspace, output: Path) -> int:
    """Write the board file; returns the number of its runs.

    Stale results are collected, too: a table says that they are there.
    """
    plan = prepare(matrix, workspace, strict=False)
    probed = plan.matrix.transfer.datasets if plan.matrix.transfer else ()
    plans = [plan, *(prepare(matrix, workspace, None, False, each.name) for each in probed)]
    directories = [spec.directory(workspace.runs) for p in plans for spec in p.expansion.runs]
    done = [directory for directory in directories if records.read(directory) is not None]
    return board_file.write(output, done)


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Collect what the arguments name."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("matrix", help="a YAML file, e.g. experiments/digits.yaml")
    add("--debug", action="store_true", help="show tracebacks")
    add("--runs", type=Path, default=CHECKOUT / "runs", help="where the runs are kept")
    add("--data", type=Path, default=CHECKOUT / "data", help="root of the data sets")
    add("--output", type=Path, required=True, metavar="NAME.jsonl")
    args = parser.parse_args(arguments)
    if args.output.suffix != board_file.SUFFIX:
        parser.error(f"--output {args.output}: expected a name that ends in {board_file.SUFFIX}")
    count = collect(args.matrix, Workspace(args.runs, args.data, "cpu"), args.output)
    print(f"wrote {args.output}: {plural(count, 'run')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
