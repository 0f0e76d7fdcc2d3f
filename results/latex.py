"""Tables as LaTeX: floats or long tables of the booktabs package, which fit a page."""

from __future__ import annotations

from collections.abc import Sequence

from results.latex_text import check, escape_latex
from results.layout import Style, Table, arranged, split
from results.render import SUPERSCRIPTS, grid

LONG = 30  # rows; more do not fit a page with their notes
# The text of LaTeX's article at 10 points; hardly a page has less, but for pages of two columns.
TEXT_WIDTH = 345.0
# Computer Modern's widths in em, to a hundredth; other characters are counted as `_LETTER`.
_EM = {
    character: width
    for characters, width in {
        ".,;:il'!|": 0.28, "fj": 0.31, " -": 0.34, "I_": 0.37, "()rst[]" + SUPERSCRIPTS: 0.4,
        "cez": 0.45, "0123456789ago/–*J": 0.51, "kvxyq": 0.53, "bdhnpuS": 0.56,
        "LZ": 0.63, "EFP": 0.69, "BCRTw": 0.74, "ADHNUVXY": 0.77, "GKOQ&+−±=<>×": 0.79,
        "m%": 0.84, "M": 0.92, "W…": 1.03, "→": 1.0,
    }.items()
    for character in characters
}  # fmt: skip
_LETTER, _BOLD = 0.7, 1.16
_POINTS, _GAP = 10.0, 12.0  # of an em, and between two columns
_SMALL_POINTS, _SMALL_GAP = 8.5, 6.0  # in \footnotesize, whose letters are wider for their height
_SMALL = r"\footnotesize\setlength{\tabcolsep}{3pt}"


def latex(tables: Sequence[Table], style: Style | None = None) -> str:
    """Floats, or long tables over `LONG` rows, each with its notes; what they need comes first."""
    style = style or Style()
    for table in tables:
        check(table)
    shown = arranged(tables, style.layout, TEXT_WIDTH, _small_width)
    is_turned = style.layout == "transposed"  # fifty methods are too many columns, too
    shown = [part for table in shown for part in _parts(table, is_turned or _is_long(table))]
    texts = []
    for table, label in zip(shown, [style.label, *[""] * len(shown)], strict=False):
        is_small = style.layout != "wide" or _is_long(table)
        bare = style.only_tabular
        texts.append(_bare(table, is_small) if bare else _whole(table, is_small, label))
    return "\n".join([_comments(texts), *texts])


def _is_long(table: Table) -> bool:
    """Whether it has a row for every pair and method: scaled to a page they could not be read."""
    return table.is_list and len(table.rows) > LONG


def _parts(table: Table, is_split: bool) -> list[Table]:
    return split(table, TEXT_WIDTH, _small_width) if is_split else [table]


def _comments(texts: Sequence[str]) -> str:
    """What the preamble needs, and advice where a table was scaled down."""
    code = "\n".join(texts)
    packages = ["booktabs"]
    packages += ["longtable"] * (r"\begin{longtable}" in code)
    packages += ["adjustbox"] * (r"\begin{adjustbox}" in code)
    lines = [f"% Needs in the preamble: \\usepackage{{{','.join(packages)}}}"]
    if "adjustbox" in packages:
        lines.append("% Scaled down where wider than the page: --layout split prints larger.")
    return "\n".join(lines) + "\n"


def _whole(table: Table, is_small: bool, label: str) -> str:
    caption = rf"\caption{{{escape_latex(table.title)}}}"
    caption += rf"\label{{{label}}}" if label else ""
    notes = [rf"\par {escape_latex(note)}" for note in table.notes]
    below = [r"{\raggedright\footnotesize\smallskip", *notes, r"\par}"] if notes else []
    if not is_small and _is_too_wide(table):
        lines = _float(caption, _scaled(_tabular(table)), below)
    elif len(table.rows) > LONG:
        lines = [*_long(table, caption, is_small), *below]
    else:
        lines = _float(caption, [*[_SMALL] * is_small, *_tabular(table)], below)
    return "\n".join(lines) + "\n"


def _bare(table: Table, is_small: bool) -> str:
    """The tabular alone, for a float of the paper's own."""
    lines = _tabular(table)
    if is_small:
        lines = [rf"{{{_SMALL}", *lines, "}"]
    elif _is_too_wide(table):
        lines = _scaled(lines)
    return "\n".join([f"% {' '.join(table.title.split())}", *lines]) + "\n"


def _float(caption: str, body: Sequence[str], below: Sequence[str]) -> list[str]:
    return [r"\begin{table}[htbp]", r"\centering", caption, *body, *below, r"\end{table}"]


def _scaled(tabular: Sequence[str]) -> list[str]:
    """Also in height: fifty rows are higher than a page."""
    size = r"max width=\linewidth,max totalheight=0.8\textheight"
    begin = rf"{{\setlength{{\tabcolsep}}{{3pt}}\begin{{adjustbox}}{{{size}}}"
    return [begin, *tabular, r"\end{adjustbox}}"]


def _tabular(table: Table) -> list[str]:
    """tabulate's own booktabs style escapes cells, so its raw style gets the rules here."""
    text = grid(table, "latex_raw", r"\textbf{{{}}}", escape_latex, _stacked)
    rules = iter([r"\toprule", r"\midrule", r"\bottomrule"])
    return [next(rules) if line == r"\hline" else line for line in text.split("\n")]


def _long(table: Table, caption: str, is_small: bool) -> list[str]:
    """A table over several pages, its header on each."""
    begin, top, header, middle, *rows, bottom, _ = _tabular(table)
    return [
        r"\begingroup" + _SMALL * is_small,
        begin.replace("tabular", "longtable"),
        rf"{caption} \\",
        *[top, header, middle, r"\endfirsthead"],
        *[top, header, middle, r"\endhead"],
        *[bottom, r"\endfoot"],
        *rows,
        r"\end{longtable}",
        r"\endgroup",
    ]


def _stacked(text: str) -> str:
    """A pair's heading as in the papers, teacher over student, or the page is too narrow."""
    parts = [escape_latex(part) for part in text.split("→")]
    joined = r" \\ ".join(parts)
    return joined if len(parts) == 1 else rf"\shortstack[r]{{{joined}}}"


def _is_too_wide(table: Table) -> bool:
    columns = range(len(table.header))
    return sum(_ems(table, column) * _POINTS + _GAP for column in columns) > TEXT_WIDTH


def _small_width(table: Table, column: int) -> float:
    return _ems(table, column) * _SMALL_POINTS + _SMALL_GAP


def _ems(table: Table, column: int) -> float:
    """The width of a column's widest text."""
    widths = [_em(part) for part in table.header[column].split("→")]
    for i, row in enumerate(table.rows):
        widths.append(_em(row[column]) * (_BOLD if (i, column) in table.bold else 1))
    return max(widths)


def _em(text: str) -> float:
    return sum(_EM.get(character, _LETTER) for character in text)
