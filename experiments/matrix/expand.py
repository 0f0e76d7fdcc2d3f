"""Expand a matrix into the flat list of its runs. Pure: `Facts` holds what comes from disk."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

import datasets
import distillers
import models
from datasets.places import is_own_data
from experiments.errors import InputError, explain, together
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, RunSpec, TeacherSpec, data_defaults
from experiments.matrix.schema import NONE, Matrix, MethodEntry
from models.registry import near

if TYPE_CHECKING:
    from distillers.plugins import Plugin


@dataclass(frozen=True)
class Facts:
    """What expansion needs from the disk."""

    teacher_sha256: Mapping[str, str] = field(default_factory=dict)  # teacher -> hash of its file
    content: str | None = None  # hash of a user's own data


@dataclass(frozen=True)
class Entry:
    """A run, with the pair and the label under which tables show it."""

    spec: RunSpec
    pair: str
    label: str


@dataclass(frozen=True)
class Expansion:
    """All runs of a matrix. ``teachers`` are the vanilla runs that others learn from."""

    entries: tuple[Entry, ...]
    teachers: tuple[RunSpec, ...]

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """Every run once, teachers first."""
        specs = [*self.teachers, *(entry.spec for entry in self.entries)]
        return tuple({spec.id: spec for spec in specs}.values())


def expand(matrix: Matrix, facts: Facts, source: str = "matrix") -> Expansion:
    """The matrix's runs in the order of its methods, pairs and trials.

    Raises InputError naming ``source`` for unknown models, methods, data sets or options.
    """
    check_names(matrix, source)  # and options
    data = data_spec(matrix, facts)
    recipes = Recipes(matrix, source)
    teachers = _Teachers(matrix, data, recipes, facts)
    entries: list[Entry] = []
    for i, method in enumerate(matrix.methods):
        shown, version = label(method), distillers.find(method.name).version
        for pair in matrix.pairs:
            given = method.options_for(pair)
            options = distillers.resolve(method.name, given, method.preset)  # checked above
            taught = distillers.find(method.name).needs_of(options).teacher
            if taught and pair.teacher == NONE:
                raise InputError(f"{source}: methods.{i}: {method.name} needs a teacher: {pair}")
            first = RunSpec(
                dataset=data,
                teacher=teachers.of(pair.teacher, 0) if taught else None,
                student=pair.student,
                method=method.name,
                method_version=version,
                options=options,
                recipe=recipes.student(pair.student),
                plugins=_plugins(method.name, pair.student, pair.teacher if taught else None),
            )
            named = str(pair)
            for trial in range(matrix.trials):
                teacher = teachers.of(pair.teacher, trial) if taught else None
                # model_copy does not validate again, which took half of the time.
                spec = first.model_copy(update={"trial": trial, "teacher": teacher})
                entries.append(Entry(spec, named, shown))
    return Expansion(tuple(entries), tuple(teachers.trained.values()))


def label(method: MethodEntry) -> str:
    """A method's name in the tables: its own label, or its title with the preset."""
    if method.label:
        return method.label
    preset = f" ({method.preset})" if method.preset else ""
    return distillers.title(method.name) + preset


def check_names(matrix: Matrix, source: str) -> None:
    """Raise one InputError about all unknown names, wrong options and duplicate labels.

    Nothing has been built before.
    """
    problems = [
        *_data_problems(matrix),
        *_model_problems(matrix),
        *(line for i, method in enumerate(matrix.methods) for line in _method_problems(i, method)),
        *_label_problems(matrix),
    ]
    error = together(f"{source}: {problem}" for problem in problems)
    if error:
        raise error


def check_data(matrix: Matrix, source: str) -> None:
    """Raise InputError for an unknown data set or unknown options of it."""
    error = together(f"{source}: {problem}" for problem in _data_problems(matrix))
    if error:
        raise error


def _data_problems(matrix: Matrix) -> Iterator[str]:
    name = matrix.dataset.name
    if name not in datasets.names():
        yield f"dataset: unknown data set {name!r}: {near(name, datasets.names())}"
        return
    known = datasets.options(name)
    for key in matrix.dataset.options:
        if key not in known:
            hint = near(key, [*known, "name", "subset", "validation"])
            yield f"dataset.{key}: unknown key: {hint}"


def _model_problems(matrix: Matrix) -> Iterator[str]:
    for i, pair in enumerate(matrix.pairs):
        for role, name in (("teacher", pair.teacher), ("student", pair.student)):
            if role == "teacher" and name == NONE:
                continue
            try:
                models.check(name)
            except models.ModelError as error:
                yield f"pairs.{i}.{role}: {error}"
    known = models.names()
    for pattern in matrix.recipe.lr_exceptions:
        if not any(fnmatchcase(name, pattern) for name in known):
            yield f"recipe.lr_exceptions: unknown model {pattern!r}: {near(pattern, known)}"


def _method_problems(i: int, method: MethodEntry) -> Iterator[str]:
    """An unknown name or preset, else each wrong option, those for single pairs included."""
    try:
        distillers.resolve(method.name, preset=method.preset)
    except distillers.MethodError as error:
        yield f"methods.{i}: {error}"
        return
    given = {f"methods.{i}": method.options}
    given |= {f"methods.{i}.pairs.{pair}": options for pair, options in method.pairs.items()}
    for where, options in given.items():
        for key, value in options.items():
            problem = _option_problem(method, key, value)
            if problem:
                yield f"{where}: {problem}"


