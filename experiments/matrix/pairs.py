"""Pairs of a matrix: what is written, and the patterns by which pairs and names are chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError, model_validator

import models
from experiments.errors import InputError, explain
from experiments.matrix.strict import Strict

ARROW = " -> "
NONE = "none"  # in place of a teacher: a pair of methods that have none
JOIN = "+"  # of an ensemble's members in its name, as `models.build` takes it
BY = " by "  # between an assistant and the method that trains it
EXPECTED = 'expected "TEACHER -> STUDENT"'
MOST = 10  # networks of a chain: each is trained after the one before
LONGEST = 150  # characters of an ensemble's name, which names directories and files
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")


def names_of(pair: str) -> list[str]:
    """What is between the arrows of "A -> B", or "A → B" as tables print it, spaced alike."""
    return [_spaced(part) for part in pair.replace("→", "->").split("->")]


def _spaced(part: str) -> str:
    """A name, or an ensemble as "[A, B]", with single blanks."""
    part = " ".join(part.split())
    listed = _BRACKETS.fullmatch(part)
    return f"[{', '.join(name.strip() for name in listed[1].split(','))}]" if listed else part


def fits(name: str, pattern: str) -> bool:
    """Whether a name is meant by a pattern: the language of `--pairs`, `--methods` and `pairs:`.

    Ignoring case, as names do. A label that contains "[" or "*" matches itself.
    """
    name, pattern = name.lower(), pattern.lower()
    return name == pattern or fnmatchcase(name, pattern)


def is_pattern(name: str) -> bool:
    """Whether a name stands for those that fit it."""
    return any(character in name for character in "*?[")


class PairEntry(Strict):
    """Who learns from whom, written as text or as a mapping of ``teacher`` and ``student``.

    "resnet56 -> resnet20"; "none -> resnet20" where there is no teacher;
    "resnet110 -> resnet56 -> resnet20", a chain: the middle network, an assistant, learns from the
    first one by the entry's method, or by the one that "resnet56 by kd" names (Mirzadeh et al.,
    AAAI 2020); "[resnet110, wrn_40_2] -> resnet20", an ensemble; "resnet* -> resnet20", a pattern,
    which `teacher_patterns` replaces by a pair for each network that fits.

    teacher    the network that the student sees; "resnet110+wrn_40_2" is the name of an ensemble
    members    of an ensemble, else none
    assistant  of a chain, the pair whose student is the teacher
    by         the method that trains the assistant; None: that of the entry
    """

    teacher: str
    student: str
    members: tuple[str, ...] = ()
    assistant: PairEntry | None = None
    by: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, PairEntry):
            return value
        if isinstance(value, dict):
            if value.keys() & {"members", "assistant", "by"}:
                raise ValueError(f"{EXPECTED}, or a mapping of teacher and student")
            if value.keys() != {"teacher", "student"}:
                return value  # wrong, which is said of its keys
            teacher = value["teacher"]
            written = f"[{', '.join(map(str, teacher))}]" if isinstance(teacher, list) else teacher
            if not isinstance(written, str) or not isinstance(value["student"], str):
                return value
            value = f"{written}{ARROW}{value['student']}"
        return _fields(names_of(str(value)))

    def __str__(self) -> str:
        return f"{self._written_teacher()}{ARROW}{self.student}"

    def _written_teacher(self) -> str:
        if self.assistant:
            return f"{self.assistant}{BY}{self.by}" if self.by else str(self.assistant)
        return f"[{', '.join(self.members)}]" if self.members else self.teacher

    @property
    def roots(self) -> tuple[str, ...]:
        """Whom no network of this pair teaches: the first teacher, each member of an ensemble."""
        return self.assistant.roots if self.assistant else self.members or (self.teacher,)

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for the pairs of all teachers that fit."""
        return any(map(is_pattern, self.roots))

    @property
    def links(self) -> Iterator[PairEntry]:
        """Itself and, of a chain, the pairs before it: the last student's comes first."""
        pair: PairEntry | None = self
        while pair:
            yield pair
            pair = pair.assistant

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of all its networks, without `NONE` and patterns."""
        students = [link.student for link in self.links]
        roots = (name for name in self.roots if name != NONE and not is_pattern(name))
        return (*roots, *reversed(students))

    def can_begin_with(self, teacher: str) -> bool:
        """Whether this network is one of its `roots`, or may be where they are a pattern."""
        if self.is_pattern:
            return fits(teacher, self.roots[0])
        return teacher in self.roots

    def beginning_with(self, teacher: str) -> PairEntry:
        """The same pair with this network in place of a pattern."""
        _, _, rest = str(self).partition(ARROW)
        return PairEntry.model_validate(f"{teacher}{ARROW}{rest}")


def _fields(parts: Sequence[str]) -> dict[str, Any]:
    """The fields of a `PairEntry` of what is between its arrows. ValueError for what is none."""
    if len(parts) < 2 or not all(parts):
        raise ValueError(EXPECTED)
    if len(parts) > MOST:
        raise ValueError(f"a chain of {len(parts)} networks: expected at most {MOST}")
    first, *between, student = parts
    _check_names(student)
    if between:
        name, _, method = between[-1].partition(BY)
        if first == NONE:
            raise ValueError(f"{NONE} teaches nobody: a chain begins with a network")
        before = PairEntry.model_validate(ARROW.join([first, *between[:-1], name]))
        return {"teacher": name, "student": student, "assistant": before, "by": method or None}
    listed = _BRACKETS.fullmatch(first)
    if listed is None:
        _check_is_not_trained(first)
        return {"teacher": first, "student": student}
    members = listed[1].split(", ")
    _check_members(members)
    return {"teacher": JOIN.join(members), "student": student, "members": tuple(members)}


def _check_names(student: str) -> None:
    """A ValueError for what only teachers at the beginning can be."""
    _check_is_not_trained(student)
    if is_pattern(student):
        raise ValueError(
            f"{student!r}: expected one network; only the first teacher can be several"
        )


def _check_is_not_trained(name: str) -> None:
    if BY in name:
        raise ValueError(
            f'{name!r}: expected a network; only one between two arrows is trained "{BY.strip()}" '
            "a method"
        )


def _check_members(members: Sequence[str]) -> None:
    """A ValueError for an ensemble that is none."""
    written = f"[{', '.join(members)}]"
    if len(members) < 2 or not all(members):
        raise ValueError(f"{written}: expected at least two networks")
    for name in members:
        if name == NONE or BY in name or JOIN in name or is_pattern(name):
            raise ValueError(f"{written}: {name!r}: expected the name of a network")
    if len(set(members)) < len(members):
        raise ValueError(f"{written}: a network is given twice")
    if len(JOIN.join(members)) > LONGEST:
        raise ValueError(f"{written}: expected names of at most {LONGEST} characters together")


def parse_pair(text: str, where: str) -> PairEntry:
    """Two known networks given as "TEACHER -> STUDENT".

    Raises InputError that begins with ``where``, also for a chain, an ensemble or a pattern.
    """
    try:
        pair = PairEntry.model_validate(text)
        if pair.assistant or pair.members or pair.is_pattern:
            raise InputError(f"{where}: {EXPECTED}, two networks, got {text!r:.80}")
        models.check(pair.teacher)
        models.check(pair.student)
    except ValidationError as error:
        raise explain(error, PairEntry, where) from error
    except models.ModelError as error:
        raise InputError(f"{where}: {error}") from error
    return pair
