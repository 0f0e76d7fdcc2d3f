"""The result of one check. Standard library only: it must work where packages are missing."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "OK", "WARN", "FAIL"


@dataclass(frozen=True)
class Finding:
    """What was checked, what was found, and how to fix it (or why it may be fine).

    level  OK; WARN: worth knowing; FAIL: something will fail
    """

    level: str
    subject: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        first = f"{self.level:<4}  {self.subject}: {_one_line(self.message)}"
        return f"{first}\n      -> {_one_line(self.fix)}" if self.fix else first


def _one_line(text: str) -> str:
    """Libraries and commands explain themselves in several lines."""
    return " ".join(text.split())
