"""What the report scripts share: their options, the lines about machine and code, the output."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments import environment
from experiments.commands.arguments import Parser, output_file
from results import records


def make_parser(docstring: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring."""
    parser = Parser(
        description=docstring,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    """--output, see `publish`."""
    help_text = "also write the report to this file"
    parser.add_argument("--output", type=output_file, metavar="FILE.md", help=help_text)


def publish(text: str, output: Path | None) -> None:
    """Print a report, and write it if a file was given."""
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        records.write_atomic(output, text)
    print(text)


def fail(error: object) -> int:
    """Print an error in one line; returns the exit code of bad input."""
    print(f"error: {error}", file=sys.stderr)
    return 2


def progress(line: str) -> None:
    """Tell the person who waits; standard output is for the report."""
    print(line, file=sys.stderr, flush=True)


def command(script: str, arguments: Sequence[str] | None) -> str:
    """The command that makes a report again; ``arguments`` None are those of this process."""
    given = sys.argv[1:] if arguments is None else arguments
    return shlex.join([f"tools/reports/{Path(script).name}", *given])


def describe_machine(device: torch.device) -> tuple[str, str]:
    """The device's name; versions, commit and time in one line."""
    start = environment.start_record(device)
    versions = ", ".join(f"{name} {version}" for name, version in start["versions"].items())
    dirty = " with changes" if start["dirty"] else ""
    line = f"{versions}; commit {start['commit'] or 'unknown'}{dirty}; {start['time']}"
    return start["device"], line


if __name__ == "__main__":
    print(f"{__doc__}\nNothing to run: it is a part of the others.")
