"""Read the arrays of an .npz file from anyone: nothing is unpickled, nothing large allocated first.

An .npz is a zip archive of .npy members, each a header (type, shape) and the numbers. All headers
are read and checked against the archive's own sizes before any array is allocated.
"""

from __future__ import annotations

import lzma
import math
import os
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from .errors import DataError, printable

MAX_MEMBERS = 64  # an .npz of images has a handful
MAX_RATIO = 200  # photographs shrink to a half, drawings to a hundredth
FREE_BYTES = 2**28  # so much may be unpacked whatever the ratio: small sets may be of one color
ENCRYPTED = 1  # bit of a member's flags
SCHEMES = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
MAGIC = b"\x93NUMPY"
CHUNK = 2**24
VERSION = (1, 0)  # of a plain array's header; later ones are for long lists of named fields

# What the readers of zip archives and headers raise for damaged files: from their documentation,
# and from trying mutated files (tests/fuzz/test_npz.py).
_DAMAGE = (
    ValueError, OSError, EOFError, TypeError, LookupError, NotImplementedError, RuntimeError,
    OverflowError, MemoryError, SyntaxError, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
    struct.error, tokenize.TokenError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """An array in the archive: its place, and what its header declares."""

    info: zipfile.ZipInfo
    dtype: np.dtype
    shape: tuple[int, ...]
    columns_first: bool
    start: int  # where the numbers begin, behind the header

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read(path: Path, check_keys: Callable[[list[str]], None]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by key, in native byte order.

    ``check_keys`` is called with all keys before any member is read. Raises DataError, in one line
    that begins with the path, for anything but an archive of plain arrays of plausible sizes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            check_keys(list(infos))
            _check_total(path, [info.file_size for info in archive.infolist()])
            members = {key: _member(archive, info) for key, info in infos.items()}
            return {key: _array(archive, member) for key, member in members.items()}
    except _Refused as error:
        raise DataError(f"{path}: {error}") from error
    except DataError:
        raise
    except _DAMAGE as error:
        reason = printable(str(error).split("\n", maxsplit=1)[0]) or type(error).__name__
        raise DataError(f"{path}: cannot be read as an .npz of plain arrays ({reason})") from error


class _Refused(Exception):  # noqa: N818  (says what a member is)
    """A member or an archive that is not read; the message lacks the path."""


def _check_total(path: Path, sizes: list[int]) -> None:
    """Refuse what would not fit into memory, or can only have been made to fill it."""
    if len(sizes) > MAX_MEMBERS:
        raise _Refused(f"holds {len(sizes)} members, expected at most {MAX_MEMBERS}")
    total, stored = sum(sizes), path.stat().st_size
    if total > FREE_BYTES + MAX_RATIO * stored:
        raise _Refused(f"would unpack {stored:,} bytes to {total:,}, which no images do")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if total > memory:
        raise _Refused(f"would unpack to {total:,} bytes, and this machine has {memory:,}")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    """A member's header, checked; only the header is read."""
    name = printable(info.filename)
    if info.flag_bits & ENCRYPTED:
        raise _Refused(f"{name} is encrypted; save it without a password")
    if info.compress_type not in SCHEMES:
        raise _Refused(f"{name} is compressed by method {info.compress_type}; use numpy.savez")
    with archive.open(info) as stream:
        dtype, shape, columns_first, start = _header(stream, name)
    found = Member(info, dtype, shape, columns_first, start)
    if found.nbytes != info.file_size - start:
        declared = printable(f"{dtype} {shape}")
        raise _Refused(f"{name} declares {declared}, but holds {info.file_size - start:,} bytes")
    return found


def _header(stream: IO[bytes], name: str) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """Type, shape, whether columns come first, and where the numbers begin."""
    if stream.read(len(MAGIC)) != MAGIC:
        raise _Refused(f"{name} is no array (.npy)")
    version = tuple(stream.read(2))
    if version != VERSION:
        raise _Refused(f"{name} is no plain array: its header is of version {version}")
    with warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote
        shape, columns_first, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise _Refused(f"{name} holds Python objects (pickled), which are not loaded")
    if dtype.fields is not None or dtype.subdtype is not None or dtype.itemsize == 0:
        raise _Refused(f"{name} is {printable(str(dtype))}, expected plain numbers or text")
    if any(type(size) is not int or size < 0 for size in shape):
        raise _Refused(f"{name} has the shape {printable(str(shape))}")
    return dtype, shape, columns_first, stream.tell()


def _array(archive: zipfile.ZipFile, member: Member) -> np.ndarray:
    flat = np.empty(math.prod(member.shape), member.dtype)
    target = flat.view(np.uint8).data if flat.size else memoryview(b"")
    with archive.open(member.info) as stream:
        stream.read(member.start)
        for begin in range(0, len(target), CHUNK):
            part = target[begin : begin + CHUNK]
            content = stream.read(len(part))
            if len(content) != len(part):
                raise EOFError("it ends too early")
            part[:] = content
        stream.read(1)  # at its end the archive's checksum is compared
    order = "F" if member.columns_first else "C"
    native = flat.astype(member.dtype.newbyteorder("="), copy=False)
    return native.reshape(member.shape, order=order)  # type: ignore[call-overload]
