#!/usr/bin/env python3
"""How well `plan` predicts the time of runs: predicted here and now, against what is on record.

    tools/reports/prediction.py results/boards/digits.jsonl results/boards/cifar100-cpu.jsonl

The runs of a board are predicted as if none had been trained, by timing a few steps on this
machine, which should be as busy as the one that trained them was. The records leave out the start
of jobs, so the prediction does too. Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import distillers
from experiments.environment import CHECKOUT
from experiments.matrix.run_spec import RunSpec, build_dataset
from experiments.plan.cost import predict_cost
from experiments.plan.data_sets import DataSets
from experiments.rundir.status import State, Status
from results import board_file, records
from results.render import Table, markdown
from results.schema import Record
from tools.reports import shared


@dataclass(frozen=True)
class Row:
    """One method on one pair, over its trials."""

    pair: str
    method: str
    predicted: float
    recorded: float


def predict(board: Sequence[Record], data_root: Path) -> list[Row]:
    """Predicted and recorded seconds, per pair and method in the board's order."""
    specs = [_spec(record) for record in board]
    first = specs[0]
    data = build_dataset(first.dataset, first.recipe, data_root, first.dataset.options)
    statuses = [Status(spec, State.TODO) for spec in specs]
    seconds = predict_cost(statuses, DataSets.of_one(data), "cpu", start_seconds=0.0).of
    rows: dict[tuple[str, str], list[float]] = {}
    for spec, record in zip(specs, board, strict=True):
        sums = rows.setdefault((spec.pair, spec.method), [0.0, 0.0])
        sums[0] += seconds[spec.id] or 0.0
        sums[1] += record.seconds or 0.0
    return [Row(*key, *sums) for key, sums in rows.items()]


def _spec(record: Record) -> RunSpec:
    """A record's run; options that are newer than it are at their defaults."""
    stored = record.spec
    options = {**distillers.defaults(stored["method"]), **stored["options"]}
    return RunSpec.model_validate({**stored, "options": options})


def table(name: str, rows: Sequence[Row], each: bool) -> Table:
    """The totals of a board, and with ``each`` every row."""
    shown = [*rows] if each else []
    total = Row("all", "", sum(r.predicted for r in rows), sum(r.recorded for r in rows))
    texts = [
        [r.pair, r.method, f"{r.predicted:,.0f}", f"{r.recorded:,.0f}", _ratio(r)]
        for r in (*shown, total)
    ]
    return Table(name, ["pair", "method", "predicted (s)", "recorded (s)", "ratio"], texts)


def _ratio(row: Row) -> str:
    return f"{row.predicted / row.recorded:.2f}" if row.recorded else "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print, and write if asked, the report."""
    parser = shared.make_parser(__doc__)
    parser.add_argument("boards", nargs="+", type=Path, help="files of records, NAME.jsonl")
    parser.add_argument("--data", type=Path, default=CHECKOUT / "data", help="root of the data")
    parser.add_argument("--each", action="store_true", help="also print every pair and method")
    shared.add_output(parser)
    args: argparse.Namespace = parser.parse_args(arguments)
    tables = []
    for path in args.boards:
        shared.progress(f"predicting {path.name}")
        try:
            board = list(board_file.read(path).values())
        except (OSError, records.RecordError) as error:
            return shared.fail(error)
        tables.append(table(path.stem, predict(board, args.data), args.each))
    device, versions = shared.describe_machine(torch.device("cpu"))
    text = (
        f"{markdown(tables)}\n- {device}; {versions}\n- `{shared.command(__file__, arguments)}`\n"
    )
    shared.publish(text, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
