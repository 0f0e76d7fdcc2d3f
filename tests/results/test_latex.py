"""LaTeX: what is written, and that a TeX makes pages of it on which everything fits."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from results.formats import to_text
from results.latex import LONG, latex
from results.latex_text import LatexError
from results.layout import LAYOUTS, Style, Table
from tests.results.example import GREEK, NASTY, SYMBOLS, board, large_board
from tests.results.test_leaderboard import make

TABLE = Table("T", ["Method", "x"], [["a|b", "70.50"], ["7e2", "1"]], frozenset({(0, 1)}), ["n_"])
LEAST = Table("T", ["Method", "x"], [["a", "1"]] * (LONG + 1))


def lines(*tables: Table, **style: object) -> list[str]:
    text = latex(tables, Style(**style))
    return [" ".join(line.split()) for line in text.splitlines() if line]


def test_a_float_with_its_rules_and_notes():
    assert lines(TABLE) == [
        r"% Needs in the preamble: \usepackage{booktabs}",
        r"\begin{table}[htbp]",
        r"\centering",
        r"\caption{T}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"Method & x \\",
        r"\midrule",
        r"a\textbar{}b & \textbf{70.50} \\",
        r"7e2 & 1 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"{\raggedright\footnotesize\smallskip",
        r"\par n\_",
        r"\par}",
        r"\end{table}",
    ]


def test_a_label_is_the_first_tables():
    text = "\n".join(lines(TABLE, TABLE, label="tab:main"))
    assert text.count(r"\caption{T}\label{tab:main}") == text.count(r"\label") == 1


def test_only_tabular():
    shown = lines(TABLE, only_tabular=True)
    assert shown[1:3] == ["% T", r"\begin{tabular}{lr}"]
    assert shown[-1] == r"\end{tabular}"
    assert "longtable" not in "\n".join(lines(LEAST, only_tabular=True))


def test_over_thirty_rows_is_a_long_table():
    text = "\n".join(lines(LEAST))
    assert r"\begin{longtable}{lr}" in text and r"\begin{table}" not in text
    assert r"\usepackage{booktabs,longtable}" in text
    assert text.count(r"Method & x \\") == 2  # on the first page and on the next ones
    assert "longtable" not in "\n".join(lines(replace(LEAST, rows=LEAST.rows[:LONG])))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_every_number(layout):
    made = large_board(methods=12)
    text = to_text(made, "latex", style=Style(layout=layout, cost=False, notes=False))
    printed = re.findall(r"\d\d\.\d\d(?: \$\\pm\$ \d\.\d\d)", text)
    cells = made.frame.dropna(subset=["mean"])
    assert len(printed) == len(cells) == 12 * 13 - 1
    assert text.isascii()


def test_the_example():
    text = to_text(board(), "latex")
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 3
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert r"\shortstack[r]{resnet56 \\ resnet20}" in text
    assert r"AT \textbar{} hints\_1" in text
    assert r"\textbf{67.30 $\pm$ 0.10}" in text and "n/a$^{1}$" in text
    assert text.isascii()


# ---- pages ---------------------------------------------------------------------------------------

PREAMBLE = r"\documentclass{article}\usepackage{booktabs,longtable,adjustbox}"
STYLES = [
    *(Style(layout=layout, caption="A & B_1", label="tab:x") for layout in LAYOUTS),
    *(Style(layout=layout, only_tabular=True, cost=False) for layout in ("wide", "split")),
]


@pytest.fixture(scope="module")
def tex() -> str:
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("no pdflatex here")
    for package in ("booktabs", "longtable", "adjustbox"):
        found = subprocess.run(["kpsewhich", f"{package}.sty"], capture_output=True, text=True)
        if not found.stdout:
            pytest.skip(f"the TeX here lacks {package}.sty")
    return program


@pytest.mark.parametrize("style", STYLES, ids=lambda s: s.layout + "-bare" * s.only_tabular)
def test_thirteen_pairs_and_fifty_methods_fit_the_page(tex, tmp_path, style):
    body = to_text(large_board(), "latex", best=True, style=style)
    assert compiled(tex, tmp_path, body) <= 3.0  # points


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_small_board_fits_too(tex, tmp_path, layout):
    body = to_text(board(), "latex", best=True, style=Style(layout=layout))
    assert compiled(tex, tmp_path, body) <= 3.0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_label_that_is_accepted_is_set(tex, tmp_path, layout):
    """The whole Greek alphabet, what TeX has a meaning for, and typography."""
    text = f"{NASTY} {GREEK} {SYMBOLS}"
    labels = [text[i : i + 12] for i in range(0, len(text), 12)]
    made = make({label: {"a_1 → b": [70.0, 71.0], "µ → Å": [60.0, 60.5]} for label in labels})
    style = Style(layout=layout, caption=f"{NASTY} {GREEK}")
    assert compiled(tex, tmp_path, to_text(made, "latex", best=True, style=style)) <= 3.0


def test_a_label_that_cannot_be_set_is_named():
    made = make({"KD": {"p → q": [70.0]}, "KD \N{PARTY POPPER}": {"p → q": [71.0]}})
    with pytest.raises(LatexError, match=r"label 'KD .*U\+1F389, PARTY POPPER"):
        to_text(made, "latex")
    made = make({"KD": {"蒸 → q": [70.0]}})
    with pytest.raises(LatexError, match=r"pair '蒸 → q': .*U\+84B8"):
        to_text(made, "latex", style=Style(layout="transposed"))
    with pytest.raises(LatexError, match=r"caption 'A\\u200b'"):
        to_text(board(), "latex", style=Style(caption="A\u200b"))


def compiled(tex: str, folder: Path, body: str) -> float:
    """By how many points the worst line is too wide; fails where a page is too high."""
    source = folder / "page.tex"
    source.write_text(f"{PREAMBLE}\n\\begin{{document}}\n{body}\n\\end{{document}}\n")
    command = [tex, "-interaction=nonstopmode", "-halt-on-error", source.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Float too large" not in done.stdout
    excess = re.findall(r"Overfull \\[hv]box \(([\d.]+)pt too", done.stdout)
    return max(map(float, excess), default=0.0)
