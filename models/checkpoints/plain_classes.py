"""Classes beside tensors and plain containers that may be unpickled, as they only hold data.

Scripts store an accuracy as NumPy computed it, or their settings. None of these classes runs code
that the file chooses: they are constructed from numbers, texts and one another.
"""

from __future__ import annotations

import argparse
import codecs
import pathlib
from typing import Any

import numpy as np


def allowed() -> list[Any]:
    """The argument of `torch.serialization.safe_globals`: classes, or pairs with an older name."""
    # RepDistiller's *_last.pth files hold their command line. A Namespace only stores attributes.
    settings = [argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath]
    containers = [set, frozenset, list, dict, tuple]
    # codecs.encode is how old pickles hold bytes.
    values = [int, float, str, bool, codecs.encode]
    return [*settings, *containers, *values, *_of_numpy()]


def _of_numpy() -> list[Any]:
    """Scalars, arrays and their types, under the names of NumPy 1 and 2."""
    scalar, rebuilt = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    types = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdSU"}
    functions = ((scalar, "scalar"), (rebuilt, "_reconstruct"))
    names = [
        (function, f"{package}.multiarray.{name}")
        for package in ("numpy.core", "numpy._core")
        for function, name in functions
    ]
    return [np.ndarray, np.dtype, *types, *names]
