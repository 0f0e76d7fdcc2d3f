#!/usr/bin/env python3
"""Which method can serve which pair of a matrix, and why the others cannot.

    tools/reports/pairs_table.py experiments/cifar100-all.yaml --output results/reports/pairs.md

Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tabulate import tabulate

from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from experiments.plan.plan import Plan, prepare
from experiments.plan.workspace import Workspace
from experiments.rundir.status import State
from tools.reports import shared


def table(plan: Plan) -> str:
    """Markdown: methods × pairs, "ok" or the number of a reason below."""
    statuses = plan.statuses()
    pairs = list(dict.fromkeys(entry.pair for entry in plan.expansion.entries))
    rows: dict[str, dict[str, str]] = {}
    reasons: dict[str, int] = {}
    for entry in plan.expansion.entries:
        status, cell = statuses[entry.spec.id], "ok"
        if status.state == State.UNSUPPORTED:
            cell = f"n/a ({reasons.setdefault(status.detail, len(reasons) + 1)})"
        rows.setdefault(entry.label, {})[entry.pair] = cell
    body = [[label, *(cells[pair] for pair in pairs)] for label, cells in rows.items()]
    header = ["method", *(pair.replace("->", "→") for pair in pairs)]
    notes = [f"{number}. {reason}" for reason, number in reasons.items()]
    title = f"## Methods and pairs of {Path(plan.source).name}\n\n"
    title += "Made by `tools/reports/pairs_table.py`.\n\n"
    grid = tabulate(body, header, tablefmt="pipe", disable_numparse=True)
    return title + "\n".join([grid, "", *notes]) + "\n"


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table or write it."""
    parser = shared.make_parser(__doc__)
    parser.add_argument("matrix")
    parser.add_argument("--data", type=Path, default=CHECKOUT / "data")
    shared.add_output(parser)
    args = parser.parse_args(arguments)
    plan = prepare(args.matrix, Workspace(Path("/nonexistent"), args.data, "cpu"))
    text = table(plan)
    shared.publish(text, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
