"""The resolved runs of a matrix, remembered: who only looks at results need not import the code.

The ids of a matrix's runs depend on the defaults of methods and data sets, and so on PyTorch, whose
import is most of what `status` would do. An expansion is stored as JSON under everything that it
depends on: the matrix, the code of the harness and of the plugins, the given teachers, a user's own
data, the versions of packages. Whatever cannot be understood is resolved again.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from distillers.errors import MethodError
from distillers.identity import read_plugin
from experiments.matrix import data_of
from experiments.matrix.expansion import Candidate, Choice, Entry, Expansion
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, RunSpec, TeacherSpec
from experiments.matrix.schema import Matrix
from experiments.memo import Key, Memo, code_stamp, versions
from experiments.plan.kinds import Code

KIND = "runs"
MOST = 200_000  # runs: 20 MB; checking and writing more would take longer than it ever saves
# What an expansion, its checks and the verdicts of `kinds` are computed by.
CODE = ("models", "distillers", "datasets", "experiments/matrix", "experiments/plan",
        "experiments/train/one_sample.py")  # fmt: skip
PACKAGES = ("torch", "torchvision", "timm", "pydantic")
T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """An expansion that was resolved before, and the code whose verdicts are remembered."""

    expansion: Expansion
    code: Code


class ExpansionMemo:
    """The memory of one matrix: the last expansion of it, if everything is as it was then."""

    def __init__(
        self,
        source: str,
        matrix: Matrix,
        data: Path,
        plugins: Sequence[Path],
        files: Sequence[Path],
    ) -> None:
        """``files``: the weights of given teachers; ``data``: the data root, which keeps it."""
        self.memo, self.name = Memo(data), str(Path(source).resolve())
        self.matrix, self.data, self.plugins, self.files = matrix, data, plugins, files
        self.key = self._key_now()

    def _key_now(self) -> Key | None:
        """None where nothing is to be remembered; what is not there is reported by who needs it."""
        try:
            return _key(self.matrix, self.data, self.plugins, self.files)
        except (MethodError, OSError, ValueError):
            return None

    def known(self) -> Stored | None:
        """What was stored, or None."""
        entry = self.memo.known(KIND, self.key, self.name) if self.key else None
        try:
            if entry is None or _digest(entry["value"]) != entry["sha256"]:
                return None
            value = json.loads(entry["value"])
            code = Code(value["digest"], tuple(value["plugins"]))
            return Stored(decoded(value["expansion"]), code)
        except (LookupError, TypeError, ValueError, SyntaxError, RecursionError, AttributeError):
            return None  # damaged, or of another version

    def store(self, expansion: Expansion) -> None:
        """Remember an expansion, if it comes back as it is and nothing has changed meanwhile."""
        if self.key is None or len(expansion.entries) + len(expansion.candidates) > MOST:
            return
        plain, code = encoded(expansion), Code.of_today()
        if decoded(json.loads(json.dumps(plain))) != expansion or self._key_now() != self.key:
            return
        text = json.dumps({**vars(code), "expansion": plain})
        self.memo.store(KIND, self.key, {"sha256": _digest(text), "value": text}, self.name)


def _key(matrix: Matrix, data: Path, plugins: Iterable[Path], files: Iterable[Path]) -> Key | None:
    """Everything that an expansion depends on; None if that cannot be told in a few looks.

    Raises OSError for files that are not there.
    """
    options = matrix.dataset.options
    if "folder" in options:
        return None  # thousands of images
    own = [data / os.path.expanduser(str(options["file"]))] if data_of.needs_content(matrix) else []
    return {
        "matrix": matrix.model_dump(mode="json"),
        "plugins": [read_plugin(plugin).digest for plugin in plugins],
        "files": [_stamp(path) for path in (*files, *own)],
        "packages": {**versions(PACKAGES), "python": platform.python_version()},
        "code": code_stamp(*CODE),
    }


def _stamp(path: Path) -> list[str | int]:
    found = path.stat()
    return [str(path), found.st_size, found.st_mtime_ns, found.st_ino]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# ---- as plain data -------------------------------------------------------------------------------


@dataclass
class _Table(Generic[T]):
    """Values that many runs share, each once; runs name them by their place."""

    plain: Callable[[T], Any]
    rows: list[Any] = field(default_factory=list)
    places: dict[Hashable, int] = field(default_factory=dict)

    def place(self, value: T) -> int:
        row = self.plain(value)
        key = json.dumps(row)
        if key not in self.places:
            self.places[key] = len(self.rows)
            self.rows.append(row)
        return self.places[key]


def encoded(expansion: Expansion) -> dict[str, Any]:
    """An expansion as JSON. Options are texts of Python, which keep tuples apart from lists."""
    runs = {spec.id: spec for spec in expansion.runs}
    tables: dict[str, _Table[Any]] = {
        "dataset": _Table(lambda data: [data.model_dump(mode="json"), repr(data.options)]),
        "teacher": _Table(lambda teacher: teacher and teacher.model_dump(mode="json")),
        "recipe": _Table(lambda recipe: recipe.model_dump(mode="json")),
        "options": _Table(repr),
        "plugins": _Table(list),
        "choice": _Table(lambda choice: choice),
    }
    fast = {name: _Remembering(table) for name, table in tables.items()}
    specs = [
        [
            run, spec.student, spec.method, spec.method_version, spec.trial, spec.recipe_version,
            *(place.of(getattr(spec, name)) for name, place in fast.items()),
        ]
        for run, spec in runs.items()
    ]  # fmt: skip
    places = {run: i for i, run in enumerate(runs)}
    rows: _Table[tuple[str, str, Any]] = _Table(
        lambda row: [*row[:2], repr(row[2])]
    )  # runs of one row share label and values
    entries = [
        [places[e.spec.id], e.pair, rows.place((e.label, e.family, e.values))]
        for e in expansion.entries
    ]
    return {
        **{name: table.rows for name, table in tables.items()},
        "specs": specs,
        "rows": rows.rows,
        "entries": entries,
        "candidates": [
            [places[one.spec.id], one.pair, one.label, one.number] for one in expansion.candidates
        ],
        "choices": [
            {**vars(choice), "options": repr(choice.options)} for choice in expansion.choices
        ],
        "teachers": [places[spec.id] for spec in expansion.teachers],
    }


class _Remembering:
    """The place of an object in a table; runs share theirs, so most are known by identity."""

    def __init__(self, table: _Table[Any]) -> None:
        self.table = table
        self.known: dict[int, tuple[Any, int]] = {}  # the object itself keeps its identity its own

    def of(self, value: Any) -> int:
        if id(value) not in self.known:
            self.known[id(value)] = value, self.table.place(value)
        return self.known[id(value)][1]


def decoded(plain: Mapping[str, Any]) -> Expansion:
    """The inverse of `encoded`; raises what wrong types and places raise."""
    shared: dict[str, list[Any]] = {
        "dataset": [
            DataSpec.model_validate({**data, "options": ast.literal_eval(options)})
            for data, options in plain["dataset"]
        ],
        "teacher": [row and TeacherSpec.model_validate(row) for row in plain["teacher"]],
        "recipe": [Recipe.model_validate(row) for row in plain["recipe"]],
        "options": [ast.literal_eval(text) for text in plain["options"]],
        "plugins": [tuple(row) for row in plain["plugins"]],
        "choice": plain["choice"],
    }
    specs = [_spec(row, shared) for row in plain["specs"]]
    rows = [
        (str(label), str(family), ast.literal_eval(values))
        for label, family, values in plain["rows"]
    ]
    entries = tuple(Entry(specs[i], str(pair), *rows[row]) for i, pair, row in plain["entries"])
    candidates = tuple(
        Candidate(specs[i], str(pair), str(label), int(number))
        for i, pair, label, number in plain["candidates"]
    )
    teachers = tuple(specs[i] for i in plain["teachers"])
    return Expansion(entries, teachers, candidates, tuple(map(_choice, plain["choices"])))


def _choice(plain: Mapping[str, Any]) -> Choice:
    return Choice(
        str(plain["id"]),
        str(plain["label"]),
        tuple(plain["pairs"]),
        ast.literal_eval(plain["options"]),
        tuple(map(tuple, plain["runs"])),
    )


def _spec(row: Sequence[Any], shared: Mapping[str, Sequence[Any]]) -> RunSpec:
    """A run; it was valid when it was stored, and checking it again would take most of the time."""
    run, student, method, method_version, trial, recipe_version, *places = row
    return RunSpec.model_construct(
        student=student,
        method=method,
        method_version=method_version,
        trial=trial,
        recipe_version=recipe_version,
        **{name: values[i] for (name, values), i in zip(shared.items(), places, strict=True)},
    ).known_as(run)
