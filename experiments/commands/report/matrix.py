"""`report` of a matrix: its board, its runs, how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datasets
import distillers
from experiments.cluster import queue_status
from experiments.commands import published
from experiments.commands.board import board_of, with_known_measures
from experiments.commands.common import note_unreadable
from experiments.commands.report import methods as report_methods
from experiments.commands.report import runs as report_runs
from experiments.commands.report.boards import Asked
from experiments.commands.report.flags import Commands
from experiments.commands.report.methods import Row
from experiments.commands.report.progress import progress, trains
from experiments.commands.teacher_scores import arrow
from experiments.matrix.method_entry import MethodEntry
from experiments.matrix.variants import rows
from experiments.plan.plan import Plan
from results import board_file
from results.report.content import Content, MethodFacts


def content(plan: Plan, name: str, asked: Asked, command: Commands) -> Content:
    """The content of a plan, as the disk is now; ``command`` makes the commands of what is to do.

    Every status is read once. Raises InputError for a baseline or source that is not there.
    """
    statuses = queue_status.statuses(plan, measures=True)
    note_unreadable(statuses.values())
    board = board_of(plan, (), asked.baseline, asked.level, statuses)
    board = published.beside(with_known_measures(board, plan), plan, asked.published)
    runs = report_runs.of_plan(plan, statuses, board)
    on_board = board_file.is_board_file(plan.workspace.runs)
    return Content(
        name=name,
        board=board,
        methods=_facts(plan),
        runs=runs,
        history=report_runs.history_of(plan.workspace.runs, runs),
        progress=progress(plan, statuses, command),
        classes=_classes(plan),
        train="" if on_board else command(trains(), whole=True),
        again=command(trains(), whole=True, anew=True),
    )


def _facts(plan: Plan) -> dict[str, MethodFacts]:
    """By label, of the rows that are shown; of probes, the methods of their students."""
    options: dict[str, dict[str, Mapping[str, Any]]] = {}  # label -> pair -> options
    families: dict[str, str] = {}  # label -> of a tuned row, the row of the own options
    for entry in plan.of_students.expansion.entries:
        families[entry.label] = entry.family
        options.setdefault(entry.label, {})[arrow(entry.pair)] = entry.spec.options
    known = {row.label: row.entry for row in rows(plan.of_students.matrix)}
    entries = {row: known.get(row) or known[family] for row, family in families.items()}
    return {row: report_methods.facts(_row(entries[row], row, options[row])) for row in options}


def _row(entry: MethodEntry, row: str, by_pair: Mapping[str, Mapping[str, Any]]) -> Row:
    """The options of a row of the matrix, and those of the pairs that have others."""
    usual = distillers.resolve(entry.name, entry.options, entry.preset)
    others = {pair: options for pair, options in by_pair.items() if options != usual}
    return Row(row, entry.name, usual, others)


def _classes(plan: Plan) -> tuple[str, ...]:
    """The names of the classes, where no image has to be read for them."""
    if plan.data is not None:  # a user's own, read for its hash
        return plan.data.info.class_names
    data = plan.matrix.dataset
    return datasets.class_names(data.name, plan.workspace.data, data.options)
