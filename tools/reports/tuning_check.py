#!/usr/bin/env python3
"""Train matrices in several ways, and compare every run and every choice bit for bit.

    tools/reports/tuning_check.py experiments/sweep-digits.yaml experiments/tune-digits.yaml
    tools/reports/tuning_check.py experiments/tune-digits.yaml --ways undisturbed killed
    tools/reports/tuning_check.py --leak experiments/tune-digits.yaml
    tools/reports/tuning_check.py --by-hand experiments/chain-digits.yaml
    tools/reports/tuning_check.py … --folder DIR --output results/reports/tuning.md

Ways: `undisturbed`, on this machine; `killed`, there, with SIGKILL to every process at a random
moment of every stage and the command repeated; `cluster`, as jobs of a development cluster
(tools/slurm_dev.sh, started for this and stopped again; needs root), with a job of every stage
requeued or cancelled. `--leak` trains a matrix a second time with shuffled test labels. `--by-hand`
trains what chains and ensembles stand for as matrices of their own.
With --folder, everything is kept there; a repeated command goes on with the undisturbed runs where
they were, and begins the others anew.
Exit codes: 0 all is equal, 1 something differs, 2 bad input or no SLURM.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from results.render import Table, markdown
from tests.slurm import dev_cluster
from tools.reports import shared
from tools.tuning import by_hand, interrupting, interrupting_jobs, leak
from tools.tuning.interrupting import Play
from tools.tuning.outcome import Outcome, differences, outcome

WAYS = ("undisturbed", "killed", "cluster")
HEADER = ("matrix", "way", "runs", "choices", "interruptions", "missed", "differences", "minutes")


@dataclass(frozen=True)
class Row:
    """What came of a matrix that was trained in one way."""

    matrix: str
    way: str
    play: Play
    outcome: Outcome
    differences: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def cells(self) -> list[str]:
        missed = ", ".join(self.play.missed) or "–"
        said = "; ".join(self.differences) or "none"
        counts = [str(len(self.outcome.runs)), str(len(self.outcome.choices))]
        moments = "; ".join(self.play.moments) or "–"
        return [self.matrix, self.way, *counts, moments, missed, said, f"{self.seconds / 60:.1f}"]


class Session:
    """Where plays are kept, and with which numbers."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self.folder, self.args = folder, args

    def play(self, source: Path, way: str) -> Play:
        """A matrix in a folder of its own; the random moments depend on matrix, way and seed."""
        rng = random.Random(f"{source.stem} {way} {self.args.seed}")
        place = self.folder / source.stem / way
        return Play(source.absolute(), place / "runs", self.args.data, rng)

    def rows(self, source: Path) -> Iterator[Row]:
        """A matrix, trained in every way that was asked for, each compared with the first."""
        first: Outcome | None = None
        for way in self.args.ways:
            play = self.play(source, way)
            self._train(play, way, len(first.runs) if first else 0)
            seconds, found = play.seconds, outcome(play)
            told = differences(first, found) if first else []
            shared.progress(f"{source.stem}, {way}: {'; '.join(told) or 'as expected'}")
            yield Row(source.name, way, play, found, told, seconds)
            first = first or found

    def _train(self, play: Play, way: str, wanted: int) -> None:
        if way != WAYS[0]:  # a report of interruptions is one of all of them
            shutil.rmtree(play.runs, ignore_errors=True)
        shared.progress(f"{play.source.stem}, {way}: training in {play.runs} …")
        if way == "cluster":
            with dev_cluster.running() as cluster:
                interrupting_jobs.interrupted(play, cluster, wanted)
        elif way == "killed":
            interrupting.killed(play)
        else:
            interrupting.undisturbed(play)


# ---- the report ----------------------------------------------------------------------------------


def report(rows: Sequence[Row], notes: Sequence[str]) -> Table:
    """A row per matrix and way."""
    return Table(
        "Sweeps, tunings and chains in several ways",
        HEADER,
        [row.cells for row in rows],
        notes=notes,
    )


def _notes(ways: Sequence[str], command: str, seconds: float) -> list[str]:
    device, code = shared.describe_machine(torch.device("cpu"))
    cluster = [f"{dev_cluster.version()} on one machine"] if "cluster" in ways else []
    return [
        "interruptions: the part of the stage's epochs that was trained then; a stage is missed "
        "where everything had ended before its moment.",
        f"differences from {ways[0]}: of every run, the accuracies and losses of every epoch, the "
        "steps, the teacher and the weights (SHA-256); of every choice, all configurations, their "
        "validation accuracies and the chosen number; bit for bit.",
        *cluster,
        f"device: {device}",
        code,
        f"command: {command}; {seconds / 60:.0f} minutes",
    ]


# ---- the command line ----------------------------------------------------------------------------


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Train, compare, print the report and write it where asked."""
    args = _parser().parse_args(arguments)
    if not (args.matrices or args.leak or args.by_hand):
        return shared.fail("nothing to do: expected matrices, --leak or --by-hand")
    reason = dev_cluster.missing() if "cluster" in args.ways and args.matrices else None
    if reason:
        return shared.fail(reason)
    start = time.monotonic()
    with _folder(args.folder) as folder:
        session = Session(folder, args)
        rows = [row for source in args.matrices for row in session.rows(source)]
        findings: list[leak.Finding | by_hand.Finding] = [*_leaks(session), *_by_hand(session)]
    command = shared.command(__file__, arguments)
    notes = _notes(args.ways, command, time.monotonic() - start)
    shown = [report(rows, notes)] if rows else []
    shared.publish(markdown([*shown, *(finding.table() for finding in findings)]), args.output)
    good = not any(row.differences for row in rows) and all(f.is_good for f in findings)
    return 0 if good else 1


def _leaks(session: Session) -> Iterator[leak.Finding]:
    for source in session.args.leak:
        plays = (session.play(source, way) for way in leak.WORLDS)
        yield leak.find(*plays)


def _by_hand(session: Session) -> Iterator[by_hand.Finding]:
    for source in session.args.by_hand:
        yield by_hand.find(session.play(source, "undisturbed"))


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """The folder that was asked for, or a new one that goes when all went well."""
    if given:
        yield given
        return
    made = Path(tempfile.mkdtemp(prefix="kd-tuning-"))
    try:
        yield made
    except BaseException:
        shared.progress(f"everything is kept in {made}")
        raise
    shutil.rmtree(made)


def _parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    add = parser.add_argument
    add("matrices", nargs="*", type=Path, help="to be trained in every way")
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="the first is the reference")
    add("--leak", nargs="+", type=Path, default=[], metavar="MATRIX", help="test labels shuffled")
    add("--by-hand", nargs="+", type=Path, default=[], metavar="MATRIX", help="chains, ensembles")
    add("--seed", type=int, default=0, help="of the moments")
    add("--folder", type=Path, help="keep everything here, and go on from there")
    add("--data", type=Path, default=CHECKOUT / "data", help="root directory of the data sets")
    shared.add_output(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
