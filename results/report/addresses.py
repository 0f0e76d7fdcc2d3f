"""Where the pages of a report are, and how one of them refers to another.

A page has a key, such as ``digits/method/kd``. It is a file of that name, or, in a single file, a
part with that id.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_LONGEST = 60


def slugs(texts: Iterable[str]) -> dict[str, str]:
    """Text -> a name for files and addresses, of ASCII letters, digits and dashes; all differ.

    Case does not tell two of them apart: some file systems ignore it.
    """
    found: dict[str, str] = {}
    used: set[str] = set()
    for text in texts:
        if text in found:
            continue
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
        base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST] or "x"
        name, number = base, 2
        while name in used:
            name, number = f"{base}-{number}", number + 1
        used.add(name)
        found[text] = name
    return found


@dataclass(frozen=True)
class Addresses:
    """Addresses as seen from the page ``here``."""

    here: str
    single: bool

    def to(self, key: str, part: str = "") -> str:
        """The address of a page, or of a part of it."""
        if self.single:
            return f"#{key}:{part}" if part else f"#{key}"
        anchor = f"#{part}" if part else ""
        return anchor or "#" if key == self.here else f"{self.root}{key}.html{anchor}"

    def id(self, part: str) -> str:
        """The id of a part of this page; unique in a single file, too."""
        return f"{self.here}:{part}" if self.single else part

    @property
    def root(self) -> str:
        """From this page's file to the folder of the report."""
        return "../" * self.here.count("/")
