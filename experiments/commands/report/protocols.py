"""`report` of a board file: which of its runs belong into one table.

A table has one data set, one recipe with its numerics, and one teacher for each pair. Runs of
another protocol are on another board, never mixed in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import ValidationError

import datasets
from experiments.commands.report import chains
from experiments.errors import InputError
from experiments.matrix.pairs import ARROW, NONE
from experiments.matrix.protocol import standard_recipe
from experiments.matrix.run_spec import DataSpec, data_defaults
from results.schema import Record

VANILLA = "vanilla"
Key = str  # a protocol as JSON
_LENGTHS = ("epochs", "milestones", "warmup_epochs")  # what `tune: {epochs}` changes


@dataclass(frozen=True)
class Item:
    """A finished run as a table sees it.

    ``trained`` is the spec that says how its student was trained: its own; of a probe, that of the
    student, or as much as the probe knows of it where that run is not on the board.
    ``assistants`` are those of its chain that are on the board, the last first; ``by``, the runs
    of those that a pair names with their method.
    """

    record: Record
    trained: Mapping[str, Any]
    assistants: tuple[Record, ...] = ()
    by: frozenset[str] = frozenset()

    @property
    def method(self) -> str:
        return str(self.trained.get("method"))

    @property
    def options(self) -> Mapping[str, Any]:
        return self.trained.get("options") or {}

    @property
    def version(self) -> int:
        return int(self.trained.get("method_version", 1))

    @property
    def student(self) -> str:
        return str(self.record.spec.get("student"))

    @property
    def trial(self) -> int:
        return int(self.record.spec.get("trial", 0))

    @property
    def teacher(self) -> str:
        """The teacher's name; "none" where there is none, or where it is not known.

        Of a chain, everything before the student.
        """
        if self.assistants:
            return chains.written(self.assistants, self.by)
        return chains.teacher_name(self.trained) or NONE

    @property
    def pair(self) -> str:
        return f"{self.teacher}{ARROW}{self.student}"

    @property
    def plain_pair(self) -> str:
        """The pair of a chain without any method, if it could be one: the row's trains them all."""
        methods = {str(record.spec.get("method")) for record in self.assistants}
        if methods != {self.method}:
            return self.pair
        return f"{chains.written(self.assistants, ())}{ARROW}{self.student}"

    @property
    def is_taught(self) -> bool:
        return self.teacher != NONE

    @cached_property
    def lr(self) -> Any:
        """The learning rate: papers have exceptions for single students."""
        return recipe_of(self.record.spec)["lr"]

    @cached_property
    def key(self) -> Key:
        """The protocol but for learning rate and teacher; of a probe, its student's as well."""
        own = _protocol(self.record.spec)
        source = self.record.spec.get("source")
        if source:
            probe = [source.get("dataset"), source.get("bn_mode", "eval")]
            own += [probe, _protocol(self.trained)]
        return json.dumps(own, sort_keys=True, default=str)


@dataclass
class Group:
    """The runs of one table, and the teachers' own runs on the board."""

    items: list[Item] = field(default_factory=list)
    teachers: list[Record] = field(default_factory=list)


def groups(records: Mapping[str, Record]) -> list[Group]:
    """The runs of a board file by protocol, the largest group first; teachers' runs aside."""
    by_key: dict[tuple[bool, Key], list[Item]] = {}
    for item in items_of(records):
        by_key.setdefault((bool(item.record.spec.get("source")), item.key), []).append(item)
    taught_by = _teachers(records.values())
    found = []
    for items in _students(by_key, taught_by):
        rows = [item for item in items if not _is_teacher(item, items, taught_by)]
        found += [group for some in _by_rate(rows) for group in _by_weights(some)]
    made = [Group(items, _own_teachers(items, records)) for items in found]
    return sorted(made, key=lambda group: -len(group.items))


def items_of(records: Mapping[str, Record]) -> list[Item]:
    """The records of a board as a table sees them."""
    by, items = chains.named(records), []
    for record in records.values():
        trained = _trained(record, records)
        items.append(Item(record, trained, chains.assistants(trained, records), by))
    return items


def _trained(record: Record, records: Mapping[str, Record]) -> Mapping[str, Any]:
    source = record.spec.get("source")
    if not source:
        return record.spec
    student = records.get(source.get("run", ""))
    return student.spec if student else {"method": source.get("method"), "options": {}}


# ---- teachers ------------------------------------------------------------------------------------


def _teachers(records: Iterable[Record]) -> set[Any]:
    """The ids of the teachers' runs, and their names with the data they teach on."""
    found: set[Any] = set()
    for record in records:
        for used in chains.teachers_of(record.spec):
            found |= {used.get("run"), (used.get("name"), _data_key(record.spec))}
    return found


def _data_key(spec: Mapping[str, Any]) -> str:
    return json.dumps(data_of(spec).model_dump(mode="json"), sort_keys=True, default=str)


def _is_teacher(item: Item, items: Sequence[Item], taught_by: set[Any]) -> bool:
    """Whether a run is there for its students only: its network is no student in this group."""
    if item.is_taught or item.method != VANILLA or item.record.spec.get("source"):
        return False
    if any(other.is_taught and other.student == item.student for other in items):
        return False
    name = (item.student, _data_key(item.record.spec))
    return item.record.run in taught_by or name in taught_by


def _students(by_key: Mapping[Any, list[Item]], taught_by: set[Any]) -> list[list[Item]]:
    """The runs of each protocol without assistants; all of them where nothing else is there."""
    protocols = list(by_key.values())
    found = [_without_assistants(items, taught_by) for items in protocols]
    return found if any(found) else protocols


