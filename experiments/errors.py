"""Errors about bad input in one line, including those that pydantic reports."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.wording import plural

if TYPE_CHECKING:  # `--help` must not wait for it
    from pydantic import BaseModel, ValidationError


class InputError(ValueError):
    """Bad input by the user; the message names file, key, value and what was expected."""


class MultipleInputError(InputError):
    """Several problems at once, each a line of its own."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))


MOST = 10  # problems reported at once


def problems_of(error: Exception) -> list[str]:
    """What an error says: a text for each problem."""
    return str(error).split("\n") if isinstance(error, MultipleInputError) else [str(error)]


def together(problems: Iterable[str]) -> InputError | None:
    """One error about all problems, the first ones where there are many; None if there are none."""
    lines = list(dict.fromkeys(problems))
    if len(lines) > MOST:
        lines = [*lines[:MOST], f"… and {plural(len(lines) - MOST, 'more problem')}"]
    if len(lines) > 1:
        return MultipleInputError(lines)
    return InputError(lines[0]) if lines else None


# What was expected, by pydantic's type of error, in the words of somebody who writes YAML.
EXPECTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "path_type": "a path",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "too_short": "at least one",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
}


def explain(
    error: ValidationError, model: type[BaseModel], file: str | Path, inside: tuple[str, ...] = ()
) -> InputError:
    """The problems of a ValidationError, each as "file: key: what was expected, got value".

    ``inside`` is the path of ``model``'s fields in the file, if they are not at its top level.
    Unknown keys come first. A missing key of which one of them is a misspelling is not reported.
    """
    problems = sorted(error.errors(), key=lambda p: p["type"] != "extra_forbidden")
    lines = (line for p in _distinct(problems) for line in _lines(p, model, str(file), inside))
    result = together(lines)
    assert result is not None  # a ValidationError has at least one
    return result


def _distinct(problems: Sequence[Any]) -> Iterator[Any]:
    """The first problem at each place, without those that follow from another.

    The branches of a union report one each, and pydantic calls a list too short whose only item is
    wrong. A missing key usually stands there misspelled, which is reported as an unknown key.
    """
    placed = [(_place(p), p) for p in problems]
    inside = {place[:n] for place, _ in placed for n in range(len(place))}
    unknown = [place for place, p in placed if p["type"] == "extra_forbidden"]
    seen: set[tuple[Any, ...]] = set()
    for place, problem in placed:
        follows = problem["type"] == "too_short" and place in inside
        follows |= problem["type"] == "missing" and _is_misspelled(place, unknown)
        if place not in seen and not follows:
            yield problem
        seen.add(place)


def _is_misspelled(place: tuple[Any, ...], unknown: Sequence[tuple[Any, ...]]) -> bool:
    """Whether an unknown key in the same mapping is much like a missing one."""
    beside_it = [str(other[-1]) for other in unknown if other[:-1] == place[:-1]]
    return bool(difflib.get_close_matches(str(place[-1]), beside_it, n=1))


def _lines(
    problem: Any, model: type[BaseModel], file: str, inside: tuple[str, ...]
) -> Iterator[str]:
    """A problem as lines; a validator that found several puts each on a line of its message."""
    path = [*inside, *_place(problem)]
    where = ": ".join(filter(None, (file, ".".join(map(str, path)))))
    for line in _what(problem, model).splitlines():
        yield f"{where}: {line}"


def _what(problem: Any, model: type[BaseModel]) -> str:
    from models.registry import near  # imports torch

    kind, path, value = problem["type"], problem["loc"], problem["input"]
    if kind == "extra_forbidden":
        key, fields = str(path[-1]), _fields_at(model, path[:-1])
        hint = near(key, fields)
        if "options" in fields and not hint.startswith("did you mean"):
            hint += f"; those of the method itself go into options: {{{key}: {_short(value)}}}"
        return f"unknown key: {hint}"
    if kind == "missing":
        return f"missing{_misspelled_as(str(path[-1]), value)}"
    if kind in EXPECTED:
        expected = EXPECTED[kind].format(**problem.get("ctx", {}))
        return f"expected {expected}, got {_short(value)}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if kind == "value_error" and not isinstance(value, (str, int, float)):
        return message  # it is about several values and names them
    return f"{message}, got {_short(value)}"


def _misspelled_as(key: str, given: Any) -> str:
    close = difflib.get_close_matches(key, map(str, given), n=1) if isinstance(given, dict) else []
    return f": is {close[0]!r} a misspelling of it?" if close else ""


def _place(problem: Any) -> tuple[Any, ...]:
    """Where a problem is in the file; an unknown key may look like one of pydantic's names."""
    path = problem["loc"]
    own = len(path) - 1 if problem["type"] == "extra_forbidden" else len(path)
    return (*(part for part in path[:own] if not _internal(part)), *path[own:])


def _internal(part: Any) -> bool:
    """Names that pydantic puts into a path for the branches of a union."""
    return isinstance(part, str) and ("[" in part or part in ("str", "int", "float", "bool"))


def _short(value: Any) -> str:
    """The value about as it is written in the file."""
    text = repr(value) if value is not None else "nothing"
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """The field names of the model at ``path`` inside ``model``."""
    current = model
    for part in path:
        field = current.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            continue
        nested = _models_in(field.annotation)
        current = nested[0] if nested else current
    return list(current.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [model for argument in arguments for model in _models_in(argument)]


def beside(path: Path, pattern: str = "*") -> str:
    """The end of a message about a missing file: a similar name in its folder, if there is one."""
    names = {p.name for p in path.parent.glob(pattern)} if path.parent.is_dir() else set()
    names -= {path.name}  # there, but no file
    close = difflib.get_close_matches(path.name, names, n=1) or [
        name for name in sorted(names) if Path(name).stem == path.name
    ]
    return f"; did you mean {path.with_name(close[0])}?" if close else ""
