"""What the processes of a job tell each other, as bytes that cannot run code when they are read.

Plain data travel as JSON, bytes as they are, arrays as safetensors. Pickles would hand this process
to whoever can speak to it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import safetensors.numpy

from results.predictions import Array

# The first byte of an answer says what follows.
PLAIN, BYTES, ERROR = b"j", b"b", b"e"


def answer_of(action: Callable[[], Any]) -> tuple[Any, Exception | None, bytes]:
    """What ``action`` returns, what it raises, and either as bytes for `opened`.

    A value that is neither bytes nor plain data is a RuntimeError here as in the other processes.
    """
    try:
        value = action()
        return value, None, _encode(value)
    except Exception as error:  # noqa: BLE001  (raised again, in every process)
        return None, error, ERROR + json.dumps(_described(error)).encode()


def opened(answer: bytes) -> tuple[Any, Exception | None]:
    """The value and the error of an answer. Tuples arrive as lists."""
    kind, content = answer[:1], answer[1:]
    if kind == BYTES:
        return content, None
    plain = json.loads(content)
    return (None, _rebuilt(**plain)) if kind == ERROR else (plain, None)


def _encode(value: Any) -> bytes:
    if isinstance(value, bytes):
        return BYTES + value
    try:
        return PLAIN + json.dumps(value).encode()
    except (TypeError, ValueError) as error:
        raise RuntimeError(f"cannot be told to the other processes: {error}") from error


def _described(error: Exception) -> dict[str, Any]:
    kind = type(error)
    simple = all(isinstance(part, (str, int, float, type(None))) for part in error.args)
    args = list(error.args) if simple else [str(error)]
    return {"module": kind.__module__, "name": kind.__qualname__, "args": args, "text": str(error)}


def _rebuilt(module: str, name: str, args: list[Any], text: str) -> Exception:
    """An error of a class that this process has loaded, made without running its constructor.

    A RuntimeError with the same text where there is none, or where it needs more than its
    arguments to say the same.
    """
    kind = getattr(sys.modules.get(module), name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        error = kind.__new__(kind, *args)
        error.args = tuple(args)
        if str(error) == text:
            return error
    return RuntimeError(f"{name}: {text}")


def encode_arrays(arrays: Mapping[str, Array]) -> bytes:
    """Arrays by name as bytes."""
    return safetensors.numpy.save(dict(arrays))


def decode_arrays(data: bytes) -> dict[str, Array]:
    """The inverse of `encode_arrays`."""
    return safetensors.numpy.load(data)