def _without_assistants(items: Sequence[Item], taught_by: set[Any]) -> list[Item]:
    """Without the runs of pairs all of whose runs teach others: they are links of chains only."""
    pairs = {item.pair for item in items if item.record.run not in taught_by}
    return [item for item in items if not item.is_taught or item.pair in pairs]


def _own_teachers(items: Iterable[Item], records: Mapping[str, Record]) -> list[Record]:
    shown = {item.record.run for item in items}
    above = (spec for i in items for spec in (i.trained, *(a.spec for a in i.assistants)))
    runs = [str(used.get("run")) for spec in above for used in chains.teachers_of(spec)]
    return [records[run] for run in dict.fromkeys(runs) if run in records and run not in shown]


# ---- one protocol --------------------------------------------------------------------------------


def _protocol(spec: Mapping[str, Any]) -> list[Any]:
    recipe = {key: value for key, value in recipe_of(spec).items() if key != "lr"}
    return [data_of(spec).model_dump(mode="json"), recipe, spec.get("recipe_version", 1)]


def search_key(spec: Mapping[str, Any]) -> Key:
    """What a run has in common with the search that its options are chosen by.

    A search may have fewer epochs, and holds images out; rates are a network's.
    """
    data = data_of(spec).model_dump(mode="json", exclude={"validation"})
    recipe = {key: value for key, value in recipe_of(spec).items() if key not in ("lr", *_LENGTHS)}
    return json.dumps([data, recipe, spec.get("recipe_version", 1)], sort_keys=True, default=str)


def recipe_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The whole recipe: what is not stored was at its default."""
    return {**standard_recipe(), **(spec.get("recipe") or {})}


def data_of(spec: Mapping[str, Any]) -> DataSpec:
    """The data set of a stored spec, with all its options; old ones may have only the name."""
    part: Any = spec.get("dataset") or ""
    stored: dict[str, Any] = dict(part) if isinstance(part, Mapping) else {"name": part}
    name = str(stored.get("name"))
    usual = data_defaults(name) if name in datasets.names() else {}
    known = {key: stored[key] for key in ("subset", "validation", "content") if key in stored}
    try:
        return DataSpec(name=name, options={**usual, **(stored.get("options") or {})}, **known)
    except (ValidationError, TypeError) as error:
        raise InputError(
            f"spec.dataset: expected the data set of a run, got {part!r:.60}"
        ) from error


def _by_rate(items: Sequence[Item]) -> list[list[Item]]:
    """One group where every student has one learning rate, else one for each rate."""
    rates: dict[str, set[Any]] = {}
    for item in items:
        rates.setdefault(item.student, set()).add(item.lr)
    if all(len(of_student) == 1 for of_student in rates.values()):
        return [list(items)] if items else []
    by_rate: dict[Any, list[Item]] = {}
    for item in items:
        by_rate.setdefault(item.lr, []).append(item)
    return list(by_rate.values())


def _by_weights(items: Sequence[Item]) -> list[list[Item]]:
    """One group where every pair has one teacher (or one per trial), else several.

    Students without a teacher are in all groups that have their network.
    """
    taught: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        if item.is_taught:
            taught.setdefault((item.teacher, item.student), []).append(item)
    layers: dict[int, list[Item]] = {}
    for of_pair in taught.values():
        rank = _ranks(of_pair)
        for item in of_pair:
            layers.setdefault(rank[_weights(item)], []).append(item)
    ordered = [layers[rank] for rank in sorted(layers)]
    return [_with_alone(items, layer, i == 0) for i, layer in enumerate(ordered)] or [list(items)]


def _with_alone(items: Sequence[Item], layer: Sequence[Item], first: bool) -> list[Item]:
    """The taught runs of a layer, with the runs without a teacher that belong to it.

    Those of networks that nobody teaches here are in the ``first`` one only.
    """
    chosen, students = set(map(id, layer)), {item.student for item in layer}
    taught = {item.student for item in items if item.is_taught}

    def belongs(item: Item) -> bool:
        if item.is_taught:
            return id(item) in chosen
        return item.student in students or (first and item.student not in taught)

    return [item for item in items if belongs(item)]


def _weights(item: Item) -> str:
    """The first teacher's weights; its run where their hash was not stored."""
    used, stored = item.record.teacher, item.trained.get("teacher") or {}
    if item.assistants:
        first = item.assistants[-1]
        used, stored = first.teacher, first.spec.get("teacher") or {}
    own = used.sha256 if used else None
    return str(own or stored.get("sha256") or stored.get("run") or "")


def _ranks(items: Sequence[Item]) -> dict[str, int]:
    """Of one pair: the teacher's weights -> number of their group, the most frequent first."""
    if _is_paired(items):
        return {_weights(item): 0 for item in items}
    counts = Counter(_weights(item) for item in items)
    return {weights: rank for rank, (weights, _) in enumerate(counts.most_common())}


def _is_paired(items: Sequence[Item]) -> bool:
    """Whether every trial has a teacher of its own, each another run."""
    by_trial: dict[int, set[tuple[str, str]]] = {}
    for item in items:
        run = str((item.trained.get("teacher") or {}).get("run"))
        by_trial.setdefault(item.trial, set()).add((run, _weights(item)))
    used = set().union(*by_trial.values())
    one_each = all(len(of_trial) == 1 for of_trial in by_trial.values())
    return one_each and len({run for run, _ in used}) == len(used)
