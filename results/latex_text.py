"""Plain text for pdflatex: escaped, translated, or refused by name; nothing is left out.

What comes out needs no package and no other font encoding than LaTeX's default. Letters up to
`_LATIN` are passed on as they are: LaTeX's default input encoding knows them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from results.layout import Table, TableError
from results.render import SUPERSCRIPTS

_MATH = {  # the commands of LaTeX's math mode, without packages
    # Unicode's ε, θ, φ are the letters that LaTeX calls varepsilon, theta, varphi.
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "varepsilon": "ε", "zeta": "ζ",
    "eta": "η", "theta": "θ", "iota": "ι", "kappa": "κϰ", "lambda": "λ", "mu": "μµ", "nu": "ν",
    "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "varsigma": "ς", "tau": "τ", "upsilon": "υ",
    "varphi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "epsilon": "ϵ", "vartheta": "ϑ",
    "phi": "ϕ", "varrho": "ϱ", "varpi": "ϖ",
    "Gamma": "Γ", "Delta": "Δ∆", "Theta": "Θϴ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π",
    "Sigma": "Σ", "Upsilon": "Υ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
    "rightarrow": "→", "leftarrow": "←", "leftrightarrow": "↔", "uparrow": "↑", "downarrow": "↓",
    "Rightarrow": "⇒", "Leftarrow": "⇐", "Leftrightarrow": "⇔", "mapsto": "↦", "nearrow": "↗",
    "searrow": "↘",
    "pm": "±", "mp": "∓", "times": "×", "div": "÷", "cdot": "·⋅", "ast": "∗", "circ": "∘",
    "oplus": "⊕", "ominus": "⊖", "otimes": "⊗", "odot": "⊙", "geq": "≥", "leq": "≤", "neq": "≠",
    "approx": "≈", "equiv": "≡", "sim": "∼", "simeq": "≃", "cong": "≅", "ll": "≪", "gg": "≫",
    "propto": "∝", "infty": "∞", "in": "∈", "notin": "∉", "ni": "∋", "subset": "⊂",
    "subseteq": "⊆", "supset": "⊃", "supseteq": "⊇", "cup": "∪", "cap": "∩", "emptyset": "∅",
    "setminus": "∖", "forall": "∀", "exists": "∃", "neg": "¬", "wedge": "∧", "vee": "∨",
    "sum": "∑", "prod": "∏", "int": "∫", "surd": "√", "partial": "∂", "nabla": "∇", "ell": "ℓ",
    "hbar": "ħℏ", "Re": "ℜ", "Im": "ℑ", "aleph": "ℵ", "perp": "⊥", "parallel": "∥", "mid": "∣",
    "Vert": "‖", "top": "⊤", "langle": "⟨", "rangle": "⟩", "lfloor": "⌊", "rfloor": "⌋",
    "lceil": "⌈", "rceil": "⌉", "prime": "′", "star": "⋆★",
}  # fmt: skip
_CAPITALS = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABEZHIKMNOPTX", strict=True))  # LaTeX has no own for these
_TEXT = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}", "|": r"\textbar{}", "<": "$<$", ">": "$>$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "[": "{[}",  # at the start of a row it would be the option of the \\ before it
    "\u00a0": "~", "\u202f": r"\,", "–": "--", "‒": "--", "—": "---", "―": "---",
    "‐": "-", "‑": "-", "−": "$-$",
    "…": r"\ldots{}", "“": r"\textquotedblleft{}", "”": r"\textquotedblright{}", "„": ",,",
    "‘": r"\textquoteleft{}", "’": r"\textquoteright{}", "‚": ",",
    "«": r"\raisebox{0.2ex}{$\scriptscriptstyle\ll$}",
    "»": r"\raisebox{0.2ex}{$\scriptscriptstyle\gg$}",
    "‹": r"\raisebox{0.2ex}{$\scriptscriptstyle<$}",
    "›": r"\raisebox{0.2ex}{$\scriptscriptstyle>$}",
    "§": r"\S{}", "†": r"\dag{}", "‡": r"\ddag{}", "•": r"\textbullet{}", "°": r"$^{\circ}$",
    "€": r"\texteuro{}", "™": r"\texttrademark{}", "″": "$''$", "✓": r"$\surd$", "ο": "$o$",
    **_CAPITALS,
    **{character: rf"$\{name}$" for name, same in _MATH.items() for character in same},
    **{mark: f"$^{{{digit}}}$" for digit, mark in enumerate(SUPERSCRIPTS)},
}  # fmt: skip
_LATIN = 0x17F  # the last of the accented letters that LaTeX knows
_NOT_IN_OT1 = frozenset("ÐÞðþĄąĐđĘęĮįŊŋŲų")  # letters that only the encoding T1 has
_UNKNOWN_LATIN = frozenset("ĦĸĿŀŉŦŧſ")
_ACCENTS = {
    "\u0300": r"\`", "\u0301": r"\'", "\u0302": r"\^", "\u0303": r"\~", "\u0304": r"\=",
    "\u0306": r"\u", "\u0307": r"\.", "\u0308": r'\"', "\u030a": r"\r", "\u030b": r"\H",
    "\u030c": r"\v", "\u0323": r"\d", "\u0327": r"\c", "\u0331": r"\b",
}  # fmt: skip
_BELOW = "\u0323\u0327\u0331"
_SPACES = re.compile(r"[^\S\u00a0\u202f]+")  # all but those that do not break
# An accented letter; what TeX would join with its neighbor to a dash or a quotation mark; others.
_CLUSTER = re.compile(r"[A-Za-z][\u0300-\u036f]+|-(?=-)|'(?=')|.", re.DOTALL)


class LatexError(TableError):
    """A text that pdflatex cannot set; the message is one line with the character and its place."""


def escape_latex(text: str, where: str = "") -> str:
    """Plain text that shows as it is; two hyphens are no dash.

    LatexError, about ``where`` ("label", …), for a character that has no translation.
    """
    flat = _SPACES.sub(" ", unicodedata.normalize("NFC", text)).strip(" ")
    try:
        return "".join(_cluster(part) for part in _CLUSTER.finditer(flat))
    except _CharacterError as refused:
        place = f"{where} {text!r}" if where else repr(text)
        raise LatexError(
            f"latex: {place}: pdflatex cannot set {_named(str(refused))}: expected Latin, Greek "
            "or common mathematics"
        ) from None


def check(table: Table) -> None:
    """Raise LatexError where a text of the table cannot be set; it says which one it is."""
    escape_latex(table.title, "caption")
    for text in table.header:
        escape_latex(text, "pair" if "→" in text else "heading")
    for row in table.rows:
        for kind, text in zip(["label", *["cell"] * len(row)], row, strict=False):
            escape_latex(text, kind)
    for text in table.notes:
        escape_latex(text, "note (--no-notes leaves them out)")


class _CharacterError(ValueError):
    """One character that cannot be set."""


def _named(character: str) -> str:
    r"""'🎉' (U+1F389, PARTY POPPER)"""
    name = unicodedata.name(character, "no character")
    return f"{character!r} (U+{ord(character):04X}, {name})"


def _cluster(part: re.Match[str]) -> str:
    """A character, or a Latin letter with its combining accents."""
    character, marks = part[0][0], part[0][1:]
    if marks:
        return _accented(character, marks)
    is_joined = character in "-'" and part.string.startswith(character, part.end())
    return _escaped(character) + "{}" * is_joined


def _escaped(character: str) -> str:
    if character in _TEXT:
        return _TEXT[character]
    if character in _NOT_IN_OT1:
        return rf"{{\fontencoding{{T1}}\selectfont {character}}}"
    is_letter = " " <= character <= "~" or 0xA0 < ord(character) <= _LATIN
    if is_letter and character not in _UNKNOWN_LATIN:
        return character
    return _decomposed(character)


def _accented(letter: str, marks: Sequence[str]) -> str:
    """One accent, as in \\v{Z}; TeX cannot stack two."""
    if len(marks) > 1 or marks[0] not in _ACCENTS:
        raise _CharacterError(marks[-1])
    above = marks[0] not in _BELOW
    dotless = {"i": r"\i", "j": r"\j"}.get(letter, letter) if above else letter
    return f"{_ACCENTS[marks[0]]}{{{dotless}}}"


def _decomposed(character: str) -> str:
    """By what Unicode says it is made of: accents, raised and lowered letters, styled letters."""
    parts = unicodedata.decomposition(character).split()
    kind = parts.pop(0) if parts and parts[0].startswith("<") else ""
    made_of = "".join(chr(int(part, 16)) for part in parts)
    if not made_of or any(unicodedata.combining(part) for part in made_of if kind):
        raise _CharacterError(character)
    try:
        return _composed(character, kind, made_of)
    except _CharacterError:
        raise _CharacterError(character) from None  # the one that the reader sees


def _composed(character: str, kind: str, made_of: str) -> str:
    if not kind:
        decomposed = unicodedata.normalize("NFD", character)
        if decomposed[0].isascii() and len(decomposed) > 1:
            return _accented(decomposed[0], decomposed[1:])
        return "".join(map(_escaped, made_of)) if len(made_of) == 1 else _refuse(character)
    plain = "".join(map(_escaped, made_of))
    if kind in ("<super>", "<sub>") and plain.isascii():
        shift = "^" if kind == "<super>" else "_"
        return f"${shift}{{{plain.replace('$', '')}}}$"
    if kind == "<font>":
        return _styled(unicodedata.name(character), plain.replace("$", ""))
    return plain if kind in ("<compat>", "<wide>", "<narrow>") else _refuse(character)


def _styled(name: str, plain: str) -> str:
    """Mathematical letters: ℒ is calligraphic, ℝ bold as in books without a font for it."""
    if "SCRIPT CAPITAL" in name:
        return rf"$\mathcal{{{plain}}}$"
    bold = any(style in name for style in ("BOLD", "DOUBLE-STRUCK"))
    return rf"$\mathbf{{{plain}}}$" if bold else f"${plain}$"


def _refuse(character: str) -> str:
    raise _CharacterError(character)
