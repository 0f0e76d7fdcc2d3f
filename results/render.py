"""A table of texts as Markdown, LaTeX or HTML. All texts come in plain and are escaped here."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tabulate import tabulate

_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "<": "$<$", ">": "$>$", "|": r"\textbar{}",
    "[": "{[}",  # at the start of a row it would be the option of the \\ before it
    "±": r"$\pm$", "×": r"$\times$", "→": r"$\rightarrow$", "≥": r"$\geq$", "≤": r"$\leq$",
    "Δ": r"$\Delta$", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "λ": r"$\lambda$",
    "τ": r"$\tau$", "–": "--", "−": "$-$", "…": r"\ldots{}",
    **{mark: f"$^{{{digit}}}$" for digit, mark in enumerate(_SUPERSCRIPTS)},
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """``rows`` have as many texts as ``header``; ``bold`` holds (row, column) from 0.

    The first column is a label, set to the left; all others are set to the right.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: frozenset[tuple[int, int]] = frozenset()
    notes: Sequence[str] = ()


def superscript(number: int) -> str:
    """12 → ¹²"""
    return "".join(_SUPERSCRIPTS[int(digit)] for digit in str(number))


def markdown(tables: Sequence[Table]) -> str:
    """GitHub's dialect; the first table's title is a heading, the others' the next level's."""
    return "\n".join(_markdown(table, "#" * min(level, 3)) for level, table in _levels(tables))


def latex(tables: Sequence[Table]) -> str:
    """Floats for the booktabs package; the notes stand below each tabular."""
    return "\n".join(_latex(table) for table in tables)


def html_fragment(tables: Sequence[Table]) -> str:
    """What belongs into the body of a page; read as UTF-8 also where it is a page by itself."""
    return '<meta charset="utf-8">\n' + "\n".join(
        _html(table, f"h{level}") for level, table in _levels(tables)
    )


def escape_markdown(text: str) -> str:
    """Plain text that shows as it is; underscores inside words are harmless and stay."""
    flat = " ".join(text.split())
    return re.sub(r"([\\|*`<\[~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", flat)


def escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _levels(tables: Sequence[Table]) -> list[tuple[int, Table]]:
    return [(2 if i == 0 else 3, table) for i, table in enumerate(tables)]


Escape = Callable[[str], str]


def _grid(table: Table, style: str, bold: str, escape: Escape, heading: Escape) -> str:
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
    grid = _grid(table, "pipe", "**{}**", escape_markdown, escape_markdown)
    notes = "".join(f"- {escape_markdown(note)}\n" for note in table.notes)
    return f"{heading} {escape_markdown(table.title)}\n\n{grid}\n" + (f"\n{notes}" if notes else "")


def _latex(table: Table) -> str:
    grid = _grid(table, "latex_raw", r"\textbf{{{}}}", escape_latex, _stack)
    lines = _booktabs(grid.split("\n"))
    notes = [rf"\par\footnotesize {escape_latex(note)}" for note in table.notes]
    caption = rf"\caption{{{escape_latex(table.title)}}}"
    whole = [r"\begin{table}", r"\centering", caption, *lines, *notes, r"\end{table}"]
    return "\n".join(whole) + "\n"


def _stack(text: str) -> str:
    """A pair's heading as in the papers, teacher over student, or the page is too narrow."""
    parts = [escape_latex(part) for part in text.split("→")]
    joined = r" \\ ".join(parts)
    return joined if len(parts) == 1 else rf"\shortstack[r]{{{joined}}}"


def _booktabs(lines: list[str]) -> list[str]:
    """tabulate's own booktabs style escapes cells, so its raw style gets the rules here."""
    rules = iter([r"\toprule", r"\midrule", r"\bottomrule"])
    return [next(rules) if line == r"\hline" else line for line in lines]


def _html(table: Table, heading: str) -> str:
    grid = _grid(table, "unsafehtml", "<b>{}</b>", html.escape, html.escape)
    notes = "".join(f"<li>{html.escape(note)}</li>\n" for note in table.notes)
    listed = f"<ul>\n{notes}</ul>\n" if notes else ""
    return f"<{heading}>{html.escape(table.title)}</{heading}>\n{grid}\n{listed}"
