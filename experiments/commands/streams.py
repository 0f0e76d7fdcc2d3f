"""Standard output and error as every program here writes to them: safely, in any encoding.

What a terminal would act on is escaped (see `results.printable`), and a character that the
encoding of a terminal, a pipe or a log lacks is replaced: nothing that is printed may end a
program, least of all one that is about to save its work. Files are UTF-8 everywhere.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from results.printable import printable

ERRORS = "kd-plain"  # our handler of characters that an encoding lacks
_PLAIN = {
    "→": "->", "←": "<-", "–": "-", "—": "-", "−": "-", "…": "...", "±": "+-", "×": "x",
    "≥": ">=", "≤": "<=", "≈": "~", "“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ",
    "\u202f": " ", "Δ": "delta", **{digit: f"^{i}" for i, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}  # fmt: skip


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What is written in place of the characters that cannot be."""
    assert isinstance(error, UnicodeEncodeError)
    bad = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or _escaped(c) for c in bad), error.end


def _escaped(character: str) -> str:
    r"""``\u4e2d``; a byte of a file name that is no text: ``\xe9``."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


codecs.register_error(ERRORS, _plain)


class SafeStream:
    """A text stream on which everything can be written; else as the stream inside."""

    errors = ERRORS

    def __init__(self, stream: Any) -> None:
        self.inside = stream

    def write(self, text: str) -> int:
        """Write; a carriage return that begins the text is a progress bar's."""
        begin = "\r" if text[:1] == "\r" else ""
        self.write_raw(begin + printable(text[len(begin) :]))
        return len(text)

    def write_raw(self, text: str) -> None:
        """Write with control characters, which only our own code may ask for."""
        encoding = getattr(self.inside, "encoding", None) or "utf-8"
        self.inside.write(text.encode(encoding, ERRORS).decode(encoding))

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inside, name)


def make_safe() -> None:
    """Make the standard streams of this process safe, for as long as it lives."""
    sys.stdout, sys.stderr = _safe(sys.stdout), _safe(sys.stderr)


@contextlib.contextmanager
def safe() -> Iterator[None]:
    """The standard streams are safe inside."""
    before = sys.stdout, sys.stderr
    make_safe()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _safe(stream: Any) -> Any:
    if stream is None:  # closed before the program began
        return SafeStream(open(os.devnull, "w", encoding="utf-8"))
    return stream if isinstance(stream, SafeStream) else SafeStream(stream)


def show(text: str) -> None:
    """Print a text with our own control characters; the rest of it has to be printable."""
    write = getattr(sys.stdout, "write_raw", sys.stdout.write)
    write(f"{text}\n")
    sys.stdout.flush()
