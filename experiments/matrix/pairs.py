"""Pairs of a matrix: what is written, and the patterns by which pairs and names are chosen."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError, model_validator

import models
from experiments.errors import InputError, explain
from experiments.matrix.strict import Strict

ARROW = " -> "
NONE = "none"  # in place of a teacher: a pair of methods that have none


def names_of(pair: str) -> list[str]:
    """Teacher and student of "A -> B", or "A → B" as tables print it."""
    return [name.strip() for name in pair.replace("→", "->").split("->")]


def fits(name: str, pattern: str) -> bool:
    """Whether a name is meant by a pattern: the language of `--pairs`, `--methods` and `pairs:`.

    Ignoring case, as names do. A label that contains "[" or "*" matches itself.
    """
    name, pattern = name.lower(), pattern.lower()
    return name == pattern or fnmatchcase(name, pattern)


class PairEntry(Strict):
    """``- resnet56 -> resnet20``, or a mapping; ``none -> resnet20`` where there is no teacher."""

    teacher: str
    student: str

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return value
        names = names_of(str(value))
        if len(names) != 2 or not all(names):
            raise ValueError('expected "TEACHER -> STUDENT"')
        return {"teacher": names[0], "student": names[1]}

    def __str__(self) -> str:
        return f"{self.teacher}{ARROW}{self.student}"


def parse_pair(text: str, where: str) -> PairEntry:
    """A pair of known networks given as "TEACHER -> STUDENT".

    Raises InputError that begins with ``where``.
    """
    try:
        pair = PairEntry.model_validate(text)
        models.check(pair.teacher)
        models.check(pair.student)
    except ValidationError as error:
        raise explain(error, PairEntry, where) from error
    except models.ModelError as error:
        raise InputError(f"{where}: {error}") from error
    return pair
