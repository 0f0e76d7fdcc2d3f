#!/usr/bin/env python3
"""Compare every committed table with what its records give now.

    tools/check_tables.py            or make check-tables
    tools/check_tables.py --write    write anew what is out of date

The list of tables is results/boards/tables.yaml. No data and no teacher is needed.
Exit codes: 0, 1 where a table is out of date, and 2 for bad input.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import benchmark
from experiments.commands.arguments import Parser
from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix import yaml_loader

LIST = CHECKOUT / "results/boards/tables.yaml"


def committed(path: Path = LIST) -> dict[str, list[str]]:
    """Table -> the arguments of `table` that write it. InputError for an entry without any."""
    listed = yaml_loader.load(path, "tables and the arguments that write them")
    for table, arguments in listed.items():
        if not isinstance(arguments, str):
            raise InputError(f"{path}: {table}: expected the arguments of `table`")
    return {table: shlex.split(arguments) for table, arguments in listed.items()}


def make(table: str, arguments: Sequence[str], write: bool) -> int:
    """The exit code of `benchmark.py table`; paths are relative to the checkout."""
    verb = "--output" if write else "--check"
    with tempfile.TemporaryDirectory() as nothing:  # what data is on this machine must not matter
        return benchmark.main(["table", *arguments, "--data", nothing, verb, table])


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Check, or write, the committed tables."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("--write", action="store_true", help="write the tables instead")
    args = parser.parse_args(arguments)
    os.chdir(CHECKOUT)
    return max(make(table, given, args.write) for table, given in committed().items())


if __name__ == "__main__":
    sys.exit(main())
