#!/usr/bin/env python3
"""Inject the faults of real clusters into running jobs, several times each; report what was lost.

    tools/reports/slurm_faults.py                                   every fault three times
    tools/reports/slurm_faults.py --faults sigkill requeue --repeats 10 --seed 7
    tools/reports/slurm_faults.py --output results/reports/slurm-faults.md

Every scenario is a small matrix on real images in a directory of its own: it is submitted,
disturbed at a random moment, left alone until nothing is in the queue, submitted once more where
something is missing, and compared bit for bit with an undisturbed local run. The clusters are
tools/slurm_dev.sh's, started for this and stopped again: one for faults that concern single jobs,
and one for each of those that disturb everybody. Needs root.
Exit codes: 0 all is well, 1 something was lost, 2 bad input or no SLURM.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from experiments.commands.arguments import positive
from experiments.commands.entry import entry_point
from results.render import Table, markdown
from tests.slurm import dev_cluster, faults, matrices
from tests.slurm.dev_cluster import DevCluster
from tests.slurm.faults import Fault
from tests.slurm.outcomes import References
from tests.slurm.verdict import Verdict, play
from tools.reports import shared

HEADER = (
    "fault",
    "injections",
    "scenarios",
    "runs",
    "runs lost",
    "results published twice",
    "results that differ",
    "false lines of status",
    "looks at status",
    "manual steps beyond one submit",
    "needed that submit",
    "seconds until all done",
    "SLURM's account of it",
    "all ends by its accounts",
)


class Session:
    """Where scenarios are played, and with which numbers."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        self.folder, self.seed, self.parallel = folder, args.seed, args.parallel
        self.beside = args.parallel // 4  # clusters beside the one that many scenarios share
        self.size = matrices.QUICK if args.quick else matrices.TABLE
        self.repeats = range(1, args.repeats + 1)
        self.references = References(folder / "undisturbed")

    def play_all(self, groups: Sequence[Sequence[Fault]]) -> list[Verdict]:
        """Every group on a cluster of its own, the first and some of the others at once."""
        with ThreadPoolExecutor(1 + self.beside) as pool:
            return [verdict for group in pool.map(self.play, groups) for verdict in group]

    def play(self, faults: Sequence[Fault]) -> list[Verdict]:
        """Every repeat of these faults on one new cluster: side by side, unless they disturb it."""
        scenarios = [(fault, repeat) for repeat in self.repeats for fault in faults]
        clusters = max(fault.clusters for fault in faults)
        threads = 1 if faults[0].disturbs else self.parallel - self.beside
        with dev_cluster.running(clusters) as cluster, ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda scenario: self.one(cluster, *scenario), scenarios))

    def one(self, cluster: DevCluster, fault: Fault, repeat: int) -> Verdict:
        """One scenario, from its start to a line about it."""
        start = time.monotonic()
        folder = self.folder / f"{fault.name}-{repeat}"
        seed = f"{self.seed}.{repeat}"
        verdict = play(fault, cluster, folder, seed, self.size, self.references)
        shared.progress(
            f"{_mark(verdict)} {fault.title}, seed {seed}, {time.monotonic() - start:.0f} s"
        )
        if not verdict.is_good:
            shared.progress(str(verdict))
        return verdict


def _mark(verdict: Verdict) -> str:
    return "well:" if verdict.is_good else "LOST:"


# ---- the report ----------------------------------------------------------------------------------


def report(verdicts: Sequence[Verdict], command: str, seconds: float) -> str:
    """Markdown: a row per fault, and when each was injected."""
    faults = list(dict.fromkeys(verdict.fault for verdict in verdicts))
    groups = [[v for v in verdicts if v.fault is fault] for fault in faults]
    rows = [_row(group) for group in groups] + [_row(verdicts, "all")]
    moments = [
        [v.fault.title, v.seed, "; ".join(v.moments), str(v.submits), f"{v.seconds:.0f}"]
        for group in groups
        for v in group
    ]
    columns = ["fault", "seed", "moments (seconds since the first submit)", "submits", "seconds"]
    return markdown(
        [
            Table("What faults of a cluster cost", HEADER, rows, notes=_notes(command, seconds)),
            Table("Every scenario", columns, moments),
        ]
    )


