"""The data sets of a plan's runs: the matrix's own, and those of entries that name another part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
from experiments.activity import activity
from experiments.errors import InputError
from experiments.matrix.expansion import Candidate, Entry, Expansion
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, RunSpec, build_dataset
from experiments.matrix.schema import Matrix
from experiments.plan.workspace import Workspace
from experiments.wording import plural

if TYPE_CHECKING:  # what imports PyTorch is imported where it is used: `status` does without
    from datasets import Data, Info


@dataclass(frozen=True)
class DataSets:
    """Data sets on the CPU, each built when a run of it is first asked about.

    root     where they are
    options  those that are in no spec, such as paths
    source   the matrix, for errors
    recipe   whose batches those of `of` are
    only     stands for all of them, if it is given
    """

    root: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = "matrix"
    recipe: Recipe = field(default_factory=Recipe)
    only: Data | None = None
    known: dict[str, Data] = field(default_factory=dict)

    @classmethod
    def of_one(cls, data: Data) -> DataSets:
        """Where all runs are on one data set."""
        return cls(Path(), only=data)

    def of(self, dataset: DataSpec) -> Data:
        """A data set; of its batches, a run's `info` knows the size. Raises InputError."""
        if self.only is not None:
            return self.only
        if dataset.key not in self.known:
            self.known[dataset.key] = self._built(dataset)
        return self.known[dataset.key]

    def info(self, spec: RunSpec) -> Info:
        """What a run's method is told of its data. Raises InputError."""
        recipe = spec.recipe
        info = self.of(spec.dataset).info
        return replace(info, batch_size=recipe.batch_size, epochs=recipe.epochs)

    def content(self, dataset: DataSpec) -> str:
        """The hash of the images and labels in use. Raises InputError."""
        return self.of(dataset).fingerprint

    def warnings(self) -> list[str]:
        """What a reader of results should know about the files of those that were read."""
        known = [self.only] if self.only else self.known.values()
        return [text for data in known for text in data.warnings]

    def check(self, expansion: Expansion) -> None:
        """Read all of an expansion. Raises InputError naming the row whose data cannot be used."""
        usual = next(iter(self.known.values())).info.num_classes  # the matrix's comes first
        shown: list[Entry | Candidate] = [*expansion.entries, *expansion.candidates]
        rows = {(e.spec.dataset.key, bool(e.spec.teacher)): e for e in shown}
        for (_, taught), entry in rows.items():
            try:
                classes = self.of(entry.spec.dataset).info.num_classes
            except InputError as error:
                raise InputError(f"{error} (of {entry.label})") from error
            if taught and classes != usual:
                raise InputError(
                    f"{self.source}: dataset: {plural(classes, 'class', 'classes')} in "
                    f"{entry.label}, but its teacher has {usual}"
                )

    def _built(self, dataset: DataSpec) -> Data:
        options = {**self.options, **dataset.options}
        try:
            with activity(f"reading {dataset.name}"):
                return build_dataset(dataset, self.recipe, self.root, options)
        except datasets.DataError as error:
            raise InputError(f"{self.source}: dataset: {error}") from error


def of_matrix(matrix: Matrix, workspace: Workspace, source: str) -> DataSets:
    """Those of a matrix's runs; nothing is read yet."""
    return DataSets(workspace.data, matrix.dataset.options, source, matrix.recipe)
