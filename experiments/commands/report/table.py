"""`report` of a board file: the rows, pairs and words of one protocol's runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from pydantic import ValidationError

import datasets
import distillers
from experiments.commands import published
from experiments.commands.board import dataset_label, every_measure, row_named
from experiments.commands.reference_rows import Key, Row, key_of, options_text, rows_of, title_of
from experiments.commands.report import methods as report_methods
from experiments.commands.report import runs as report_runs
from experiments.commands.report.protocols import (
    VANILLA,
    Group,
    Item,
    data_of,
    recipe_of,
    search_key,
)
from experiments.commands.report.tuned_rows import Searches
from experiments.commands.teacher_scores import arrow
from experiments.matrix import transfer
from experiments.matrix.pairs import ARROW, NONE
from experiments.matrix.protocol import is_known
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, data_defaults
from experiments.matrix.schema import DatasetEntry
from experiments.matrix.tuning import tuned_label
from results.cells import Cell, TeacherScores
from results.leaderboard import Leaderboard, leaderboard
from results.report.content import TEACHER, MethodFacts, Run
from results.schema import Record, TeacherUsed

_FIRST = (VANILLA, "kd")  # the rows that others are compared with
_TUNED = (
    "(tuned): with the options that have the highest validation accuracy in the search whose runs "
    "this file holds; those runs read no test image and are not shown. What they tried and what "
    "tuning changed: benchmark.py table MATRIX --runs FILE"
)


@dataclass(frozen=True)
class Table:
    """The runs of one protocol in rows; ``cells`` are those that are shown."""

    group: Group
    rows: Mapping[str, Row]
    cells: tuple[Cell, ...]

    @classmethod
    def of(cls, group: Group, searches: Searches) -> Table:
        """The whole table of a group; ``searches``: those of its board file."""
        rows = _rows(group, searches)
        return cls(group, rows, tuple(_cells(group, rows)))

    @cached_property
    def items(self) -> dict[str, Item]:
        return {item.record.run: item for item in self.group.items}

    @cached_property
    def methods(self) -> dict[str, str]:
        """Label -> method."""
        return {label: self._some(row).method for label, row in self.rows.items()}

    def _some(self, row: Row) -> Item:
        return self.items[next(iter(row.values())).run]

    @property
    def data(self) -> DataSpec:
        return data_of(self.group.items[0].record.spec)

    @property
    def _trained_on(self) -> DataSpec | None:
        """Of probes, the data set of their students, as far as it is known."""
        first = self.group.items[0]
        source = first.record.spec.get("source")
        if not source:
            return None
        is_here = "dataset" in first.trained
        return data_of(first.trained) if is_here else DataSpec(name=str(source.get("dataset")))

    @property
    def published_name(self) -> str:
        """The data set as published sources name it."""
        trained = self._trained_on
        return published.dataset_name(self.data.name, trained.name if trained else None)

    def board(self, baseline: str | None, level: float, sources: Sequence[str]) -> Leaderboard:
        """The leaderboard of the cells that are shown."""
        labels = list(dict.fromkeys(cell.method for cell in self.cells))
        shown = {label: self.methods[label] for label in labels}
        alone = next((label for label in labels if shown[label] == VANILLA), None)
        board = leaderboard(
            self.cells,
            self._teachers(),
            dataset=dataset_label(_entry(self.data)),
            recipe=self._recipe(),
            exceptions=list(self._exceptions()),
            notes=list(self._notes()),
            baseline=alone if baseline is None else row_named(baseline, shown),
            level=level,
        )
        pairs = len({pair for row in self.rows.values() for pair, _ in row})
        board = replace(board, all_pairs=pairs) if len(board.pairs) < pairs else board
        trained = self._trained_on
        about = published.other_data(_entry(self.data), _entry(trained) if trained else None)
        return published.compared(every_measure(board), sources, self.published_name, about)

    def facts(self) -> dict[str, MethodFacts]:
        """By label, of every row that is shown."""
        labels = dict.fromkeys(cell.method for cell in self.cells)
        return {label: report_methods.facts(self._row(label)) for label in labels}

    def runs(self) -> list[Run]:
        """Every run that is shown once, its pair the first one; then the teachers' own."""
        found: dict[str, Run] = {}
        for cell in self.cells:
            if cell.record and cell.record.run not in found:
                found[cell.record.run] = report_runs.of_record(cell.record, cell.pair, cell.method)
        for record in self.group.teachers:
            name = str(record.spec.get("student"))
            found[record.run] = report_runs.of_record(record, name, TEACHER)
        return list(found.values())

    # ---- its words -------------------------------------------------------------------------------

    def _row(self, label: str) -> report_methods.Row:
        """The options of a row; where they differ between pairs, the defaults, and each pair's."""
        by_pair = {pair: self._options(record) for (pair, _), record in self.rows[label].items()}
        method, first = self.methods[label], next(iter(by_pair.values()))
        if all(options == first for options in by_pair.values()):
            return report_methods.Row(label, method, first)
        usual = distillers.defaults(method) if is_known(method) else first
        return report_methods.Row(label, method, usual, by_pair)

    def _options(self, record: Record) -> Mapping[str, Any]:
        return self.items[record.run].options

    def _teachers(self) -> dict[str, TeacherScores]:
        """By pair, as the students that are shown measured them."""
        found: dict[str, dict[str, float]] = {}
        names: dict[str, str] = {}
        for cell in self.cells:
            used = self._first_teacher(cell.record) if cell.record else None
            if used and used.accuracy is not None:
                key = used.run or used.sha256 or ""
                found.setdefault(cell.pair, {}).setdefault(key, used.accuracy)
                names[cell.pair] = used.name
        return {
            pair: TeacherScores(names[pair], tuple(scores.values()))
            for pair, scores in found.items()
        }

    def _first_teacher(self, record: Record) -> TeacherUsed | None:
        """Whom a run learned from; at the end of a chain, whom its first assistant did."""
        item = self.items.get(record.run)
        return (item.assistants[-1] if item and item.assistants else record).teacher

    @cached_property
    def _usual_lr(self) -> Any:
        return Counter(item.lr for item in self.group.items).most_common(1)[0][0]

    def _recipe(self) -> str:
        """In one line; empty where another version wrote what is not understood here."""
        stored = {**recipe_of(self.group.items[0].record.spec), "lr": self._usual_lr}
        try:
            return Recipe.model_validate(stored).summary()
        except ValidationError:
            return ""

    def _exceptions(self) -> Iterator[str]:
        """Where students, teachers or pairs leave the recipe or the row's options."""
        rates = {item.student: item.lr for item in self.group.items if item.lr != self._usual_lr}
        yield from (f"lr {lr} for student {student}" for student, lr in sorted(rates.items()))
        own = recipe_of(self.group.items[0].record.spec)
        for text in dict.fromkeys(_other(recipe_of(t.spec), own) for t in self.group.teachers):
            if text:
                yield f"teachers trained here: {text}"
        for label, facts in self.facts().items():
            for pair, text in facts.exceptions.items():
                yield f"{label}, {pair}: {text or 'defaults'}"
            method = self.methods[label]
            if _is_tuned(label, method) and not facts.exceptions:
                chosen = self._options(next(iter(self.rows[label].values())))
                yield f"{label}: {options_text(key_of(method, chosen))}"

    def _notes(self) -> Iterator[str]:
        source = self.group.items[0].record.spec.get("source")
        if source:
            yield transfer.note(source.get("bn_mode", "eval"))
        if any(_is_tuned(cell.method, self.methods[cell.method]) for cell in self.cells):
            yield _TUNED


