#!/usr/bin/env python3
"""Seconds, memory and system calls that the commands need on a large matrix, at two sizes.

    tools/reports/scale.py                                  about 5,000 runs and about 20,000
    tools/reports/scale.py --runs 5000 50000 --output results/reports/scale.md
    tools/reports/scale.py --before ../checkout-of-then     what that one takes beside it
    tools/reports/scale.py --board-runs 100000            collect and table of a board file, too

For every size a matrix is made in a temporary directory, with directories for nine runs in ten:
most are done, some failed, some stopped half-way, some claimed by a process that is alive (this
one). Then each command is started as a person would, in a process of its own, beside a queue of
SLURM that is empty; where strace is installed, once more under it, to count system calls. A board
has all runs of its matrix, done, with measures as long as CIFAR-100's. Nothing is trained.
A command that fails, or that this benchmark.py does not have, is skipped with its reason.
Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
BEFORE = ("CPU", "memory", "stats and opens", "system calls")


@dataclass(frozen=True)
class Command:
    """A verb of benchmark.py with its flags.

    fresh  on an empty runs directory
    first  nothing is remembered of the matrix
    """

    verb: str
    flags: tuple[str, ...] = ()
    fresh: bool = False
    first: bool = False

    def __str__(self) -> str:
        where = ", nothing run yet" if self.fresh else ", the first time" if self.first else ""
        return " ".join([self.verb, *self.flags]) + where


COMMANDS = (
    Command("plan", ("--no-timing",), fresh=True),
    Command("plan", ("--no-timing",)),
    Command("status", first=True),
    Command("status"),
    Command("cancel"),
    Command("table"),
    Command("submit", ("--dry-run", "--no-timing"), fresh=True),
    Command("submit", ("--dry-run", "--no-timing")),
)
SLURM = ("squeue", "sacct", "sacctmgr", "scontrol", "sbatch", "scancel", "sinfo")
# Starts a command and prints its exit code, seconds of CPU and peak memory. A process's peak begins
# with that of the one that started it, and this one, with PyTorch, has more than `status` needs.
HELPER = """
import json, os, sys
null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=null)
_, status, usage = os.wait4(process, 0)
code = os.waitstatus_to_exitcode(status)
print(json.dumps([code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""


@dataclass(frozen=True)
class Taken:
    """What one process took; ``cpu`` is its processor time, which is free of other people's.

    looks  how often it opened a file or asked about one, which is what a network disk pays for
    calls  of the system, all together; both None where they were not counted
    """

    seconds: float
    cpu: float
    peak_bytes: int
    looks: int | None = None
    calls: int | None = None


def measure(
    arguments: Sequence[str], checkout: Path | None = None, tools: Path | None = None
) -> Taken:
    """Run benchmark.py of a checkout. Raises InputError with its last line where it fails.

    ``tools``: a folder of programs that it finds first.
    """
    command = [sys.executable, str((checkout or CHECKOUT) / "benchmark.py"), *arguments]
    environ = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"} if tools else None
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        helper = [sys.executable, "-S", "-c", HELPER, *command]
        done = subprocess.run(helper, stdout=subprocess.PIPE, stderr=errors, env=environ)
        seconds = time.perf_counter() - start
        errors.seek(0)
        lines = errors.read().decode(errors="replace").split("\n")
    code, cpu, peak = json.loads(done.stdout)
    if code:
        reason = next((line for line in reversed(lines) if line), "no message")
        raise InputError(f"exit code {code}: {reason}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KiB on Linux
    return Taken(seconds, cpu, peak * unit)


def counted(taken: Taken, arguments: Sequence[str], checkout: Path | None, tools: Path) -> Taken:
    """``taken`` with the system calls of another such process, where strace is installed."""
    if shutil.which("strace") is None:
        return taken
    program = [sys.executable, str((checkout or CHECKOUT) / "benchmark.py")]
    environ = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    with tempfile.NamedTemporaryFile("r") as counts:
        strace = ["strace", "-c", "-f", "-o", counts.name, *program, *arguments]
        subprocess.run(strace, capture_output=True, env=environ)
        table = {row[-1]: row for line in counts if len(row := line.split()) >= 5}
    numbers = {name: int(row[3]) for name, row in table.items() if row[3].isdecimal()}
    looks = sum(count for name, count in numbers.items() if "stat" in name or "open" in name)
    return replace(taken, looks=looks, calls=numbers.get("total"))


def empty_queue(folder: Path) -> Path:
    """A folder of SLURM's programs that know of no job."""
    tools = folder / "slurm"
    tools.mkdir(exist_ok=True)
    for name in SLURM:
        (tools / name).write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    return tools


def measure_all(
    made: synthetic_runs.Made,
    commands: Sequence[Command],
    device: str,
    checkout: Path | None = None,
) -> tuple[dict[Command, Taken], list[str]]:
    """What each takes, and why some are skipped: this benchmark.py lacks them, or they fail."""
    taken, skipped = {}, []
    folder = made.matrix.parent
    tools, data = empty_queue(folder), folder / f"data of {(checkout or CHECKOUT).name}"
    data.mkdir(exist_ok=True)
    forget = functools.partial(shutil.rmtree, data / ".cache", ignore_errors=True)
    for command in commands:
        runs = folder / "none" if command.fresh else made.runs
        places = ["--runs", str(runs), "--device", device, "--data", str(data)]
        words = [command.verb, str(made.matrix), *places, *command.flags]
        try:
            if command.first:
                forget()
            one = measure(words, checkout, tools)
            if command.first:
                forget()
            taken[command] = counted(one, words, checkout, tools)
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
    before: Sequence[Mapping[Command, Taken]] = (),
) -> str:
    """Markdown: a row per command and size, and how each grows from the first size on.

    ``before``: what another checkout takes, in columns of its own.
    """
    rows = []
    for command, first in results[0].items():
        for i, (made, taken) in enumerate(zip(sizes, results, strict=True)):
            if command in taken:
                here = taken[command]
                growth = "" if here is first else f"{here.cpu / first.cpu:.1f}×"
                then = [_then(before[i].get(command))] if before else []
                row = [*_texts(here), growth, *_counts(here), *itertools.chain(*then)]
                rows.append([str(command), f"{made.count:,}", *row])
    header = ["command", "runs", "seconds", "of CPU", "peak memory (MB)", "growth"]
    header += ["stats and opens", "system calls"]
    header += [f"{name}, before" for name in BEFORE] if before else []
    about = [*_notes(sizes, start), *notes]
    return markdown([Table("Commands on a large matrix", header, rows, notes=about)])


def board_report(made: synthetic_board.MadeBoard, taken: Mapping[str, Taken]) -> str:
    """Markdown: a row per command on a board file."""
    rows = [[name, f"{made.count:,}", *_texts(one)] for name, one in taken.items()]
    size = f"the board has {made.board.stat().st_size / 1e6:,.0f} MB"
    header = ["command", "runs", "seconds", "of CPU", "peak memory (MB)"]
    return markdown([Table("Commands on a large board", header, rows, notes=[size])])


def _counts(taken: Taken) -> list[str]:
    return ["–" if n is None else f"{n:,}" for n in (taken.looks, taken.calls)]


def _then(taken: Taken | None) -> list[str]:
    """The columns `BEFORE`."""
    return [*_texts(taken)[1:], *_counts(taken)] if taken else ["–"] * len(BEFORE)


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
    sizes, results, skipped, before = [], [], [], []
    start = measure(IMPORTS.split())
    for runs in sorted(args.runs):
        with tempfile.TemporaryDirectory() as folder:
            shared.progress(f"making about {runs:,} runs …")
            sizes.append(synthetic_runs.make(Path(folder), runs))
            taken, reasons = measure_all(sizes[-1], COMMANDS, args.device)
            results.append(taken)
            skipped += [f"skipped: {reason}" for reason in reasons]
            if args.before:
                shared.progress(f"the same with {args.before} …")
                before.append(measure_all(sizes[-1], COMMANDS, args.device, args.before)[0])
    command = f"command: {shared.command(__file__, arguments)}"
    text = report(sizes, results, start, [*dict.fromkeys(skipped), command], before)
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
    add("--runs", nargs="+", type=positive, default=[5_000, 20_000], help="sizes of the matrices")
    add("--before", type=Path, metavar="CHECKOUT", help="also measure another checkout")
    add("--board-runs", type=positive, help="also measure commands on a board of so many runs")
    add("--device", choices=["auto", "cpu", "cuda"], default="cpu")
    shared.add_output(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
