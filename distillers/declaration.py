"""Check a method's class when it is registered: mistakes that would train something else silently.

A misspelled hook is valid Python: the base class's stays in force, and the run trains plain
cross-entropy under the method's name.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from models.registry import near

from .base import Distiller, MethodError
from .needs import Needs
from .places import place
from .spaces import Space, ends
from .values import checked

# What changes the training or the prediction. A class that overrides none of these, and no weight
# of the base terms, is the student alone under another name.
TERMS = (
    "loss", "task_loss", "soft_loss", "soften", "temperature", "init_loss", "forward", "predict",
    "optimizer", "step",
)  # fmt: skip
HOOKS = (*TERMS, "setup", "row_loss", "init_stage", "on_epoch")
FIELDS = (
    "needs", "version", "defaults", "presets", "choices", "ranges", "optional",
    "softens", "search",
)  # fmt: skip
SIMILAR = 0.75  # difflib's ratio: "los" and "loss" have 0.86, "lose" and "loss" 0.75


def check(name: str, cls: type[Distiller]) -> None:
    """Raise MethodError, in one line, where the class of method ``name`` has such a mistake."""
    problem = next(_problems(cls), None)
    if problem is not None:
        raise MethodError(f"method {name!r}: class {cls.__name__} ({place(cls)}): {problem}")


def _problems(cls: type[Distiller]) -> Iterator[str]:
    yield from _names(cls)
    yield from _fields(cls)
    if cls.__init__ is not Distiller.__init__:
        yield (
            "it overrides __init__: create connectors and buffers in "
            "setup(self, student, teacher, info)"
        )
    for hook in HOOKS:
        yield from _signature(cls, hook)
    if not _changes_training(cls):
        yield (
            "it overrides no term, so it would train plain cross-entropy: expected "
            "loss(self, student, teacher, batch), or one of " + ", ".join(TERMS[1:])
        )


def _changes_training(cls: type[Distiller]) -> bool:
    weights = cls.defaults.keys() & {"ce", "kd"}
    return bool(weights) or any(
        getattr(cls, term) is not getattr(Distiller, term) for term in TERMS
    )


def _names(cls: type[Distiller]) -> Iterator[str]:
    """Public names that are probably hooks or fields, misspelled.

    A name is only suspicious while the hook that it resembles is not overridden: ``losses`` beside
    ``loss`` is a helper.
    """
    free = [n for n in (*HOOKS, *FIELDS) if getattr(cls, n) is getattr(Distiller, n)]
    for name in vars(cls):
        if name.startswith("_") or hasattr(Distiller, name):
            continue
        close = difflib.get_close_matches(name, free, n=1, cutoff=SIMILAR)
        if close:
            yield (
                f"{name!r} is no hook: did you mean {close[0]!r}? (A helper's name may "
                "begin with an underscore.)"
            )


def _fields(cls: type[Distiller]) -> Iterator[str]:
    if not isinstance(cls.needs, Needs):
        yield (f"needs = {cls.needs!r}: expected distillers.Needs(…), e.g. Needs(embedding=True)")
    for field in ("defaults", "presets", "choices", "ranges", "optional"):
        value = getattr(cls, field)
        if not isinstance(value, Mapping):
            yield f"{field} = {value!r}: expected a dict"
            return
    yield from _search(cls)
    for option in cls.defaults:
        if not (isinstance(option, str) and option.isidentifier()):
            yield f"defaults: option {option!r}: expected a Python name"


def _search(cls: type[Distiller]) -> Iterator[str]:
    """The declared search space names options, with values that they take."""
    if cls.search is None:
        return
    if not isinstance(cls.search, Mapping):
        yield f"search = {cls.search!r}: expected a dict, or None"
        return
    options = {**Distiller.base_defaults, **cls.defaults}
    for key, space in cls.search.items():
        if key not in options:
            yield f"search: unknown option {key!r}: {near(key, options)}"
        elif not isinstance(space, Space):
            yield f"search: {key} = {space!r}: expected Uniform, LogUniform, Integers or Choice"
        else:
            yield from _values(cls, key, space, options[key])


def _values(cls: type[Distiller], key: str, space: Space, default: Any) -> Iterator[str]:
    for value in ends(space):
        try:
            checked(cls, key, value, default)
        except ValueError as error:
            yield f"search: {key} = {space!r}: expected {error}"


def _signature(cls: type[Distiller], hook: str) -> Iterator[str]:
    """A hook must take the arguments that it is called with, by position."""
    function = getattr(cls, hook)
    if function is getattr(Distiller, hook):
        return
    expected = inspect.signature(getattr(Distiller, hook)).parameters
    wanted = f"expected {hook}({', '.join(expected)})"
    if not callable(function):
        yield f"{wanted}, got {function!r}"
        return
    try:
        inspect.signature(function).bind(*expected)
    except TypeError:
        yield f"{wanted}, got {hook}{_shown(function)}"


def _shown(function: Callable[..., Any]) -> str:
    return "(" + ", ".join(inspect.signature(function).parameters) + ")"
