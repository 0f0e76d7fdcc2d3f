r"""A table's numbers for the running text of a paper: ``\kdnum{kd/resnet56-resnet20/mean}``.

Keys are made of letters, digits and ``+ . _ -``, joined by slashes:

    METHOD/PAIR/mean, /std, /n      teacher/PAIR/mean
    METHOD/average                  mean over all pairs; "average-of-3" where a part is shown
    METHOD/delta                    points above the baseline; "delta-of-3" likewise
    METHOD/PAIR/validation-mean, METHOD/best-average, …     of the other tables

METHOD is the row's label, PAIR is TEACHER-STUDENT, both in lower case. TeX's command names have no
digits, hence one command that looks a key up.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from results import tables
from results.latex_text import escape_latex
from results.layout import Table, TableError
from results.leaderboard import Leaderboard
from results.selection import name_of

_NUMBER = re.compile(r"(?P<mean>\d+\.\d+)(?: ± (?P<std>\d+\.\d+))?(?: \(n=\d+\))?")
_INCOMPLETE = "incomplete: "
_AVERAGES = ("average", "delta")

# \ifcsname and \detokenize: keys may have underscores, and a number may stand in a caption. A file
# that is read twice is no problem, two numbers under one key are.
_COMMANDS = r"""
\makeatletter
\providecommand*{\kdnum}[1]{\ifcsname kdnum@\detokenize{#1}\endcsname
  \csname kdnum@\detokenize{#1}\endcsname\else\kdnum@unknown{#1}\fi}%
\protected\gdef\kdnum@unknown#1{\textbf{??}\PackageError{kdnum}{No number '\detokenize{#1}'}%
  {The key is misspelled, or its runs are not done: see the file of `table --macros'.}}%
\gdef\kdnum@define#1#2{\gdef\kdnum@new{#2}%
  \ifcsname kdnum@\detokenize{#1}\endcsname
    \expandafter\ifx\csname kdnum@\detokenize{#1}\endcsname\kdnum@new\else
      \PackageError{kdnum}{Two numbers '\detokenize{#1}'}%
        {Two tables have this key: give one of them another `--macros-prefix'.}\fi
  \else\expandafter\global\expandafter\let\csname kdnum@\detokenize{#1}\endcsname\kdnum@new\fi}%
"""


def macros(board: Leaderboard, best: bool = False, prefix: str = "") -> str:
    """Definitions for ``\\input``; values are as the tables print them, without the cost.

    best    also the numbers of the best epochs, as ``best-mean``, ``best-average``, …
    prefix  what all keys begin with, for a paper with several tables

    TableError where two labels or pairs give the same key.
    """
    start = f"{part_of_key(prefix)}/" if prefix else ""
    lines = [_line(start + key, text) for key, text in _numbers(board, best)]
    title = tables.all_of(board, cost=False)[0].title
    head = [
        "% Written by `benchmark.py table --macros`; write it anew rather than edit it.",
        f"% {' '.join(title.split())}",
    ]
    if board.all_pairs:
        head.append(f"% A part of the pairs: {len(board.pairs)} of {board.all_pairs}.")
    return "\n".join(head) + _COMMANDS + "\n".join([*lines, r"\makeatother"]) + "\n"


def _line(key: str, text: str) -> str:
    if text.startswith((_INCOMPLETE, tables.MISSING)):
        shown = " ".join(text.removeprefix(_INCOMPLETE).split())
        return f"% {key}: not complete, the table has {shown}"
    # In math, where a number may stand, there must be no dollar sign.
    value = escape_latex(text).replace("$-$", r"\ensuremath{-}")
    return rf"\kdnum@define{{{key}}}{{{value}}}%"


def part_of_key(text: str) -> str:
    """A label or a pair in a key: "AT | hints_1" is "at-hints_1", "λ → b" is "lambda-b"."""
    latin = "".join(_latin(character) for character in text).lower()
    key = re.sub(r"[^a-z0-9+._]+", "-", latin).strip("-")
    if not key:
        raise TableError(f"--macros: {text!r} has no letter or digit to make a key of")
    return key


def _latin(character: str) -> str:
    """Greek letters by their LaTeX names; accents are dropped."""
    if unicodedata.name(character, "").startswith("GREEK"):
        return re.sub(r"\W", "", escape_latex(character))
    plain = unicodedata.normalize("NFKD", character)
    return "".join(c for c in plain if not unicodedata.combining(c))


def _numbers(board: Leaderboard, best: bool) -> Iterator[tuple[str, str]]:
    """Keys and what the tables print there."""
    rows = _keys(["Teacher", *board.methods], "labels")
    pairs = _keys(board.pairs, "pairs")
    trials = _trials(board)
    for i, table in enumerate(tables.all_of(board, best, cost=False)):
        kind = f"{table.title.split()[0].lower()}-" if i else ""
        for label, heading, text in _cells(table):
            if heading in pairs:
                place = f"{rows[label]}/{pairs[heading]}"
                parts = _parts(text, trials.get((label, heading)))
                yield from ((f"{place}/{kind}{what}", part) for what, part in parts)
            else:
                yield f"{rows[label]}/{kind}{_named(heading, board)}", text


def _trials(board: Leaderboard) -> dict[tuple[str, str], int]:
    """Label and pair -> the number of trials, where all of them are there."""
    cells = board.frame.to_dict("records")
    counts = {(cell["method"], cell["pair"]): cell["n"] for cell in cells if cell["complete"]}
    return counts | {("Teacher", pair): len(t.accuracies) for pair, t in board.teachers.items()}


def _cells(table: Table) -> Iterator[tuple[str, str, str]]:
    """Row's label, heading and text of each cell of a table of pairs that is not empty."""
    for row in table.rows if table.has_pairs else ():
        for heading, text in zip(table.header[1:], row[1:], strict=True):
            if text:
                yield row[0], heading, text


def _parts(text: str, trials: int | None) -> Iterator[tuple[str, str]]:
    """A cell's mean, standard deviation and number of trials; its text where it is incomplete."""
    match = _NUMBER.fullmatch(text)
    if not match or trials is None:
        yield "mean", _INCOMPLETE + text
        return
    yield "mean", match["mean"]
    if match["std"]:
        yield "std", match["std"]
    yield "n", str(trials)


def _named(heading: str, board: Leaderboard) -> str:
    name = name_of(heading, board.pairs)
    part = board.all_pairs and name in _AVERAGES
    return f"{name}-of-{len(board.pairs)}" if part else name


def _keys(texts: Sequence[str], kind: str) -> dict[str, str]:
    """Text -> its part of the key, which no two may share."""
    keys: dict[str, str] = {}
    for text in texts:
        key = part_of_key(text)
        if key in keys.values():
            other = next(known for known, its in keys.items() if its == key)
            raise TableError(
                f"--macros: the {kind} {other!r} and {text!r} have the same key {key!r}: change one"
            )
        keys[text] = key
    return keys
