"""Runs made by an earlier version of a plugin, or before its file moved: kept, accepted, or stale.

The id of a run hashes the code of the plugins that define it. When that code changes, its finished
runs would vanish from the matrix; here they are found again beside the place of today's run.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from experiments.matrix import sources
from experiments.matrix.expansion import Choice, Expansion
from experiments.matrix.run_spec import RunSpec, TeacherSpec
from experiments.rundir import stored_spec
from results import files, records

ACCEPTED = "accepted.json"  # the ids of later runs that a user accepted this result for


@dataclass(frozen=True)
class Earlier:
    """A run on disk that differs from today's only in the code of its plugins.

    spec        as stored, with its own id and directory
    stands_for  the id of today's run
    detail      which file changed: "my_method.py changed"
    same_code   the plugin is the same, under another kind of hash or in another place
    """

    spec: RunSpec
    stands_for: str
    detail: str
    same_code: bool
    finished: bool
    accepted: bool

    @property
    def counts(self) -> bool:
        """Whether it stands for today's run."""
        return self.same_code or (self.finished and self.accepted)


@dataclass
class Reconciled:
    """An expansion in which runs of the same or accepted code have the ids they are stored under.

    stale     today's run id -> the finished run that other code made
    accepted  ids, in the expansion, of the runs that count because a user accepted them
    """

    expansion: Expansion
    stale: dict[str, Earlier] = field(default_factory=dict)
    accepted: dict[str, Earlier] = field(default_factory=dict)


def reconcile(
    expansion: Expansion, runs: Path, load_code: Callable[[], object] = lambda: None
) -> Reconciled:
    """Look for the runs of an expansion under the ids that other code of their plugins gave them.

    A run that has a directory of its own is not looked for. ``load_code`` imports the plugins; it
    is called before stored runs are compared with today's.
    """
    if not runs.is_dir():
        return Reconciled(expansion)
    search = _Search(runs, load_code, {spec.id for spec in expansion.teachers})
    now = {spec.id: search.spec(spec) for spec in expansion.runs}
    return Reconciled(
        Expansion(
            tuple(replace(entry, spec=now[entry.spec.id]) for entry in expansion.entries),
            tuple(now[spec.id] for spec in expansion.teachers),
            tuple(replace(one, spec=now[one.spec.id]) for one in expansion.candidates),
            tuple(_renamed(choice, now) for choice in expansion.choices),
            expansion.sent_as,
        ),
        search.stale,
        search.accepted,
    )


def accept(earlier: Iterable[Earlier], runs: Path) -> None:
    """Put on record that these runs stand for today's."""
    for found in earlier:
        path = found.spec.directory(runs) / ACCEPTED
        known = [*_accepted_for(path.parent), found.stands_for]
        records.write_atomic(path, json.dumps(known) + "\n")