def _row(group: Sequence[Verdict], title: str | None = None) -> list[str]:
    def total(count: Callable[[Verdict], int]) -> str:
        return str(sum(count(verdict) for verdict in group))

    taken = [verdict.seconds for verdict in group]
    return [
        title or group[0].fault.title,
        total(lambda v: v.injections),
        str(len(group)),
        total(lambda v: v.runs),
        total(lambda v: len(v.lost)),
        total(lambda v: len(v.twice)),
        total(lambda v: len(v.different)),
        total(lambda v: len(v.false)),
        total(lambda v: v.looks),
        total(lambda v: v.manual),
        total(lambda v: v.more > 0),
        f"{min(taken):.0f}–{max(taken):.0f}",
        _counted(verdict.shown for verdict in group),
        _counted(verdict.ends for verdict in group),
    ]


def _counted(counts: Iterable[Counter[str]]) -> str:
    """ "7 COMPLETED, 1 NODE_FAIL"; of none at all, "–"."""
    counted = sum(counts, Counter[str]())
    return ", ".join(f"{count} {state}" for state, count in sorted(counted.items())) or "–"


def _notes(command: str, seconds: float) -> list[str]:
    device, code = shared.describe_machine(torch.device("cpu"))
    return [
        "runs lost: without a result after at most one more submit (where the teacher itself "
        "fails: students not reported as blocked, or a teacher not as failed with its reason).",
        "results published twice: a result.json that changed, watched five times a second.",
        "results that differ from an undisturbed local run: every accuracy and loss of every "
        "epoch, the steps, the teacher and the weights (SHA-256), bit for bit.",
        "false lines of status: `status --each`, asked every few seconds, said something of a run "
        "that fits neither what was so right before it nor what was so right after it, nor a way "
        "from one to the other (the disk, squeue, the live workers).",
        "SLURM's account of it: `sacct --duplicates` has a line for every start. An injection that "
        "SLURM sees counts only where this shows an end of the very task that was hit, no sooner "
        "than the injection, in a state that it leads to; else the moment is drawn again.",
        "seconds: from the last injection (where there is no single moment, from the first "
        "submit), with other scenarios on the same cores.",
        f"{dev_cluster.version()} on one machine; {device}",
        code,
        f"command: {command}; {seconds / 60:.0f} minutes",
    ]


# ---- the command line ----------------------------------------------------------------------------


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print the table and write it where asked."""
    args = _parser().parse_args(arguments)
    reason = dev_cluster.missing()
    if reason:
        return shared.fail(reason)
    start = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="kd-faults-"))
    session = Session(folder, args)
    verdicts = session.play_all(_groups(args.faults))
    command = shared.command(__file__, arguments)
    text = report(verdicts, command, time.monotonic() - start)
    shared.publish(text, args.output)
    if all(verdict.is_good for verdict in verdicts):
        shutil.rmtree(folder)
        return 0
    shared.progress(f"everything is kept in {folder}")
    return 1


def _groups(names: Iterable[str]) -> list[list[Fault]]:
    """The faults that share a cluster; one that disturbs others gets its own."""
    chosen = [fault for fault in faults.ALL if not names or fault.name in names]
    quiet = [fault for fault in chosen if not fault.disturbs]
    alone = [[fault] for fault in chosen if fault.disturbs]
    return [quiet, *alone] if quiet else alone


def _parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    add = parser.add_argument
    add("--faults", nargs="+", default=[], choices=[fault.name for fault in faults.ALL])
    add("--repeats", type=positive, default=3, help="of every fault")
    add("--seed", type=int, default=0, help="of the moments")
    add("--parallel", type=positive, default=6, help="scenarios at once")
    add("--quick", action="store_true", help="train less")
    shared.add_output(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
