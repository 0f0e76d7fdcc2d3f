from __future__ import annotations

import html

import pytest

from results.render import Table, escape_latex, escape_markdown, html_fragment, latex, markdown
from results.render import superscript as up


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("50 % *x*", r"50 % \*x\*"),
        ("my_method_2", "my_method_2"),
        ("_x_ and _", r"\_x\_ and \_"),
        ("<b>[x](y)", r"\<b>\[x](y)"),
        ("two\nlines", "two lines"),
        ("back\\slash `code`", r"back\\slash \`code\`"),
    ],
)
def test_escape_markdown(text, expected):
    assert escape_markdown(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5% of $3 #1 {x}", r"a\_b \& 5\% of \$3 \#1 \{x\}"),
        ("\\ ~ ^", r"\textbackslash{} \textasciitilde{} \textasciicircum{}"),
        ("70.50 ± 0.20 – n/a¹²", r"70.50 $\pm$ 0.20 -- n/a$^{1}$$^{2}$"),
        ("r56 → r20 × 2", r"r56 $\rightarrow$ r20 $\times$ 2"),
        ("[x]", "{[}x]"),
    ],
)
def test_escape_latex(text, expected):
    assert escape_latex(text) == expected


def test_superscript():
    assert up(1) == "¹" and up(20) == "²⁰"


TABLE = Table("T", ["Method", "x"], [["a|b", "70.50"], ["7e2", "1"]], frozenset({(0, 1)}), ["n_"])


def test_markdown_keeps_numbers_as_they_are_printed():
    assert markdown([TABLE, Table("U", ["M"], [["m"]])]) == (
        "## T\n\n"
        "| Method   |         x |\n"
        "|:---------|----------:|\n"
        "| a\\|b     | **70.50** |\n"
        "| 7e2      |         1 |\n"
        "\n- n\\_\n"
        "\n### U\n\n| M   |\n|:----|\n| m   |\n"
    )


def test_latex():
    lines = [" ".join(line.split()) for line in latex([TABLE]).splitlines()]
    assert lines == [
        r"\begin{table}",
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
        r"\par\footnotesize n\_",
        r"\end{table}",
    ]


def test_html_escapes():
    nasty = "<script>alert('x')</script> & |"
    text = html_fragment([Table(nasty, [nasty, "x"], [[nasty, "1"]], notes=[nasty])])
    assert "<script>" not in text
    assert text.count(html.escape(nasty)) == 4
    assert text.startswith('<meta charset="utf-8">\n<h2>')
