"""Where data are: the options that name a user's own, and the folders of caches."""

from __future__ import annotations

import os
from pathlib import Path

OWN_DATA = ("file", "folder")  # options that give the path of a user's own images


def is_own_data(option: str) -> bool:
    """Whether an option gives the path of a user's own images."""
    return option in OWN_DATA


def folders(root: Path, cache: str | None) -> list[Path]:
    """Folders that may hold cache files, in order of preference."""
    if cache is not None:
        return [Path(os.path.expanduser(cache))]
    home = Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))
    own = [home / "kd-datasets"] if home.is_absolute() else []  # not every user has a home
    return [root / ".cache", *own]
