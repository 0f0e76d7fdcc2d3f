"""Chains and ensembles of a matrix, trained again as matrices of their own.

For `tools/reports/tuning_check.py`. By hand, "A -> B -> C" is two matrices: in the first B learns
from A, in the second C learns from B, whose weights are given as a file; "[A, B] -> C" is one in
which A and B are teachers, and one in which they are given. The last students' weights must be
equal, bit for bit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.matrix import schema, variants
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Entry, Facts
from experiments.matrix.pairs import PairEntry
from experiments.matrix.schema import Matrix
from results import records
from results.layout import Table
from results.schema import Record
from tools.reports import shared
from tools.tuning.interrupting import Play, undisturbed

KEPT = ("dataset", "recipe", "teacher_recipe")  # of the matrix, in those by hand


@dataclass
class Finding:
    """Per pair: how many runs were trained by hand, too, and those whose weights differ."""

    matrix: str
    pairs: dict[str, int] = field(default_factory=dict)
    different: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.different and sum(self.pairs.values()) > 0

    def table(self) -> Table:
        rows = [[pair, str(count)] for pair, count in self.pairs.items()]
        rows.append(["weights that differ", "; ".join(self.different) or "none"])
        notes = ["the last students' weights (SHA-256), of all methods and trials that can be"]
        title = f"Chains and ensembles by hand, in two matrices: {self.matrix}"
        return Table(title, ["pair", "runs compared"], rows, notes=notes)


def find(play: Play) -> Finding:
    """Train a matrix and, by hand, its chains and ensembles. Raises InputError where runs fail."""
    undisturbed(play)
    matrix = schema.load(play.source)
    entries = expand(matrix, Facts()).entries
    finding = Finding(play.source.name)
    for number, pair in enumerate(matrix.pairs):
        if pair.assistant or pair.members:
            hand = ByHand(play, matrix, pair, play.runs.parent / f"by hand {number}")
            mine = [entry for entry in entries if entry.pair == str(pair) and entry.spec.teacher]
            _compare(finding, hand, mine)
    return finding


def _compare(finding: Finding, hand: ByHand, entries: list[Entry]) -> None:
    done = {record.run: record for _, record in records.scan(hand.play.runs)}
    found = [entry for entry in entries if entry.spec.id in done]
    finding.pairs[str(hand.pair)] = len(found)
    for label in dict.fromkeys(entry.label for entry in found):
        made = hand.students(label)
        for entry in (entry for entry in found if entry.label == label):
            weights = done[entry.spec.id].weights.sha256
            if weights is None or made.get(entry.spec.trial) != weights:
                finding.different.append(f"{entry.pair} {label}, trial {entry.spec.trial}")


class ByHand:
    """A chain or an ensemble as two matrices."""

    def __init__(self, play: Play, matrix: Matrix, pair: PairEntry, folder: Path) -> None:
        self.play, self.matrix, self.pair, self.folder = play, matrix, pair, folder
        self.content: dict[str, Any] = yaml.safe_load(play.source.read_text(encoding="utf-8"))

    def students(self, label: str) -> dict[int, str | None]:
        """Trial -> the SHA-256 of the last student's weights, of the method with this label."""
        folder = self.folder / label
        given = {name: str(path) for name, path in self._teachers(folder / "first", label)}
        teachers = {name: {"file": path} for name, path in given.items()}
        last = f"[{', '.join(self.pair.members)}]" if self.pair.members else self.pair.teacher
        second = {
            "teachers": teachers,
            "pairs": [f"{last} -> {self.pair.student}"],
            "methods": [self._method(label)],
            "trials": self.matrix.trials,
        }
        found = self._train(folder / "second", second)
        return {
            record.spec["trial"]: record.weights.sha256
            for _, record in found
            if record.spec["student"] == self.pair.student and record.spec["teacher"]
        }

    def _teachers(self, folder: Path, label: str) -> Iterator[tuple[str, Path]]:
        """Train the teachers of the last student; their names and weights."""
        before, wanted = self.pair.assistant, self.pair.members or (self.pair.teacher,)
        method = (before and self.pair.by) or self._method(label)
        pairs = [str(before)] if before else [f"{m} -> {self.pair.student}" for m in wanted]
        for directory, record in self._train(folder, {"pairs": pairs, "methods": [method]}):
            is_taught = record.spec["teacher"] is not None
            if record.spec["student"] in wanted and is_taught == bool(before):
                yield record.spec["student"], directory / str(record.weights.file)

    def _method(self, label: str) -> Any:
        """The matrix's entry with this label, as it is written there."""
        entries = zip(self.matrix.methods, self.content["methods"], strict=True)
        return next(written for entry, written in entries if variants.label(entry) == label)

    def _train(self, folder: Path, content: Mapping[str, Any]) -> list[tuple[Path, Record]]:
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / "matrix.yaml"
        kept = {key: self.content[key] for key in KEPT if key in self.content}
        source.write_text(yaml.safe_dump({**kept, **content}, sort_keys=False), encoding="utf-8")
        play = replace(self.play, source=source, runs=folder / "runs", moments=[], missed=[])
        shared.progress(f"by hand: {content['pairs'][0]}")
        undisturbed(play)
        return records.scan(play.runs)