def _option_problem(method: MethodEntry, key: str, value: Any) -> str | None:
    """What is wrong with one option's value, if anything."""
    try:
        resolved = distillers.resolve(method.name, {key: value}, method.preset)[key]
    except distillers.MethodError as error:
        return str(error)
    if isinstance(resolved, float) and not math.isfinite(resolved):
        return f"option {key} = {resolved}: expected a finite number"
    return None


def _label_problems(matrix: Matrix) -> Iterator[str]:
    named = [method for method in matrix.methods if method.label or _is_known(method.name)]
    for text, times in Counter(map(label, named)).items():
        if text.strip().casefold() in ("", "teacher"):
            row = "the teachers' row" if text.strip() else "nothing"
            yield f"methods: the label {text!r} is that of {row}: expected another one"
        if times > 1:
            yield (
                f"methods: the label {text!r} is used {times} times; "
                f"give each entry a label of its own"
            )


def _is_known(method: str) -> bool:
    try:
        distillers.find(method)
    except distillers.MethodError:
        return False  # reported by _method_problems
    return True


def data_spec(matrix: Matrix, facts: Facts) -> DataSpec:
    """The matrix's data set with all options that can change a result."""
    dataset = matrix.dataset
    placement = functools.partial(datasets.is_placement, dataset.name)
    given = {k: v for k, v in dataset.options.items() if not placement(k)}
    options = {**data_defaults(dataset.name), **given}
    return DataSpec(
        name=dataset.name,
        subset=dataset.subset,
        validation=dataset.validation,
        options=options,
        content=facts.content,
    )


def needs_content(matrix: Matrix) -> bool:
    """Whether the data is the user's own, so that its content is part of the runs' identity."""
    return any(is_own_data(option) for option in matrix.dataset.options)


class Recipes:
    """The recipe of each student and each teacher of a matrix.

    Raises InputError naming ``source`` for a wrong key or value in ``teacher_recipe``.
    """

    def __init__(self, matrix: Matrix, source: str) -> None:
        fields = matrix.recipe.model_dump()
        self.exceptions: dict[str, float] = fields.pop("lr_exceptions")
        self.common = fields
        self.teachers = {**fields, **matrix.teacher_recipe}
        try:
            Recipe.model_validate(self.teachers)
        except ValidationError as error:
            raise explain(error, Recipe, source, ("teacher_recipe",)) from error

    def student(self, name: str) -> Recipe:
        return self._recipe(self.common, name)

    def teacher(self, name: str) -> Recipe:
        return self._recipe(self.teachers, name)

    def _recipe(self, fields: dict[str, Any], name: str) -> Recipe:
        patterns = [p for p in self.exceptions if fnmatchcase(name, p)]
        rate = {"lr": self.exceptions[patterns[0]]} if patterns else {}
        return Recipe.model_validate({**fields, **rate})


@dataclass
class _Teachers:
    """The teachers of a matrix; ``trained`` holds the runs, by id, of those not given as files."""

    matrix: Matrix
    data: DataSpec
    recipes: Recipes
    facts: Facts
    trained: dict[str, RunSpec] = field(default_factory=dict)
    known: dict[tuple[str, int], TeacherSpec] = field(default_factory=dict)

    def of(self, name: str, trial: int) -> TeacherSpec:
        """The teacher called ``name`` for a student's run of that trial."""
        key = (name, trial if self.matrix.teacher_trials == "paired" else 0)
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
            plugins=_plugins("vanilla", name, None),
        )
        self.trained[spec.id] = spec
        return TeacherSpec(name=name, run=spec.id)


def _plugins(method: str, student: str, teacher: str | None) -> tuple[str, ...]:
    """The first digits of the digests of the plugins that define a run's method and models."""
    from distillers import plugins

    found = plugins.of_modules(modules_of(method, student, teacher))
    return tuple(sorted(plugin.digest[: plugins.DIGITS] for plugin in found))


def plugins_of(spec: RunSpec) -> list[Plugin]:
    """The plugins, as loaded, that define a run's method and networks."""
    from distillers import plugins

    return plugins.of_modules(modules_of(*_names(spec)))


def code_hashes(spec: RunSpec) -> set[str]:
    """The hashes under which a run of today's code may name its plugins.

    A file that was a plugin and has been moved into the harness, unchanged, is the same code.
    """
    return known_hashes(*_names(spec))


def known_hashes(method: str, student: str, teacher: str | None) -> set[str]:
    """`code_hashes` of a run by its names."""
    from distillers import plugins

    modules = modules_of(method, student, teacher)
    built_in = {plugins.digest_of_module(module) for module in modules}
    return built_in.union(*(plugin.hashes for plugin in plugins.of_modules(modules)))


def _names(spec: RunSpec) -> tuple[str, str, str | None]:
    method = spec.source.method if spec.source else spec.method
    return method, spec.student, spec.teacher.name if spec.teacher else None


def modules_of(method: str, student: str, teacher: str | None) -> list[str]:
    """The modules that define a run's method and networks."""
    from models.base import REGISTRY

    registered = [
        name for name in (student, teacher) if name and name in REGISTRY
    ]  # timm's are not registered
    classes = distillers.find(method).__mro__  # a wrapped method's file counts as well
    return [*(cls.__module__ for cls in classes), *map(REGISTRY.source, registered)]
