"""Text for pdflatex: each character is shown, translated, or refused by name."""

from __future__ import annotations

import pytest

from results.latex_text import LatexError, escape_latex
from tests.results.example import GREEK, SYMBOLS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5% of $3 #1 {x}", r"a\_b \& 5\% of \$3 \#1 \{x\}"),
        ("\\ ~ ^ `", r"\textbackslash{} \textasciitilde{} \textasciicircum{} \textasciigrave{}"),
        ("70.50 ± 0.20 – n/a¹²", r"70.50 $\pm$ 0.20 -- n/a$^{1}$$^{2}$"),
        ("r56 → r20 × 2", r"r56 $\rightarrow$ r20 $\times$ 2"),
        ("[x] --pair", "{[}x] -{}-pair"),
        ("ε ≠ ∞", r"$\varepsilon$ $\neq$ $\infty$"),
        ("ℓ₂ a⁻¹ ½", r"$\ell$$_{2}$ a$^{-}$$^{1}$ ½"),
        ("ℒ, 𝒯, ℝ, 𝑥", r"$\mathcal{L}$, $\mathcal{T}$, $\mathbf{R}$, $x$"),
        (
            "Müller, Ẑ, ǐ, e\u0301, ﬁ, ą",
            r"Müller, \^{Z}, \v{\i}, é, fi, {\fontencoding{T1}\selectfont ą}",
        ),
        ("a\u00a0b\u2003c", "a~b c"),
        ("--- ''x'' – —", r"-{}-{}- '{}'x'{}' -- ---"),
        ("ΑΒΧ Ω ο ς ϑ ϕ", r"ABX $\Omega$ $o$ $\varsigma$ $\vartheta$ $\phi$"),
    ],
)
def test_escape_latex(text, expected):
    assert escape_latex(text) == expected


def test_every_greek_letter_has_its_own_translation():
    translated = [escape_latex(letter) for letter in GREEK.replace(" ", "")]
    assert len(set(translated)) == len(translated) >= 49
    assert all(text.isascii() and text for text in translated)


def test_nothing_vanishes():
    """Every character up to U+2FFF is refused or leaves something."""
    for code in range(0x21, 0x3000):
        character = chr(code)
        try:
            text = escape_latex(f"a{character}b")
        except LatexError as error:
            assert "(U+" in str(error) and "\n" not in str(error)
        else:
            assert text != "ab", f"U+{code:04X}"


def test_symbols_are_translated():
    assert escape_latex(SYMBOLS).isascii()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("KD \N{PARTY POPPER}", "U+1F389, PARTY POPPER"),
        ("蒸馏", "U+84B8, CJK UNIFIED IDEOGRAPH-84B8"),
        ("a\u200bb", "U+200B, ZERO WIDTH SPACE"),
        ("a\x00b", "U+0000"),
        ("ế", "U+1EBF"),
        ("①", "U+2460"),
        ("ħ̂", "U+0302"),
        ("\ud800", "U+D800"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(text, named):
    with pytest.raises(LatexError, match="latex: label ") as caught:
        escape_latex(text, "label")
    assert f"({named}" in str(caught.value)
