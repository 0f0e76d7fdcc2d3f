"""A table of texts as Markdown or HTML; `latex` has the third. Texts are plain, escaped here."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tabulate import MIN_PADDING, tabulate

from results.layout import Style, Table, arranged
from results.printable import printable

SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
Escape = Callable[[str], str]
_STYLE_SHEET = Path(__file__).with_name("page.css")


def superscript(number: int) -> str:
    """12 → ¹²"""
    return "".join(SUPERSCRIPTS[int(digit)] for digit in str(number))


def markdown(tables: Sequence[Table], style: Style | None = None) -> str:
    """GitHub's dialect; the first table's title is a heading, the others' the next level's."""
    style = style or Style()
    shown = arranged(tables, style.layout, style.width - 1, markdown_column)
    levels = ("##" if i == 0 else "###" for i in range(len(shown)))
    return "\n".join(_markdown(table, level) for table, level in zip(shown, levels, strict=True))


def markdown_column(table: Table, column: int) -> int:
    """How many characters a column takes, with its gap and one of its bars."""
    widths = [len(escape_markdown(table.header[column])) + MIN_PADDING]
    for i, row in enumerate(table.rows):
        bold = "****" if (i, column) in table.bold else ""
        widths.append(len(escape_markdown(row[column]) + bold))
    return max(widths) + len(" ") + len(" |")


def markdown_width(table: Table) -> int:
    """How many characters a line of the table has."""
    return 1 + sum(markdown_column(table, column) for column in range(len(table.header)))


def html_page(tables: Sequence[Table], style: Style | None = None) -> str:
    """A page that needs no other file."""
    style = style or Style()
    shown = arranged(tables, style.layout, style.width - 1, markdown_column)
    body = "".join(_html(table, "h1" if i == 0 else "h2") for i, table in enumerate(shown))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape_html(shown[0].title)}</title>\n"
        f"<style>\n{_STYLE_SHEET.read_text(encoding='utf-8')}</style>\n"
        f"</head>\n<body>\n{body}</body>\n</html>\n"
    )


def escape_markdown(text: str) -> str:
    """Plain text that shows as it is; underscores inside words are harmless and stay.

    So do an ampersand that begins no character reference, and a single dollar sign (two of them
    would be a formula on GitHub).
    """
    flat = printable(" ".join(text.split()))
    special = r"[\\|*`<\[~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)"
    return re.sub(f"({special}{r'|[$]' if flat.count('$') > 1 else ''})", r"\\\1", flat)


def escape_html(text: str) -> str:
    """Plain text that shows as it is in HTML."""
    return html.escape(printable(text))


def grid(table: Table, style: str, bold: str, escape: Escape, heading: Escape) -> str:
    """The table in one of tabulate's styles; ``bold`` is a template such as ``<b>{}</b>``."""
    rows = [
        [bold.format(escape(text)) if (i, j) in table.bold else escape(text)
         for j, text in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]  # fmt: skip
    return tabulate(
        rows,
        headers=[heading(text) for text in table.header],
        tablefmt=style,
        colalign=["left"] + ["right"] * (len(table.header) - 1),
        disable_numparse=True,  # it would print "70.50" as 70.5
    )


def _markdown(table: Table, heading: str) -> str:
    lines = grid(table, "pipe", "**{}**", escape_markdown, escape_markdown)
    notes = "".join(f"- {escape_markdown(note)}\n" for note in table.notes)
    return f"{heading} {escape_markdown(table.title)}\n\n{lines}\n" + (
        f"\n{notes}" if notes else ""
    )


def _html(table: Table, heading: str) -> str:
    lines = grid(table, "unsafehtml", "<b>{}</b>", escape_html, escape_html)
    notes = "".join(f"<li>{escape_html(note)}</li>\n" for note in table.notes)
    listed = f"<ul>\n{notes}</ul>\n" if notes else ""
    title = f"<{heading}>{escape_html(table.title)}</{heading}>"
    # The wrapper scrolls, not the page; with a tab stop it does so by keyboard too.
    return f'{title}\n<div class="scroll" tabindex="0">\n{lines}\n</div>\n{listed}'
