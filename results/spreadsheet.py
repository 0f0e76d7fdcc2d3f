"""CSV for spreadsheets, which run a cell that begins like a formula.

A text that begins with one of `FORMULA` gets an apostrophe before it, as OWASP's page on "CSV
injection" advises: spreadsheets then take it for text. Numbers stay as they are, signs included.
Carriage returns become newlines: Python's writer does not quote them where lines end with "\\n".
Other control characters are escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from results.printable import printable

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")


def harmless(value: Any) -> Any:
    """A cell's value; only texts are changed."""
    if not isinstance(value, str):
        return value
    text = printable(value.replace("\r\n", "\n").replace("\r", "\n"))
    return f"'{text}" if text.startswith(FORMULA) else text


def harmless_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy with every text made harmless; columns of numbers are not touched."""
    copy = frame.copy()
    for name in frame.select_dtypes(exclude="number"):
        copy[name] = frame[name].map(harmless)
    return copy
