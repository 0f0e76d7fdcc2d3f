"""Reading a file of which anything may have become."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

LARGEST = 64 * 2**20  # bytes: a thousand times the longest history of a run


class OddFile(OSError):  # noqa: N818  (describes a file)
    """Something under a file's name that is no file of plausible size: a folder, a pipe, …"""


def read_bytes(path: Path | str, most: int | None = LARGEST) -> bytes:
    """The content of a regular file of at most ``most`` bytes; None: of any size.

    OSError where the disk refuses, its kind OddFile for anything else: opening a pipe would wait
    for a writer, and a device may have no end.
    """
    with opened(path, most) as file:
        return file.read()


def opened(path: Path | str, most: int | None = None) -> BinaryIO:
    """Such a file, opened for reading; errors as `read_bytes`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ELOOP):  # a socket; links that lead to themselves
            raise OddFile(error.errno, error.strerror, os.fspath(path)) from error
        raise
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and (most is None or found.st_size <= most):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OddFile(errno.EINVAL, _kind(found.st_mode), os.fspath(path))
    problem = f"has {found.st_size:,} bytes, expected at most {most:,}"
    raise OddFile(errno.EFBIG, problem, os.fspath(path))


def read_text(path: Path | str, errors: str = "strict", most: int | None = LARGEST) -> str:
    """The text of such a file, line breaks as Python reads them; UnicodeDecodeError if strict."""
    text = read_bytes(path, most).decode("utf-8", errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "Is a directory"
    return "Is a pipe or a device, expected a file"