class _Search:
    """One pass over an expansion; teachers come first, since students carry their ids."""

    def __init__(
        self, runs: Path, load_code: Callable[[], object], teaching: Collection[str]
    ) -> None:
        """``teaching``: the ids of the runs that others learn from."""
        self.runs, self.teaching = runs, teaching
        self.load_code = functools.cache(load_code)
        self.cells: dict[Path, list[str]] = {}
        self.stored: dict[Path, dict[str, Any] | None] = {}
        self.teachers: dict[str, str] = {}  # id -> id under which it is stored
        self.former: dict[str, set[str]] = {}  # teacher's id -> ids of all its versions
        self.stale: dict[str, Earlier] = {}
        self.accepted: dict[str, Earlier] = {}

    def spec(self, spec: RunSpec) -> RunSpec:
        """``spec``, or the stored one that stands for it."""
        today = self._with_todays_teacher(spec)
        found = [] if self._has_directory(today) else list(self._earlier(today, spec.id))
        best = max(found, key=lambda one: (one.counts, one.finished), default=None)
        if spec.id in self.teaching:  # a student's teacher may be stored under any of these
            self.former[spec.id] = {spec.id, today.id, *(one.spec.id for one in found)}
        if best is None:
            result = today
        elif best.counts:
            result = best.spec
            if not best.same_code:
                self.accepted[result.id] = best
        else:
            result = today
            if best.finished:
                self.stale[today.id] = best
        self.teachers[spec.id] = result.id
        return result

    def _with_todays_teacher(self, spec: RunSpec) -> RunSpec:
        now = spec.teacher and renamed(spec.teacher, self.teachers)
        return spec if now == spec.teacher else spec.model_copy(update={"teacher": now})

    def _has_directory(self, spec: RunSpec) -> bool:
        directory = spec.directory(self.runs)
        return directory.name in self._names(directory.parent)

    def _names(self, cell: Path) -> list[str]:
        if cell not in self.cells:
            try:
                self.cells[cell] = sorted(os.listdir(cell))
            except (FileNotFoundError, NotADirectoryError):
                self.cells[cell] = []
        return self.cells[cell]

    def _earlier(self, spec: RunSpec, original: str) -> Iterable[Earlier]:
        """Stored runs that have today's id once they are given today's plugins and teacher."""
        cell = spec.directory(self.runs).parent
        for name in self._names(cell):
            trial, _, run = name.partition("-")
            if trial != str(spec.trial) or ".stale-" in name:
                continue
            stored = self._stored(cell / name)
            if stored is None:
                continue
            self.load_code()
            candidate = self._as_stored(spec, stored)
            if candidate is not None and candidate.id == run:
                yield _described(candidate, spec, original, cell / name)

    def _stored(self, directory: Path) -> dict[str, Any] | None:
        if directory not in self.stored:
            self.stored[directory] = _of_a_plugin(directory)
        return self.stored[directory]

    def _as_stored(self, spec: RunSpec, stored: Mapping[str, Any]) -> RunSpec | None:
        """Today's run with the plugins that are stored, and its teacher's version of then."""
        update: dict[str, Any] = {"plugins": tuple(stored["plugins"])}
        if spec.teacher:
            then = self._of_then(spec.teacher, stored.get("teacher"))
            if then is None:
                return None
            update["teacher"] = then
        try:
            return spec.model_copy(update=update)
        except (ValidationError, TypeError):
            return None

    def _of_then(self, teacher: TeacherSpec, stored: Any) -> TeacherSpec | None:
        """The teacher with the runs of then; None if one is no version of today's."""
        known: Mapping[str, Any] = stored if isinstance(stored, Mapping) else {}
        if teacher.members:
            each = known.get("members")
            if not isinstance(each, list) or len(each) != len(teacher.members):
                return None
            members = [self._of_then(*both) for both in zip(teacher.members, each, strict=True)]
            return None if None in members else teacher.model_copy(update={"members": (*members,)})
        then = known.get("run")
        if teacher.run is None or not isinstance(then, str):
            return teacher
        versions = next((v for v in self.former.values() if teacher.run in v), set())
        return renamed(teacher, {teacher.run: then}) if then in versions else None


def _renamed(choice: Choice, now: Mapping[str, RunSpec]) -> Choice:
    """A choice among the runs as they are stored; placeholders go on naming it by its first id."""
    runs = tuple(tuple(now[run].id for run in each) for each in choice.runs)
    return replace(choice, runs=runs)


def renamed(teacher: TeacherSpec, runs: Mapping[str, str]) -> TeacherSpec:
    """The teacher, or its members, with the ids that ``runs`` has in place of theirs."""
    if teacher.members:
        members = tuple(renamed(member, runs) for member in teacher.members)
        return teacher.model_copy(update={"members": members})
    if teacher.run is None or teacher.run not in runs:
        return teacher
    return teacher.model_copy(update={"run": runs[teacher.run]})


def _of_a_plugin(directory: Path) -> dict[str, Any] | None:
    """What is stored of a run that a plugin defines; None for all others."""
    text = stored_spec.text(directory)
    stored = None if text is None or "plugins: []" in text else stored_spec.parsed(text)
    if stored is None or not _is_list_of_texts(stored.get("plugins")):
        return None
    return stored if isinstance(stored.get("teacher"), (dict, type(None))) else None


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(isinstance(x, str) for x in value)


def _described(stored: RunSpec, today: RunSpec, original: str, directory: Path) -> Earlier:
    hashes = sources.code_hashes(today)
    changed = [
        plugin.path.name
        for plugin in sources.plugins_of(today)
        if not plugin.hashes & set(stored.plugins)
    ]
    return Earlier(
        stored,
        original,
        f"{', '.join(changed) or 'its plugin'} changed",
        same_code=set(stored.plugins) <= hashes,
        finished=(directory / records.RESULT).exists(),
        accepted=original in _accepted_for(directory),
    )


def _accepted_for(directory: Path) -> list[str]:
    try:
        known = json.loads(files.read_bytes(directory / ACCEPTED))
    except (OSError, ValueError, RecursionError):
        return []
    return [str(run) for run in known] if isinstance(known, list) else []
