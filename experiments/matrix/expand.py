"""Expand a matrix into the flat list of its runs. Pure: `Facts` holds what comes from disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import distillers
from experiments.errors import InputError
from experiments.matrix import tuning
from experiments.matrix.checks import check_names
from experiments.matrix.data_of import data_spec
from experiments.matrix.expansion import Entry, Expansion, Facts
from experiments.matrix.method_entry import MethodEntry
from experiments.matrix.pairs import NONE, PairEntry
from experiments.matrix.recipes import Recipes
from experiments.matrix.run_spec import DataSpec, RunSpec, ScoredOn, TeacherSpec
from experiments.matrix.schema import Matrix
from experiments.matrix.sources import plugin_digests
from experiments.matrix.teacher_patterns import concrete
from experiments.matrix.teaching import Teachers
from experiments.matrix.variants import rows


def expand(matrix: Matrix, facts: Facts, source: str = "matrix") -> Expansion:
    """The matrix's runs in the order of its methods, pairs and trials.

    Raises InputError naming ``source`` for unknown models, methods, data sets or options.
    """
    matrix = concrete(matrix, source)
    check_names(matrix, source)  # and options
    maker = RunMaker(matrix, facts, source)
    searching = RunMaker(matrix, facts, source, "validation") if matrix.tune else maker
    listed = rows(matrix)
    search = tuning.search(matrix, listed, searching)
    entries: list[Entry] = []
    for row in listed:
        tuned: list[Entry] = []
        for pair in matrix.pairs:
            named = str(pair)
            runs = maker.runs(row.place, row.entry, pair, matrix.trials)
            entries += (Entry(spec, named, row.label, row.family, row.values) for spec in runs)
            tuned += search.final(row, named, runs)
        entries += tuned
    teachers = {**searching.teachers.trained, **maker.teachers.trained}
    return Expansion(
        tuple(entries), tuple(teachers.values()), tuple(search.candidates), tuple(search.choices)
    )


class RunMaker:
    """Makes the runs of a matrix, entry by entry; ``teachers`` collects those that they need."""

    def __init__(
        self, matrix: Matrix, facts: Facts, source: str, scored_on: ScoredOn = "test"
    ) -> None:
        """``scored_on``: see `data_spec`. Raises InputError for a wrong ``teacher_recipe``."""
        self.source, self.matrix, self.facts = source, matrix, facts
        self.scored_on = scored_on
        self.data = data_spec(matrix, facts, scored_on=scored_on)
        self.parts: dict[str, DataSpec] = {}  # of the data, by what an entry says of them
        self.recipes = Recipes(matrix, source)
        self.teachers = Teachers(matrix, self.data, self.recipes, facts)

    def runs(
        self,
        where: str,
        method: MethodEntry,
        pair: PairEntry,
        trials: int,
        options: Mapping[str, Any] | None = None,
    ) -> list[RunSpec]:
        """An entry's runs on a pair, one per trial.

        where    the entry's place in the matrix
        options  all of the method's, resolved, in place of the entry's own

        Raises InputError for a pair without a teacher where the method needs one.
        """
        if options is None:
            options = distillers.resolve(method.name, method.options_for(pair), method.preset)
        found = distillers.find(method.name)
        taught = found.needs_of(options).teacher
        if taught and pair.teacher == NONE:
            raise InputError(f"{self.source}: {where}: {method.name} needs a teacher: {pair}")
        teachers = self._teachers(where, method, pair, trials) if taught else [None] * trials
        first = RunSpec(
            dataset=self.data_of(method.dataset),
            teacher=teachers[0],
            student=pair.student,
            method=method.name,
            method_version=found.version,
            options=options,
            recipe=self.recipes.student(pair.student, method.recipe),
            plugins=plugin_digests(method.name, pair.student, pair.teacher if taught else None),
        )
        # model_copy does not validate again, which took half of the time.
        return [
            first.model_copy(update={"trial": k, "teacher": teacher})
            for k, teacher in enumerate(teachers)
        ]

    def _teachers(
        self, where: str, method: MethodEntry, pair: PairEntry, trials: int
    ) -> list[TeacherSpec | None]:
        """Whom an entry's runs on a pair learn from, one per trial.

        An assistant is the student of the pair before, trained by the entry's method with the
        entry's own options for that pair, its recipe and its data, or by the method that the pair
        names, at its defaults and under the recipe of the matrix.
        """
        if pair.assistant is None:
            return [self.teachers.of(pair.roots, k) for k in range(trials)]
        by = MethodEntry(name=pair.by) if pair.by else method
        paired = self.teachers.are_paired
        made = self.runs(where, by, pair.assistant, trials if paired else 1)
        specs = self.teachers.trained_before(made)
        return [specs[k if paired else 0] for k in range(trials)]

    def data_of(self, own: Mapping[str, Any]) -> DataSpec:
        """The data set of the students of an entry; those of equal data share one object."""
        if not own:
            return self.data
        key = json.dumps(own, sort_keys=True)
        if key not in self.parts:
            self.parts[key] = data_spec(self.matrix, self.facts, own, self.scored_on)
        return self.parts[key]
