"""A registry of named entries that refuses duplicates and suggests near matches for typos."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
FEW, SHOWN = 16, 8  # so many known names are all shown; of more, so many


def near(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown ``name``: near matches, or known names.

    >>> near("resnet3x4", ["resnet32x4", "vgg8"])
    'did you mean resnet32x4?'
    """
    names = sorted(known)
    lowered = {n.lower(): n for n in names}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=3, cutoff=0.6)
    if close:
        return f"did you mean {', '.join(lowered[c] for c in close)}?"
    return f"known: {_some(name.lower(), lowered)}" if names else "there are none"


def _some(name: str, lowered: dict[str, str]) -> str:
    """All names where they are few, else those most like ``name`` and how many more there are."""
    if len(lowered) <= FEW:
        return ", ".join(lowered.values())
    likeness = {known: difflib.SequenceMatcher(None, known, name).ratio() for known in lowered}
    alike = sorted(lowered, key=lambda known: -likeness[known])[:SHOWN]  # ties by name
    return f"{', '.join(lowered[known] for known in alike)} and {len(lowered) - SHOWN} more"


class Registry(Generic[T]):
    """Entries by name. ``kind`` is what error messages call an entry, for example "model".

    ``contents`` is the module whose import registers what the harness brings along; it is imported
    before an entry is looked for.
    """

    def __init__(self, kind: str, error: type[ValueError], contents: str | None = None) -> None:
        self.kind, self.error = kind, error
        self._contents = contents
        self._found: dict[str, tuple[T, str]] = {}

    @property
    def _entries(self) -> dict[str, tuple[T, str]]:
        contents, self._contents = self._contents, None  # its own registrations come back here
        try:
            if contents:
                importlib.import_module(contents)
        except BaseException:
            self._contents = contents
            raise
        return self._found

    @_entries.setter
    def _entries(self, entries: dict[str, tuple[T, str]]) -> None:
        self._found = entries

    def add(self, name: str, entry: T, source: str) -> None:
        """Register ``entry``; ``source`` is its module, which later conflicts are reported with.

        Raises ``error`` if the name is taken.
        """
        self.check_free(name, source)
        self._found[name] = (entry, source)

    def check_free(self, name: str, source: str) -> None:
        """Raise ``error`` if the name is taken.

        Names that differ only in case conflict too: people type them from papers.
        """
        taken = {known.lower(): known for known in self._found}.get(name.lower())
        if taken is not None:
            raise self.error(
                f"{self.kind} {name!r} of {source}: the name is taken by "
                f"{taken!r} of {self._found[taken][1]}"
            )

    def get(self, name: str) -> T:
        """The entry of that name; raises ``error`` with near matches if it is unknown."""
        if name not in self._entries:
            raise self.error(f"unknown {self.kind} {name!r}: {near(name, self._entries)}")
        return self._entries[name][0]

    def source(self, name: str) -> str:
        """The module that registered ``name``."""
        self.get(name)
        return self._entries[name][1]

    def names(self) -> list[str]:
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())
