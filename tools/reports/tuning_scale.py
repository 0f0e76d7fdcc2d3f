#!/usr/bin/env python3
"""Seconds and memory that a large tuning needs: 20 methods, 40 configurations, 13 pairs.

    tools/reports/tuning_scale.py --output results/reports/tuning-scale.md
    tools/reports/tuning_scale.py --methods 4 --configs 8

The matrix is made in a temporary directory. All of its search is done but for the last
configuration of each choice, so that every choice is near and none is made; nothing is trained.
Then each command is started as a person would, see `tools/reports/scale.py`.
Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.commands.arguments import positive
from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from experiments.matrix import schema
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Expansion, Facts
from tools.reports import scale, shared, synthetic_runs
from tools.reports.scale import Command

METHODS = (
    *("kd", "dkd", "nkd", "wsld", "dist", "fitnet", "at", "sp", "nst", "vid"),
    *("kdsvd", "ofd", "reviewkd", "rkd", "pkt", "cc", "irg", "crd", "srrl", "gk_dfd"),
)
PAIRS = (  # the literature's, as in experiments/cifar100.yaml
    *("wrn_40_2 -> wrn_16_2", "wrn_40_2 -> wrn_40_1", "resnet56 -> resnet20"),
    *("resnet110 -> resnet20", "resnet110 -> resnet32", "resnet32x4 -> resnet8x4"),
    *("vgg13 -> vgg8", "vgg13 -> MobileNetV2", "ResNet50 -> MobileNetV2", "ResNet50 -> vgg8"),
    *("resnet32x4 -> ShuffleV1", "resnet32x4 -> ShuffleV2", "wrn_40_2 -> ShuffleV1"),
)
COMMANDS = (
    Command("plan", ("--no-timing",), fresh=True),
    Command("status", first=True),
    Command("status"),
    Command("table"),
    Command("submit", ("--dry-run", "--no-timing"), fresh=True),
)


def matrix(methods: int, configs: int) -> dict[str, Any]:
    """A matrix that tunes so many methods; its data set is noise, as in `synthetic_runs`."""
    like = synthetic_runs.matrix(1)
    return {
        **{key: like[key] for key in ("dataset", "recipe")},
        "pairs": list(PAIRS),
        "methods": list(METHODS[:methods]),
        "tune": {"configs": configs, "seed": 0},
        "trials": 3,
    }


def _kinds(expansion: Expansion) -> dict[str, str]:
    """Run id -> "done" for teachers and for the search, without the last of each choice."""
    last = {run for choice in expansion.choices for run in choice.runs[-1]}
    done = {run for choice in expansion.choices for runs in choice.runs for run in runs} - last
    done |= {spec.id for spec in expansion.teachers}
    return {spec.id: "done" if spec.id in done else "untouched" for spec in expansion.runs}


def seconds_of_expansion(path: Path) -> float:
    """Of processor time, from the file to all runs with their ids; nothing may be cached yet."""
    start = time.process_time()
    runs = expand(schema.load(path), Facts()).runs
    _ = [spec.id for spec in runs]
    return time.process_time() - start


def _afresh(path: Path) -> float:
    """`seconds_of_expansion` in a process of its own."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
    code += "from tools.reports import tuning_scale\n"
    code += "print(tuning_scale.seconds_of_expansion(Path(sys.argv[2])))"
    command = [sys.executable, "-c", code, str(CHECKOUT), str(path)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def report(methods: int, configs: int, command: str) -> str:
    """Make the matrix, measure, and describe it in Markdown."""
    start = scale.measure(scale.IMPORTS.split())
    with tempfile.TemporaryDirectory() as folder:
        made = synthetic_runs.make_of(matrix(methods, configs), Path(folder), _kinds)
        shared.progress(f"{made.count:,} runs are made; expanding and measuring …")
        expansion = _afresh(made.matrix)
        taken, skipped = scale.measure_all(made, COMMANDS, "cpu")
    notes = [
        f"{methods} methods × {configs} configurations × {len(PAIRS)} pairs and the final runs",
        f"expansion alone, with all ids: {expansion:.1f} s of CPU",
        *(f"skipped: {reason}" for reason in skipped),
        f"command: {command}",
    ]
    return scale.report([made], [taken], start, notes)


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the report and write it where asked."""
    args = _parser().parse_args(arguments)
    command = shared.command(__file__, arguments)
    shared.publish(report(args.methods, args.configs, command), args.output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    parser.add_argument("--methods", type=positive, default=len(METHODS), help="at most 20")
    parser.add_argument("--configs", type=positive, default=40, help="of each method and pair")
    shared.add_output(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
