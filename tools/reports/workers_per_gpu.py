#!/usr/bin/env python3
"""Images per second of 1, 2, 4 and 8 workers that share one GPU.

    tools/reports/workers_per_gpu.py experiments/cifar100.yaml --output results/reports/workers.md

What `plan --calibrate` measures, for each of a matrix's pairs (--pairs chooses), as a page with the
device's name. Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from experiments.commands.common import add_data_flags
from experiments.commands.entry import entry_point
from experiments.local import calibration
from experiments.local.calibration import Subject
from experiments.matrix.run_spec import RunSpec
from experiments.plan.plan import Plan, prepare
from experiments.plan.workspace import Selection, Workspace
from tools.reports import shared


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write."""
    parser = shared.make_parser(__doc__)
    parser.add_argument("matrix")
    parser.add_argument("--pairs", nargs="+", default=[], help="measure only these pairs")
    add_data_flags(parser)
    shared.add_output(parser)
    args = parser.parse_args(arguments)
    workspace = Workspace(Path("no runs"), args.data, args.device)
    plan = prepare(args.matrix, workspace, Selection(pairs=args.pairs))
    shared.publish(_page(plan, shared.command(__file__, arguments)), args.output)
    return 0


def _page(plan: Plan, command: str) -> str:
    device = plan.workspace.device
    name, versions = shared.describe_machine(torch.device(device))
    parts = [
        "# Several workers per GPU",
        f"- device: {name}\n- {versions}\n- `{command}`",
        f"Every worker trains one run on made-up images for {calibration.SECONDS:g} seconds. "
        "Memory is all that is in use of the GPU.",
        *(_section(subject, device) for subject in _subjects(plan)),
    ]
    return "\n\n".join(parts) + "\n"


def _subjects(plan: Plan) -> list[Subject]:
    """A run of each pair that has a teacher."""
    assert plan.data is not None  # a strict plan has its data
    first: dict[str, RunSpec] = {}
    for entry in plan.expansion.entries:
        if entry.spec.teacher:
            first.setdefault(entry.spec.pair, entry.spec)
    return [Subject(spec, plan.data.info, plan.plugins) for spec in first.values()]


def _section(subject: Subject, device: str) -> str:
    shared.progress(f"measuring {subject}")
    found = calibration.ladder(subject, device, shared.progress)
    text = calibration.table(found, "github")
    return f"## {subject}\n\n{text}\n\nRecommended: {calibration.recommended(found)}."


if __name__ == "__main__":
    sys.exit(entry_point(main)())
