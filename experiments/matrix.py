"""The matrix file: pairs × methods × trials on one data set under one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from models.registry import near

from . import yaml_file
from .errors import explain
from .recipe import Recipe
from .slurm_options import SlurmOptions

ARROW = " -> "


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DatasetEntry(BaseModel):
    """``dataset: cifar100``, or a mapping with subset, validation and the set's own options."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    name: str
    subset: int | None = Field(None, ge=1, strict=True)  # training samples, stratified, fixed
    validation: StrictInt | StrictFloat | None = Field(None, gt=0)  # held out: samples or fraction

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


def _names(pair: str) -> list[str]:
    """Teacher and student of "A -> B", or "A → B" as tables print it."""
    return [name.strip() for name in pair.replace("→", "->").split("->")]


class PairEntry(_Strict):
    """``- resnet56 -> resnet20``, or a mapping."""

    teacher: str
    student: str

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        names = _names(str(value))
        if len(names) != 2 or not all(names):
            raise ValueError('expected "TEACHER -> STUDENT"')
        return {"teacher": names[0], "student": names[1]}

    def __str__(self) -> str:
        return f"{self.teacher}{ARROW}{self.student}"


class MethodEntry(_Strict):
    """``- crd+kd``, or a mapping with options, preset, label and exceptions for single pairs."""

    name: str
    label: str | None = None
    preset: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    pairs: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, (str, dict)):
            return {"name": value} if isinstance(value, str) else value
        raise ValueError("expected a method's name, or a mapping with one")

    @field_validator("pairs")
    @classmethod
    def _one_spelling(cls, pairs: dict[str, Any]) -> dict[str, Any]:
        found = {ARROW.join(_names(key)): key for key in pairs}
        if len(found) < len(pairs):
            raise ValueError("a pair is given twice, in two spellings")
        return {pair: pairs[key] for pair, key in found.items()}


class TeacherEntry(_Strict):
    """A given teacher: its weights (path relative to the data root) and what they should reach."""

    file: Path
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")  # pins the file
    expected_accuracy: float | None = Field(None, gt=0, le=100, strict=True)
    tolerance: float = Field(0.5, gt=0, strict=True)  # points of top-1 accuracy


class RecipeEntry(Recipe):
    """The recipe of a matrix: `Recipe` and the literature's exceptions to it."""

    lr_exceptions: dict[str, float] = Field(default_factory=dict)  # model (or pattern) -> lr

    @field_validator("lr_exceptions")
    @classmethod
    def _rates(cls, exceptions: dict[str, float]) -> dict[str, float]:
        for name, rate in exceptions.items():
            if rate <= 0:
                raise ValueError(f"{name}: expected more than 0, got {rate:g}")
        return exceptions


class Matrix(_Strict):
    """A validated matrix file."""

    dataset: DatasetEntry
    recipe: RecipeEntry = RecipeEntry()
    teacher_recipe: dict[str, Any] = Field(default_factory=dict)  # overrides for teachers made here
    pairs: tuple[PairEntry, ...] = Field(min_length=1)
    methods: tuple[MethodEntry, ...] = Field(min_length=1)
    trials: int = Field(1, ge=1, strict=True)
    teacher_trials: Literal["shared", "paired"] = "shared"  # paired: trial n learns from teacher n
    teachers: dict[str, TeacherEntry] = Field(default_factory=dict)
    plugins: tuple[Path, ...] = ()  # users' files, relative to the matrix
    slurm: SlurmOptions = SlurmOptions()  # of `submit`; no part of any run's identity

    @field_validator("dataset", mode="before")
    @classmethod
    def _dataset_from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("pairs")
    @classmethod
    def _pairs_once(cls, pairs: tuple[PairEntry, ...]) -> tuple[PairEntry, ...]:
        _once([str(pair) for pair in pairs], "pair")
        return pairs

    @model_validator(mode="after")
    def _exceptions_name_pairs(self) -> Matrix:
        known = [str(pair) for pair in self.pairs]
        for i, method in enumerate(self.methods):
            for pair in method.pairs:
                if pair not in known:
                    raise ValueError(
                        f"methods.{i}.pairs: {method.name!r} has options for the pair {pair!r}, "
                        f"which the matrix lacks: {near(pair, known)}"
                    )
        unused = set(self.teachers) - {pair.teacher for pair in self.pairs}
        if unused:
            name = sorted(unused)[0]
            used = near(name, {pair.teacher for pair in self.pairs})
            raise ValueError(f"teachers: {name!r} is no teacher of any pair: {used}")
        if self.teacher_trials == "paired" and self.teachers:
            raise ValueError("teacher_trials: paired needs teachers trained here, not files")
        return self


def _once(names: list[str], what: str) -> None:
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} is given {names.count(repeated[0])} times")


def load(path: str | Path) -> Matrix:
    """Read and check a matrix file. Raises InputError naming file, key and value in one line."""
    content = yaml_file.load(path, "dataset, pairs and methods")
    try:
        return Matrix.model_validate(content)
    except ValidationError as error:
        raise explain(error, Matrix, path) from error
