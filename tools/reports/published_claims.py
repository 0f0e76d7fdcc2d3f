#!/usr/bin/env python3
"""What a published table says of its methods across pairs, its rows taken as if they were ours.

    tools/reports/published_claims.py tian2020crd --output results/reports/published-crd.md

Only the printed means are used: no spreads, no numbers of runs. Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd

from experiments.commands.entry import entry_point
from results import published_rows
from results.layout import Table
from results.published_rows import STUDENT
from results.render import markdown
from tools.reports import shared

NONE = "–"


def report(source: str, dataset: str, baseline: str, made_by: str) -> str:
    """The report as Markdown. PublishedError for an unknown source, data set or method."""
    frame = published_rows.as_pair_means(source, dataset)
    published_rows.as_pair_means(source, dataset, [baseline, STUDENT])  # both must be there
    about = published_rows.sources()[source]
    tables = [_claims(frame, baseline, f"{source} on {dataset}"), _means(frame)]
    intro = (
        f"{about.title} ({about.where}), rows as printed: {about.epoch} epoch, trials: "
        f"{about.trials}.\nMade by `{made_by}`."
    )
    first, rest = markdown(tables).split("\n\n", maxsplit=1)
    return f"{first}\n\n{intro}\n\n{rest}"


def _claims(frame: pd.DataFrame, baseline: str, title: str) -> Table:
    """Per method, best mean first: mean, differences to baseline and student, its worst pair."""
    over_baseline = frame.sub(frame[baseline], axis=0)
    over_student = frame.sub(frame[STUDENT], axis=0)
    # The sign-flip test across pairs goes here: `over_baseline` and `over_student` hold its
    # differences, pairs × methods, in points (NaN where the source prints nothing).
    order = frame.mean(skipna=False).sort_values(ascending=False, kind="stable", na_position="last")
    header = [
        "Method", "Pairs", "Mean", f"− {baseline}", "− student", f"Pairs above {baseline}",
        "Pairs above student", f"Worst pair (− {baseline})",
    ]  # fmt: skip
    rows = [
        [
            method,
            f"{frame[method].count()}/{len(frame)}",
            _number(order[method]),
            _difference(over_baseline[method], method == baseline),
            _difference(over_student[method], method == STUDENT),
            _improved(over_baseline[method], method == baseline),
            _improved(over_student[method], method == STUDENT),
            _worst(over_baseline[method], method == baseline),
        ]
        for method in order.index
    ]
    notes = [
        "Mean and differences (in points) are over all pairs, and only where every pair is there. "
        "Pairs above: of those that the method has. Pairs that share a student share its accuracy."
    ]
    return Table(title, header, rows, notes=notes)


def _means(frame: pd.DataFrame) -> Table:
    header = ["Pair", *frame.columns]
    rows = [[pair, *map(_number, values)] for pair, *values in frame.itertuples()]
    return Table("Printed means (%)", header, rows)


def _number(value: float) -> str:
    return NONE if pd.isna(value) else f"{value:.2f}"


def _signed(value: float) -> str:
    return NONE if pd.isna(value) else f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def _difference(differences: pd.Series[float], is_itself: bool) -> str:
    return "" if is_itself else _signed(float(differences.mean(skipna=False)))


def _improved(differences: pd.Series[float], is_itself: bool) -> str:
    return "" if is_itself else f"{(differences > 0).sum()}/{differences.count()}"


def _worst(differences: pd.Series[float], is_itself: bool) -> str:
    if is_itself:
        return ""
    return f"{differences.idxmin()} ({_signed(float(differences.min()))})"


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report or write it."""
    parser = shared.make_parser(__doc__)
    parser.add_argument("source", help="its key, see `benchmark.py list published`")
    parser.add_argument("--dataset", default="cifar100", help="default: cifar100")
    parser.add_argument("--baseline", default="kd", help="a method of the source (default: kd)")
    shared.add_output(parser)
    args = parser.parse_args(arguments)
    made_by = shared.command(__file__, arguments)
    shared.publish(report(args.source, args.dataset, args.baseline, made_by), args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
