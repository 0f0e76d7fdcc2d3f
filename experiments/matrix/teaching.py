"""The teachers of a matrix: given files, or runs of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import distillers
from experiments.matrix.expansion import Facts
from experiments.matrix.pairs import JOIN
from experiments.matrix.recipes import Recipes
from experiments.matrix.run_spec import DataSpec, RunSpec, TeacherSpec
from experiments.matrix.schema import Matrix
from experiments.matrix.sources import plugin_digests


@dataclass
class Teachers:
    """The teachers of a matrix; ``trained`` holds the runs, by id, of those not given as files.

    Whom a run learns from is put there before it.
    """

    matrix: Matrix
    data: DataSpec
    recipes: Recipes
    facts: Facts
    trained: dict[str, RunSpec] = field(default_factory=dict)
    known: dict[tuple[str, int], TeacherSpec] = field(default_factory=dict)

    @property
    def are_paired(self) -> bool:
        """Whether every trial has teachers of its own."""
        return self.matrix.teacher_trials == "paired"

    def of(self, names: Sequence[str], trial: int) -> TeacherSpec:
        """The teacher of these networks, several for an ensemble, for a run of that trial."""
        each = tuple(self._one(name, trial) for name in names)
        return each[0] if len(each) == 1 else TeacherSpec(name=JOIN.join(names), members=each)

    def trained_before(self, assistants: Sequence[RunSpec]) -> list[TeacherSpec]:
        """Runs of students that are teachers in turn, by trial."""
        self.trained |= {spec.id: spec for spec in assistants}
        return [TeacherSpec(name=spec.student, run=spec.id) for spec in assistants]

    def _one(self, name: str, trial: int) -> TeacherSpec:
        key = (name, trial if self.are_paired else 0)
        if key not in self.known:
            self.known[key] = self._resolved(*key)
        return self.known[key]

    def _resolved(self, name: str, trial: int) -> TeacherSpec:
        if name in self.matrix.teachers:
            return TeacherSpec(
                name=name,
                sha256=self.facts.teacher_sha256[name],
                normalisation=self.matrix.teachers[name].pixels,
            )
        spec = RunSpec(
            dataset=self.data,
            student=name,
            method_version=distillers.find("vanilla").version,
            options=distillers.defaults("vanilla"),
            trial=trial,
            recipe=self.recipes.teacher(name),
            plugins=plugin_digests("vanilla", name, None),
        )
        self.trained[spec.id] = spec
        return TeacherSpec(name=name, run=spec.id)
