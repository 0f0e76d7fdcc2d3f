"""`report` of a board file: whether the specs of its runs have the form that pages rely on.

A board file may be of another version, or of anybody: a record keeps its spec as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from experiments.errors import InputError, explain, problems_of
from experiments.matrix.run_spec import TeacherSpec
from results.schema import Number, Record


class _Data(BaseModel):
    name: str
    subset: int | None = Field(None, ge=1)
    validation: Number | None = Field(None, gt=0)
    options: dict[str, Any] | None = None
    content: str | None = None


def _named(value: Any) -> Any:
    """Old specs have only the name of the data set."""
    return {"name": value} if isinstance(value, str) else value


class _Recipe(BaseModel, extra="allow"):
    lr: Number | None = None


class _Source(BaseModel):
    run: str = ""
    dataset: str
    method: str
    bn_mode: str = "eval"


class StoredSpec(BaseModel):
    """What a page reads of a spec; further keys, and missing ones that had a default, are fine."""

    dataset: Annotated[_Data, BeforeValidator(_named)]
    teacher: TeacherSpec | None = None
    student: str
    method: str
    method_version: int = 1
    options: dict[str, Any] | None = None
    trial: int = Field(0, ge=0)
    recipe: _Recipe | None = None
    recipe_version: int = 1
    source: _Source | None = None


def check(records: Mapping[str, Record], file: Path) -> None:
    """Raise InputError that names the first run whose spec is of another form."""
    for run, record in records.items():
        try:
            StoredSpec.model_validate(record.spec)
        except ValidationError as error:
            found = explain(error, StoredSpec, file, inside=(f"run {run}", "spec"))
            raise InputError(problems_of(found)[0]) from error
