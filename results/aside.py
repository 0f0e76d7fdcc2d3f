"""What is broken stays beside what takes its place, as NAME.broken, NAME.broken-2, …"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

NO_LINKS = frozenset(
    {  # what file systems without links, or with too few of them, answer
        errno.EPERM,  # vfat, exFAT
        errno.ENOSYS,  # FUSE
        errno.EOPNOTSUPP,  # SMB, cluster file systems
        errno.EACCES,  # some of FUSE
        errno.EMLINK,
        errno.EXDEV,
        errno.EINVAL,
    }
)


def move(path: Path, is_folder: bool | None = None) -> Path:
    """Rename ``path`` to the first free name, which is returned. OSError where that fails.

    With ``is_folder`` given, it also fails where ``path`` is not of that kind (any more).
    """
    if is_folder is None:
        is_folder = path.is_dir() and not path.is_symlink()
    for aside in _names(path):
        try:  # reserves the name: rename alone would overwrite it
            aside.mkdir() if is_folder else aside.open("xb").close()
            break
        except FileExistsError:
            continue
    try:
        os.replace(path, aside)  # fails where a file has taken a folder's place in the meantime
    except OSError:
        aside.rmdir() if is_folder else aside.unlink()
        raise
    return aside


@contextlib.contextmanager
def kept(path: Path) -> Iterator[None]:
    """A second name, or a copy, of ``path``, which the body replaces; none if the body fails.

    Unlike `move`, this leaves no moment in which ``path`` is free.
    """
    aside = _second_name(path)
    try:
        yield
    except BaseException:
        if aside is not None:
            aside.unlink(missing_ok=True)
        raise


def _names(path: Path) -> Iterator[Path]:
    for number in itertools.count(1):
        yield path.with_name(f"{path.name}.broken" + (f"-{number}" if number > 1 else ""))


def _second_name(path: Path) -> Path | None:
    for aside in _names(path):
        try:
            os.link(path, aside)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            break
        return aside
    return _copy(path)


def _copy(path: Path) -> Path | None:
    """A copy of a file or a symbolic link; None of a pipe or a device, which hold nothing."""
    mode = os.lstat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        return None
    for aside in _names(path):
        try:
            if stat.S_ISLNK(mode):
                aside.symlink_to(os.readlink(path))
            else:
                with path.open("rb") as source, aside.open("xb") as copy:
                    shutil.copyfileobj(source, copy)
        except FileExistsError:
            continue
        return aside
    raise AssertionError("names do not end")
