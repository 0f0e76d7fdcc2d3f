"""What a check answers. Standard library only: it must work where packages are missing."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "note", "FAIL"


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and how to mend it (or why it may well be so).

    level  OK; WARN: worth knowing; FAIL: something will fail
    """

    level: str
    what: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        first = f"{self.level:<4}  {self.what}: {_line(self.found)}"
        return f"{first}\n      -> {_line(self.mend)}" if self.mend else first


def _line(text: str) -> str:
    """On one line, whatever a library or a command said."""
    return " ".join(text.split())