def _other(recipe: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """ "epochs 15": where a teacher's recipe is another one; rates are a network's."""
    other = {key: value for key, value in recipe.items() if key != "lr" and value != usual.get(key)}
    return ", ".join(f"{key} {value}" for key, value in other.items())


def _entry(data: DataSpec) -> DatasetEntry:
    """As a matrix names it: with the options that are not at their defaults."""
    known = data.name in datasets.names()
    usual = data_defaults(data.name) if known else data.options
    told = {key: value for key, value in data.options.items() if value != usual.get(key)}
    parts = {"subset": data.subset, "validation": data.validation}
    return DatasetEntry.model_validate({"name": data.name, **parts, **told})


# ---- rows ----------------------------------------------------------------------------------------


def _rows(group: Group, searches: Searches) -> dict[str, Row]:
    """Label -> row: the student alone, KD, then by title; tuned rows after those of own options."""
    newest: dict[str, int] = {}
    for item in group.items:
        newest[item.method] = max(item.version, newest.get(item.method, 0))
    found: dict[str, dict[Key, Row]] = {}
    pairs = _pairs(group)
    written = {item.pair for item in group.items}
    for item in group.items:
        mark = "" if item.version == newest[item.method] else f"version {item.version}"
        both = [pair for pair in dict.fromkeys((item.pair, item.plain_pair)) if pair in written]
        for pair in map(arrow, both) if item.is_taught else pairs[item.student]:
            _put(item, pair, mark, found)
    own, tuned = searches.split(found.pop("", {}), search_key(group.items[0].trained))
    rows = rows_of(own) | {tuned_label(title_of(method)): row for method, row in tuned.items()}
    rows |= {label: row for mark in found for label, row in rows_of(found[mark], mark).items()}
    methods = {item.record.run: item.method for item in group.items}

    def place(label: str) -> tuple[object, ...]:
        method = methods[next(iter(rows[label].values())).run]
        is_last = _is_tuned(label, method)
        return _rank(method), title_of(method).casefold(), is_last, label.casefold()

    return {label: rows[label] for label in sorted(rows, key=place)}


def _is_tuned(label: str, method: str) -> bool:
    return label == tuned_label(title_of(method))


def _rank(method: str) -> int:
    return _FIRST.index(method) if method in _FIRST else len(_FIRST)


def _pairs(group: Group) -> dict[str, list[str]]:
    """Student -> its pairs; of one that nobody teaches here "none → student"."""
    found: dict[str, dict[str, None]] = {item.student: {} for item in group.items}
    for item in group.items:
        if item.is_taught:
            found[item.student][arrow(item.pair)] = None
    return {s: list(pairs) or [arrow(f"{NONE}{ARROW}{s}")] for s, pairs in found.items()}


def _put(item: Item, pair: str, mark: str, found: dict[str, dict[Key, Row]]) -> None:
    """Put a run in its row; a second one of the same trial, of other code, in a row of its own."""
    key, place, number = key_of(item.method, item.options), (pair, item.trial), 1
    while True:
        again = [f"run {number}"] * (number > 1)
        row = found.setdefault(", ".join(filter(None, [mark, *again])), {}).setdefault(key, {})
        if place not in row:
            row[place] = item.record
            return
        number += 1


def _cells(group: Group, rows: Mapping[str, Row]) -> Iterator[Cell]:
    """Every row has every trial of every pair: one that it lacks is missing, as in a matrix."""
    taught = {item.record.run for item in group.items if item.is_taught}
    own: dict[str, dict[int, None]] = {}  # pair -> its trials
    for row in rows.values():
        for (pair, trial), record in row.items():
            is_one = record.run in taught or pair.startswith(f"{NONE} ")
            own.setdefault(pair, {}).update({trial: None} if is_one else {})
    for label, row in rows.items():
        for pair in sorted(own):
            more = [trial for of, trial in row if of == pair]
            for trial in sorted({*own[pair], *more}):
                yield Cell(pair, label, trial, row.get((pair, trial)))
