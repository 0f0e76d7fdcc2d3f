"""One line about an error inside a method's code: what happened, where, and what to do."""

from __future__ import annotations

import linecache
import re
import traceback
from pathlib import Path
from types import FrameType, TracebackType

from models import Outputs

from .base import Distiller, MethodError
from .plugins import LOADED

HERE = Path(__file__).resolve().parent
# Modules of this package that call methods; an error that surfaces there began elsewhere.
CALLERS = {"base.py", "compose.py", "registry.py", "values.py", "explain.py", "plugins.py"}
READS = re.compile(r"\b(\w+)\.(embedding|features|preacts|blocks|final_map|tokens|cls|views)\b")


def explain(error: BaseException) -> str:
    """The error in one line. Where a method raised it: its hook, file, line and a remedy.

    Errors that are meant for people (MethodError) keep their words.
    """
    message = " ".join(str(error).split())
    words = message if isinstance(error, MethodError) else _named(error, message)
    found = _innermost(error.__traceback__)
    if found is None:
        return words
    frame, line = found
    file = frame.f_code.co_filename
    text = linecache.getline(file, line).strip()
    place = f"{Path(file).name}:{line}"
    if place.partition(":")[0] in words and isinstance(error, MethodError):
        return words
    hook = f"{frame.f_code.co_name}(){_method_of(frame)}"
    return f"{hook}: {words} ({place}: {text}){_remedy(frame, text)}"


def _named(error: BaseException, message: str) -> str:
    kind = type(error).__name__
    return f"{kind}: {message}" if message else kind


def _innermost(trace: TracebackType | None) -> tuple[FrameType, int] | None:
    """The last frame of the traceback that is in the code of a method, and its line."""
    frames = [f for f in traceback.walk_tb(trace) if _is_method_code(f[0].f_code.co_filename)]
    return frames[-1] if frames else None


def _is_method_code(file: str) -> bool:
    path = Path(file)
    if path.parent == HERE:
        return path.name not in CALLERS
    return any(path in plugin.files for plugin in LOADED.values())


def _method_of(frame: FrameType) -> str:
    owner = frame.f_locals.get("self")
    return f" of {owner.name}" if isinstance(owner, Distiller) else ""


def _remedy(frame: FrameType, text: str) -> str:
    """For a line that reads an output which this forward pass does not have."""
    for variable, field in READS.findall(text):
        outputs = frame.f_locals.get(variable)
        if isinstance(outputs, Outputs) and getattr(outputs, field) in (None, ()):
            return f"; {variable}.{field} is {getattr(outputs, field)}: {_declaration(field)}"
    return ""


def _declaration(field: str) -> str:
    if field == "views":
        return 'declare needs = Needs(views=("NAME",))'
    if field == "cls":
        return "only transformers have it: check for it in setup(), raising Unsupported"
    return f"declare needs = Needs({field}=True); networks that lack it are then n/a"
