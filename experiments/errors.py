"""Bad input, said in one line; and what pydantic found wrong, translated into such a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from models.registry import near


class InputError(ValueError):
    """Something a person gave is wrong: the message names file, key, value and expectation."""


def explain(error: ValidationError, model: type[BaseModel], file: str | Path) -> InputError:
    """The first problem of a ValidationError as "file: key: value: what was expected"."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"] if not _internal(part)) or "the file"
    if problem["type"] == "extra_forbidden":
        known = near(str(problem["loc"][-1]), _fields_at(model, problem["loc"][:-1]))
        return InputError(f"{file}: {key}: unknown key: {known}")
    if problem["type"] == "missing":
        return InputError(f"{file}: {key}: missing")
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if problem["type"] == "value_error" and isinstance(problem["input"], (dict, list)):
        return InputError(f"{file}: {key}: {message}")
    return InputError(f"{file}: {key}: {message}, got {_short(problem['input'])}")


def _internal(part: Any) -> bool:
    """Names that pydantic puts into a path for the branches of a union."""
    return isinstance(part, str) and ("[" in part or part in ("str", "int", "float", "bool"))


def _short(value: Any) -> str:
    text = repr(value)
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
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [model for argument in arguments for model in _models_in(argument)]
