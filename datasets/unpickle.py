"""Read the pickles that CIFAR is distributed in, without running any code from them.

A pickle is a program: it may call whatever it can import. This reader lets it import nothing.
The few names that numpy arrays need are replaced by stand-ins of our own (numpy's own
``__setstate__`` would trust sizes and types from the file); everything else is refused.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError, printable


class _DType:
    """Stands in for numpy.dtype: integers only."""

    def __init__(self, code: str, *_flags: object) -> None:
        if not re.fullmatch(r"[ui][1248]", str(code)):
            raise DataError(f"refused: an array of type {code!r}; expected whole numbers")
        self.code, self.order = str(code), "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]  # (version, byte order, …)

    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class _Array:
    """Stands in for numpy.ndarray; ``value`` is the array once the file is read."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, shape, dtype, fortran, raw = state
        if isinstance(raw, str):  # Python 2 wrote its bytes as a string
            raw = raw.encode("latin1")
        flat = np.frombuffer(raw, dtype.numpy())
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(*_arguments: object) -> _Array:
    """Stands in for numpy's function: an empty array whose state follows."""
    return _Array()


def _from_buffer(raw: bytes, dtype: _DType, shape: tuple[int, ...], order: str) -> _Array:
    """Stands in for numpy's function: an array as pickle protocol 5 writes it."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", raw))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """Stands in for codecs.encode, which pickle protocol 2 uses for Python 3's bytes."""
    if encoding != "latin1":
        raise DataError(f"refused: text encoding {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _from_buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise DataError(f"refused: it asks for {module}.{name}; expected numbers and text only")
        return _ADMITTED[module, name]


# The exceptions of damaged pickles, from the documentation of `pickle` and from experiments.
_DAMAGE = (
    pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, TypeError,
    ValueError, OverflowError, MemoryError, RecursionError,
)  # fmt: skip


def load_dict(path: Path) -> dict[str, Any]:
    """The dictionary in the file ``path``, with numpy arrays, and with keys as text.

    Raises DataError if the file is damaged, is not a dictionary, or holds anything but arrays of
    integers, lists, dictionaries, text and bytes.
    """
    try:
        with path.open("rb") as file:
            entry = _Unpickler(file, encoding="latin1").load()
    except DataError as error:
        raise DataError(f"{path}: {printable(str(error))}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except _DAMAGE as error:
        reason = f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0]
        raise DataError(f"{path}: damaged or truncated ({printable(reason)})") from error
    if not isinstance(entry, dict):
        raise DataError(f"{path}: holds a {type(entry).__name__}, expected a dictionary")
    # Copies saved again by Python 3 may have bytes as keys. An _Array has read its array by now.
    return {
        key.decode("latin1") if isinstance(key, bytes) else str(key): getattr(value, "value", value)
        for key, value in entry.items()
    }
