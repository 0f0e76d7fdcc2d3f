"""Reading a file of which anything may have become."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

LARGEST = 64 * 2**20  # bytes: a thousand times the longest history of a run
_PART = 2**16  # bytes read at once where a file grows meanwhile


class OddFile(OSError):  # noqa: N818  (describes a file)
    """Something under a file's name that is no file of plausible size: a folder, a pipe, …"""


def read_bytes(path: Path | str, most: int | None = LARGEST) -> bytes:
    """The content of a regular file of at most ``most`` bytes; None: of any size.

    OSError where the disk refuses, its kind OddFile for anything else: opening a pipe would wait
    for a writer, and a device may have no end.
    """
    descriptor, size = _opened(path, most)
    try:
        parts = [os.read(descriptor, size + 1)]
        while parts[-1]:
            parts.append(os.read(descriptor, _PART))
    finally:
        os.close(descriptor)
    return b"".join(parts)


def text(path: Path | str, errors: str = "strict", most: int | None = LARGEST) -> str:
    """The text of such a file, line breaks as Python reads them; UnicodeDecodeError if strict."""
    text = read_bytes(path, most).decode("utf-8", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def opened(path: Path | str) -> BinaryIO:
    """Such a file of any size, opened for reading; errors as `read_bytes`."""
    descriptor, _ = _opened(path, None)
    return os.fdopen(descriptor, "rb")


def _opened(path: Path | str, most: int | None) -> tuple[int, int]:
    """The descriptor of an opened file, and its size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ELOOP):  # a socket; links that lead to themselves
            raise OddFile(error.errno, error.strerror, os.fspath(path)) from error
        raise
    found = os.fstat(descriptor)
    problem = _problem(found, most)
    if problem:
        os.close(descriptor)
        raise OddFile(errno.EINVAL, problem, os.fspath(path))
    return descriptor, found.st_size


def _problem(found: os.stat_result, most: int | None) -> str:
    if stat.S_ISDIR(found.st_mode):
        return "Is a directory"
    if not stat.S_ISREG(found.st_mode):
        return "Is a pipe or a device, expected a file"
    if most is not None and found.st_size > most:
        return f"has {found.st_size:,} bytes, expected at most {most:,}"
    return ""
