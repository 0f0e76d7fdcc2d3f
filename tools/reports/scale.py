#!/usr/bin/env python3
"""Seconds and memory that the commands need on a large matrix, at two sizes.

    tools/reports/scale.py                                  about 2,000 runs and about 20,000
    tools/reports/scale.py --runs 5000 50000 --output results/reports/scale.md
    tools/reports/scale.py --board-runs 100000            collect and table of a board file, too

For every size a matrix is made in a temporary directory, with directories for nine runs in ten:
most are done, some failed, some stopped half-way, some claimed by a process that is alive (this
one). Then each command is started as a person would, in a process of its own. A board has all runs
of its matrix, done, with measures as long as CIFAR-100's. Nothing is trained.
A command that fails, or that this benchmark.py does not have, is skipped with its reason.
Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from experiments.commands.arguments import positive
from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from results import records
from results.render import Table, markdown
from tools.reports import shared, synthetic_board, synthetic_runs

IMPORTS = "list datasets"  # does nothing but start


@dataclass(frozen=True)
class Command:
    """A verb of benchmark.py with its flags; ``fresh``: on an empty runs directory."""

    verb: str
    flags: tuple[str, ...] = ()
    fresh: bool = False

    def __str__(self) -> str:
        where = ", nothing run yet" if self.fresh else ""
        return " ".join([self.verb, *self.flags]) + where


COMMANDS = (
    Command("plan", ("--no-timing",), fresh=True),
    Command("plan", ("--no-timing",)),
    Command("plan"),
    Command("status"),
    Command("table"),
    Command("submit", ("--dry-run",), fresh=True),
    Command("submit", ("--dry-run",)),
)


@dataclass(frozen=True)
class Taken:
    """What one process took; ``cpu`` is its processor time, which is free of other people's."""

    seconds: float
    cpu: float
    peak_bytes: int


def measure(arguments: Sequence[str]) -> Taken:
    """Run benchmark.py. Raises InputError with its last line where it fails."""
    command = [sys.executable, str(CHECKOUT / "benchmark.py"), *arguments]
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)  # the memory of this child, not of all so far
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        lines = errors.read().decode(errors="replace").split("\n")
    if process.returncode:
        reason = next((line for line in reversed(lines) if line), "no message")
        raise InputError(f"exit code {process.returncode}: {reason}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KiB on Linux
    return Taken(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def measure_all(
    made: synthetic_runs.Made, commands: Sequence[Command], device: str
) -> tuple[dict[Command, Taken], list[str]]:
    """What each takes, and why some are skipped: this benchmark.py lacks them, or they fail."""
    taken, skipped = {}, []
    for command in commands:
        runs = made.matrix.parent / "none" if command.fresh else made.runs
        places = ["--runs", str(runs), "--device", device]
        try:
            taken[command] = measure([command.verb, str(made.matrix), *places, *command.flags])
        except (InputError, records.RecordError) as error:
            skipped.append(f"{command}: {error}")
            shared.progress(f"skipped: {skipped[-1]}")
        else:
            shared.progress(f"{made.count:,} runs: {command}: {taken[command].seconds:.1f} s")
    return taken, skipped


def measure_board(made: synthetic_board.MadeBoard, device: str) -> dict[str, Taken]:
    """What the commands on a board file take. Raises InputError where one fails."""
    output = str(made.board.with_name("collected.jsonl"))
    board, matrix = str(made.board), str(made.matrix)
    here, nothing = ["--device", device], ["--runs", str(made.board.with_name("none"))]
    commands = {
        "collect BOARD": ["collect", board, "--output", output],
        "table --runs BOARD": ["table", matrix, "--runs", board, *here],
        "table --reference BOARD": ["table", matrix, *nothing, "--reference", board, *here],
    }
    taken = {}
    for name, arguments in commands.items():
        taken[name] = measure(arguments)
        shared.progress(f"{made.count:,} runs: {name}: {taken[name].seconds:.1f} s")
    return taken


# ---- the report ----------------------------------------------------------------------------------


def report(
    sizes: Sequence[synthetic_runs.Made],
    results: Sequence[Mapping[Command, Taken]],
    start: Taken,
    notes: Sequence[str],
) -> str:
    """Markdown: a row per command and size, and how each grows from the first size on."""
    rows = []
    for command, first in results[0].items():
        for made, taken in zip(sizes, results, strict=True):
            if command in taken:
                here = taken[command]
                growth = "" if here is first else f"{here.cpu / first.cpu:.1f}×"
                rows.append([str(command), f"{made.count:,}", *_texts(here), growth])
    header = ["command", "runs", "seconds", "of CPU", "peak memory (MB)", "growth"]
    about = [*_notes(sizes, start), *notes]
    return markdown([Table("Commands on a large matrix", header, rows, notes=about)])


def board_report(made: synthetic_board.MadeBoard, taken: Mapping[str, Taken]) -> str:
    """Markdown: a row per command on a board file."""
    rows = [[name, f"{made.count:,}", *_texts(one)] for name, one in taken.items()]
    size = f"the board has {made.board.stat().st_size / 1e6:,.0f} MB"
    header = ["command", "runs", "seconds", "of CPU", "peak memory (MB)"]
    return markdown([Table("Commands on a large board", header, rows, notes=[size])])


def _texts(taken: Taken) -> list[str]:
    return [f"{taken.seconds:.1f}", f"{taken.cpu:.1f}", f"{taken.peak_bytes / 1e6:,.0f}"]


def _notes(sizes: Sequence[synthetic_runs.Made], start: Taken) -> list[str]:
    device, code = shared.describe_machine(torch.device("cpu"))
    ratio = sizes[-1].count / sizes[0].count
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sizes[-1].kinds.items())
    return [
        f"growth: of CPU seconds from the smallest matrix on; the runs grow {ratio:.1f}×.",
        f"{start.seconds:.1f} s ({start.cpu:.1f} of CPU) and {start.peak_bytes / 1e6:,.0f} MB of "
        f"each are the start alone, as of {IMPORTS}.",
        f"the {sizes[-1].count:,} runs: {kinds}; made up, on a local disk",
        f"device: {device}",
        code,
    ]


# ---- the command line ----------------------------------------------------------------------------


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the report and write it where asked."""
    args = _parser().parse_args(arguments)
    sizes, results, skipped = [], [], []
    start = measure(IMPORTS.split())
    for runs in sorted(args.runs):
        with tempfile.TemporaryDirectory() as folder:
            shared.progress(f"making about {runs:,} runs …")
            sizes.append(synthetic_runs.make(Path(folder), runs))
            taken, reasons = measure_all(sizes[-1], COMMANDS, args.device)
            results.append(taken)
            skipped += [f"skipped: {reason}" for reason in reasons]
    command = f"command: {shared.command(__file__, arguments)}"
    text = report(sizes, results, start, [*dict.fromkeys(skipped), command])
    shared.publish(text + _board_text(args.board_runs, args.device), args.output)
    return 0


def _board_text(runs: int | None, device: str) -> str:
    """The report on a board of so many runs, if one is asked for."""
    if runs is None:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        shared.progress(f"making a board of about {runs:,} runs …")
        made = synthetic_board.make(Path(folder), runs)
        return "\n" + board_report(made, measure_board(made, device))


def _parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    add = parser.add_argument
    add("--runs", nargs="+", type=positive, default=[2_000, 20_000], help="sizes of the matrices")
    add("--board-runs", type=positive, help="also measure commands on a board of so many runs")
    add("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    shared.add_output(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
