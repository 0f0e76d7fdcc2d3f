"""Remove files and folders, past what cannot be removed."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path
from typing import Any

# What usually lies behind a refusal.
LIKELY = {
    errno.EBUSY: "a process has it open, or it is mounted",
    errno.EPERM: "immutable, or another user's",
    errno.EACCES: "no permission to write into its folder",
    errno.EROFS: "its disk is mounted read-only",
}


def remove(path: Path) -> list[str]:
    """Remove a file, a link or a folder with all it holds; what is gone already is fine.

    Returns a line for each file or folder that stays, with the reason. A folder that stays only
    because of what is in it has no line of its own.
    """
    kept: dict[str, OSError] = {}

    def note(_action: Any, failed: str, error: Any) -> None:
        failure = error if isinstance(error, BaseException) else error[1]  # onerror: exc_info
        above = any(known.startswith(failed + os.sep) for known in kept)
        if (
            isinstance(failure, OSError)
            and not isinstance(failure, FileNotFoundError)
            and not above
        ):
            kept[failed] = failure

    if path.is_dir() and not path.is_symlink():
        if sys.version_info >= (3, 12):
            shutil.rmtree(str(path), onexc=note)
        else:
            shutil.rmtree(str(path), onerror=note)
    else:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            kept[str(path)] = error
    return [_line(name, error) for name, error in kept.items()]


def _line(path: str, error: OSError) -> str:
    likely = LIKELY.get(error.errno or 0)
    return f"{path} stays: {error.strerror}{f' ({likely})' if likely else ''}"
