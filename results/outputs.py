"""What a file that is written for a person may replace: nothing, or another regular file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def obstacle(path: Path) -> str:
    """Why a file of this name is not written, as the end of a message; "" if it may be.

    Files get their names by renaming, which would put a file in the place of ``/dev/null``.
    """
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):  # not there; what else is wrong with it, writing tells
        return ""
    if stat.S_ISREG(mode):
        return ""
    what = _KINDS.get(stat.S_IFMT(mode), "no file")
    print_it = "; to print it, leave the flag out" if path.is_relative_to("/dev") else ""
    return f"this is {what}, which is not replaced: expected the name of a file{print_it}"
