"""The error of this package, and near matches for its messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FEW, SHOWN = 16, 8  # so many known names are all shown; of more, so many


class DataError(ValueError):
    """A data set, file, option or stream cannot be used; the message is one line."""


def near(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown ``name``: near matches, or known names.

    >>> near("digit", ["cifar10", "cifar100", "digits"])
    'did you mean digits?'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {', '.join(close)}?"
    if len(names) > FEW:
        alike = sorted(names, key=lambda known: -_likeness(name, known))  # ties by name
        return f"known: {', '.join(alike[:SHOWN])} and {len(names) - SHOWN} more"
    return f"known: {', '.join(names)}" if names else "there are none"


def printable(text: str, most: int = 120) -> str:
    """``text`` without control characters, and cut where it is long."""
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: most + 1])
    return shown if len(text) <= most else shown[:most] + "…"


def _likeness(name: str, known: str) -> float:
    return difflib.SequenceMatcher(None, known.lower(), name.lower()).ratio()
