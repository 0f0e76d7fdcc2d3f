"""One run as pure data: its identity, its directory, and whether a stored run matches it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

import datasets
import distillers
from experiments.matrix.recipe import Recipe, differences
from experiments.matrix.schema import DatasetEntry
from models.normalisation import Normalisation

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11

    from datasets import Data


ScoredOn = Literal["test", "validation"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """pydantic's, without the original's cached properties."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).__pydantic_fields__.keys():
            del copied.__dict__[name]
        return copied


class _Sparse(_Frozen):
    """Fields that came later are in no dump while they are at their default.

    Specs, ids and records are what they were before these fields existed.
    """

    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_defaults_of_later(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = plain(self)
        for name in self.later:
            if getattr(self, name) == type(self).model_fields[name].default:
                fields.pop(name, None)
        return fields


class DataSpec(_Sparse):
    """A data set as a run sees it.

    ``options`` holds every option of the data set except paths and those that only affect speed. A
    user's own data is identified by the hash of its ``content``. ``scored_on``: the part that
    accuracies are of; under "validation" the test part is not read.
    """

    later = ("scored_on",)

    name: str
    subset: int | None = None
    validation: int | float | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    content: str | None = None
    scored_on: ScoredOn = "test"

    @property
    def is_of_search(self) -> bool:
        """Whether its runs are of a search, or teach those: their accuracies are of no test."""
        return self.scored_on == "validation"

    @functools.cached_property
    def key(self) -> str:
        """Everything but the content, which follows from it: equal for equal data sets."""
        return self.model_copy(update={"content": None}).model_dump_json()

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Its part of a run's `identity`. Cached, because all runs of a matrix share one."""
        own = _changed(self.options, data_defaults(self.name))
        return {**self.model_dump(mode="json", exclude_defaults=True), "options": own}


class TeacherSpec(_Sparse):
    """Where a teacher's weights come from: a run of the harness, or a file given by its sha256.

    ``normalisation``: of the pixels that it was trained on, if the matrix states one. ``members``:
    of an ensemble, which has neither run nor file of its own.
    """

    later = ("normalisation", "members")

    name: str
    run: str | None = None
    sha256: str | None = None
    normalisation: Normalisation | None = None
    members: tuple[TeacherSpec, ...] = ()

    @property
    def parts(self) -> tuple[TeacherSpec, ...]:
        """The networks that it consists of: the members of an ensemble, else itself."""
        return self.members or (self,)

    @property
    def weights(self) -> str:
        """What tells its weights from others: runs, or hashes of given files."""
        return "+".join(part.run or part.sha256 or "" for part in self.parts)


class SourceSpec(_Frozen):
    """The run whose student is frozen and probed, with its data set and method; see `transfer`."""

    run: str
    dataset: str
    method: str
    bn_mode: str = "eval"


class RunSpec(_Sparse):
    """One run, fully resolved. ``options`` holds every option of the method, defaults included.

    ``choice``: the id of a choice that has not been made yet. The run is then a placeholder of the
    one that will have the chosen options.
    """

    later = ("choice",)

    dataset: DataSpec
    teacher: TeacherSpec | None = None
    student: str
    method: str = "vanilla"
    method_version: int = 1
    options: dict[str, Any]
    trial: int = 0
    recipe: Recipe
    recipe_version: int = Recipe.version
    source: SourceSpec | None = None
    plugins: tuple[str, ...] = ()  # digests of the users' files that define this run's names
    choice: str | None = None

    @functools.cached_property
    def id(self) -> str:
        """Ten hex digits over what changes the result; a new option at its default keeps the id."""
        text = json.dumps(identity(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def known_as(self, run: str) -> RunSpec:
        """This run, with the id that it has: asking for it then needs no code of its method."""
        self.__dict__["id"] = run  # where the cached property looks first
        return self

    @property
    def needs(self) -> tuple[str, ...]:
        """The runs that must be done first: those that train its teachers."""
        if self.teacher is None:
            return ()
        return tuple(part.run for part in self.teacher.parts if part.run)

    @property
    def pair(self) -> str:
        """ "resnet56 -> resnet20"; without a teacher the student's name."""
        if self.source:
            return f"{self.student} ({self.source.method}, {self.source.dataset})"
        return f"{self.teacher.name} -> {self.student}" if self.teacher else self.student

    def __str__(self) -> str:
        method = "probe" if self.source else self.method
        return f"{self.pair}, {method}, trial {self.trial}"

    def directory(self, runs: Path, run: str | None = None) -> Path:
        """runs/<dataset>/<teacher>--<student>/<method>/<trial>-<id>, "/" in names as ".".

        A probe has its student's data set and method in place of teacher and method. ``run``: the
        id that it had when it was planned, instead of today's.
        """
        teacher, method = self.teacher.name if self.teacher else "none", self.method
        if self.source:
            teacher, method = self.source.dataset, self.source.method
        parts = (self.dataset.name, f"{teacher}--{self.student}", method)
        cell = "/".join(part.replace("/", ".") for part in parts)
        return runs / f"{cell}/{self.trial}-{run or self.id}"

    def dump(self) -> dict[str, Any]:
        """Plain data with every key, for spec.yaml and result.json."""
        return self.model_dump(mode="json")

    def as_yaml(self) -> str:
        """The text of spec.yaml: what yaml.safe_dump makes of ``dump()``."""
        return "".join(_yaml(key, json.dumps(value)) for key, value in self.dump().items())


@functools.lru_cache(maxsize=2**14)
def _yaml(key: str, value: str) -> str:
    """One key, its value given as JSON. Cached: a matrix has few, and YAML takes milliseconds."""
    return yaml.safe_dump({key: json.loads(value)}, sort_keys=False)


def identity(spec: RunSpec) -> dict[str, Any]:
    """What the id hashes: the spec without everything that is at its default."""
    teacher = spec.teacher.model_dump(mode="json", exclude_defaults=True) if spec.teacher else None
    source = spec.source.model_dump(mode="json", exclude_defaults=True) if spec.source else None
    return {
        **({"source": source} if source else {}),
        **({"choice": spec.choice} if spec.choice else {}),
        "dataset": spec.dataset.identity,
        "teacher": teacher,
        "student": spec.student,
        "method": [spec.method, spec.method_version],
        "options": _changed(spec.options, distillers.defaults(spec.method)),
        "trial": spec.trial,
        "recipe": [spec.recipe_version, differences(spec.recipe)],
        "plugins": list(spec.plugins),
    }


def _changed(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are not at their defaults, as JSON would give them (lists for tuples)."""
    other = {k: v for k, v in options.items() if k not in defaults or v != defaults[k]}
    if all(isinstance(value, _SCALAR) for value in other.values()):
        return other  # the same in JSON; the common case
    theirs = {k: defaults[k] for k in other if k in defaults}
    given, standard = json.loads(json.dumps([other, theirs]))
    return {k: v for k, v in given.items() if k not in standard or v != standard[k]}


_SCALAR = (str, int, float, bool, type(None))


def data_defaults(name: str) -> dict[str, Any]:
    """The options of a data set that can change a result, with their defaults."""
    options = datasets.options(name)
    return {k: v for k, v in options.items() if not datasets.is_placement(name, k)}


def matches(stored: Mapping[str, Any], today: Mapping[str, Any], default: Any = None) -> bool:
    """Whether a stored spec describes today's run.

    Every key of ``stored`` must equal today's value, and every key that it lacks must be at its
    default today.
    """
    default = default if isinstance(default, Mapping) else {}
    if not set(stored) <= set(today):
        return False
    for key, value in today.items():
        standard = default.get(key)
        if key not in stored:
            if value != standard:
                return False
        elif isinstance(value, Mapping) and isinstance(stored[key], Mapping):
            if not matches(stored[key], value, standard):
                return False
        elif stored[key] != value:
            return False
    return True


def is_current(stored: Mapping[str, Any], spec: RunSpec) -> bool:
    """`matches` with the defaults that apply to ``spec``; False means the stored run is stale."""
    if stored == spec.dump():
        return True  # almost always, and ten times faster than the comparison below
    defaults: dict[str, Any] = {
        "dataset": {
            **DataSpec(name="").model_dump(mode="json"),
            "options": data_defaults(spec.dataset.name),
        },
        "teacher": None,
        "source": {"bn_mode": "eval"} if spec.source else None,
        "options": distillers.defaults(spec.method),
        "recipe": Recipe().model_dump(mode="json"),
        "method_version": 1,
        "recipe_version": 1,
        "plugins": [],
    }
    return matches(stored, spec.dump(), json.loads(json.dumps(defaults)))


def build_dataset(
    dataset: DatasetEntry | DataSpec,
    recipe: Recipe,
    root: Path,
    options: dict[str, Any],
    device: str = "cpu",
    shard: tuple[int, int] = (0, 1),
) -> Data:
    """The data set under ``root``; ``options`` include those that no run id depends on.

    shard  number of this process and how many share a run. Raises DataError.
    """
    return datasets.build(
        dataset.name,
        root=root,
        subset=dataset.subset,
        validation=dataset.validation,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        device=device,
        shard=shard,
        scored_on=dataset.scored_on if isinstance(dataset, DataSpec) else "test",
        **options,
    )
