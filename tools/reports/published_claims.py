#!/usr/bin/env python3
"""What a published table says of its methods across pairs, its rows taken as if they were ours.

    tools/reports/published_claims.py tian2020crd --output results/reports/published-crd.md

Only the printed means are used: no spreads, no numbers of runs. Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pandas as pd

from experiments.commands.entry import entry_point
from results import published_rows, statistics, verdict_tables
from results.layout import Table
from results.published_rows import STUDENT
from results.render import markdown
from results.statistics import Estimate
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
    pairs = list(frame.index)
    # The student's row is the same for two pairs of one student; no other row is.
    by_baseline = _estimates(over_baseline.drop(columns=[baseline, STUDENT]), pairs)
    by_student = _estimates(over_student.drop(columns=STUDENT), [_student(pair) for pair in pairs])
    order = frame.mean(skipna=False).sort_values(ascending=False, kind="stable", na_position="last")
    header = [
        "Method", "Mean", f"− {baseline}", f"Pairs above {baseline}",
        f"Worst pair (− {baseline})", "− student", "Pairs above student",
    ]  # fmt: skip
    rows = [
        [
            method,
            _number(order[method]),
            _said(by_baseline, method),
            _improved(over_baseline[method], method == baseline),
            _worst(over_baseline[method], method == baseline),
            _said(by_student, method),
            _improved(over_student[method], method == STUDENT),
        ]
        for method in order.index
    ]
    return Table(title, header, rows, notes=list(_notes(frame, baseline, by_baseline, by_student)))


def _student(pair: str) -> str:
    return pair.rpartition(" > ")[2]


def _estimates(differences: pd.DataFrame, units: Sequence[str]) -> dict[str, Estimate]:
    """Of the methods that have every pair; all of them are paid for."""
    whole = differences.dropna(axis="columns")
    made = statistics.across_units(whole.to_numpy(), units)
    return dict(zip(whole.columns, made, strict=True))


def _notes(frame: pd.DataFrame, baseline: str, *estimates: Mapping[str, Estimate]) -> Iterator[str]:
    students = len({_student(pair) for pair in frame.index})
    confidence = f"{1 - statistics.LEVEL:.0%}"
    yield (
        f"Pairs like these: the unit is the pair's printed mean; exact sign-flip test of the "
        f"largest moderated |t|, intervals at {confidence} for all {len(estimates[0])} and all "
        f"{len(estimates[1])} methods together. Trials do not enter: none is printed."
    )
    yield (
        f"Against {baseline}, the {len(frame)} pairs are the units. Against the student they are "
        f"the {students} students: pairs with one student share its accuracy, which must not count "
        "twice."
    )
    for name, found in zip((baseline, "the student"), estimates, strict=True):
        width = statistics.median_half_width(found.values())
        yield f"Resolution: differences to {name} below {width:.2f} points cannot be seen."
    yield "A method that lacks a pair is in no mean and no test."


def _means(frame: pd.DataFrame) -> Table:
    header = ["Pair", *frame.columns]
    rows = [[pair, *map(_number, values)] for pair, *values in frame.itertuples()]
    return Table("Printed means (%)", header, rows)


def _number(value: float) -> str:
    return NONE if pd.isna(value) else f"{value:.2f}"


def _said(estimates: Mapping[str, Estimate], method: str) -> str:
    return verdict_tables.interval(estimates[method]) if method in estimates else ""


def _improved(differences: pd.Series[float], is_itself: bool) -> str:
    return "" if is_itself else f"{(differences > 0).sum()}/{differences.count()}"


def _worst(differences: pd.Series[float], is_itself: bool) -> str:
    if is_itself:
        return ""
    return f"{differences.idxmin()} ({verdict_tables.signed(float(differences.min()))})"


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
