"""Text of others that is shown: what would act on a terminal, or turn the text around, is escaped.

Labels, error texts, paths and the fields of records may hold anything. Raw, an escape sequence
rewrites a screen or types at a prompt, a carriage return hides a line, and a bidirectional override
shows a name backwards.
"""

from __future__ import annotations

import re

# Controls but the tab and the end of a line, those of Latin-1 (C1), the marks, overrides and
# isolates of bidirectional text, the separators of lines and paragraphs.
_ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""The text with ``\x1b``, ``\u202e`` in place of such characters, as Python writes them."""
    return _ACTIVE.sub(lambda match: ascii(match[0])[1:-1], text)


def json_escaped(text: str) -> str:
    """A JSON text with such characters escaped, which changes nothing of what it holds."""
    return _ACTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
