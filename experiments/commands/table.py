"""`table`: the leaderboard of what is done."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.activity import activity
from experiments.commands import terminal
from experiments.commands.common import Verbs, add_matrix_verb, planned
from experiments.commands.table_file import deliver

if TYPE_CHECKING:
    from experiments.commands.reference import Source
    from results.layout import Style
    from results.leaderboard import Leaderboard

# Those of results.formats, which imports pandas (a test compares them), by their files' endings.
# An ending without its dot is another name of the format.
FORMATS = {
    "markdown": (".md", ".markdown"),
    "csv": (".csv",),
    "latex": (".tex", ".latex"),
    "json": (".json",),
    "html": (".html", ".htm"),
}
DIAGRAMS = (".svg", ".pdf", ".png")  # those of results.diagram (the same test)
LAYOUTS = ("wide", "transposed", "split")  # those of results.layout (the same test)
_ENDINGS = {ending: name for name, endings in FORMATS.items() for ending in endings}
_PRINTED = ("markdown", "latex", "html")  # the formats for people
_USES = {  # flag -> the formats that it makes sense for
    "--layout": _PRINTED,
    "--caption": _PRINTED,
    "--label": ("latex",),
    "--only-tabular": ("latex",),
    "--no-cost": _PRINTED,
    "--no-notes": _PRINTED,
    "--each": ("csv", "json"),
    "--columns": _PRINTED,
    "--macros": ("latex",),
    "--macros-prefix": ("latex",),
}


def table(args: argparse.Namespace) -> int:
    """Print the leaderboard, write it to a file, or check that a file is up to date."""
    form = _format(args)
    _check_flags(args, form)
    from experiments.commands import published
    from experiments.commands.board import board_of, with_measures
    from results.garbage import no_collection

    measures = _measures(args.measures) if args.measures else []
    plan = planned(args, strict=False)
    references = _references(args)
    with activity("making the table"), no_collection():
        board = board_of(plan, references, args.baseline, args.level)
        if measures:
            board = with_measures(board, plan, references, measures)
        board = published.beside(_sorted(board, args.sort), plan, args.published)
        text = _text(args, form, board)
        files = [(_file(args), text), (args.macros, _macros(args, board))]
    if args.diagram:
        _draw(args.diagram, board)
    if not _file(args):
        print(text, end="" if text.endswith("\n") else "\n")
    done = [deliver(path, content, bool(args.check)) for path, content in files if path]
    if not board.frame["n"].any():
        print(f"note: no results of this matrix in {plan.workspace.runs}", file=sys.stderr)
    return 0 if all(done) else 1


def _sorted(board: Leaderboard, column: str) -> Leaderboard:
    from results import selection

    known = {_tidy(name): name for name in selection.sort_columns(board)}
    if _tidy(column) not in known:
        from experiments.errors import InputError
        from models.registry import near

        raise InputError(f"--sort: no column {column!r}: {near(column, known.values())}")
    return selection.sorted_by(board, known[_tidy(column)])


def _tidy(column: str) -> str:
    """A pair however it is written; other names as they are."""
    return "->".join(part.strip() for part in column.lower().replace("→", "->").split("->"))


def _draw(path: Path, board: Leaderboard) -> None:
    """Write the critical-difference diagram, and say so on standard error: the table is output."""
    from experiments.errors import InputError
    from results import diagram, records

    try:
        records.write_atomic(path, diagram.draw(board, path.suffix.lower()))
    except diagram.DiagramError as error:
        raise InputError(f"--diagram {path}: {error}") from error
    print(f"wrote {path}", file=sys.stderr)


def _references(args: argparse.Namespace) -> list[Source]:
    """The finished runs beside which the matrix's are shown."""
    from experiments.commands import places, reference
    from experiments.errors import InputError

    if args.reference and args.transfer:
        raise InputError("--reference: not with --transfer: probes have no teacher to compare")
    places.check(args.reference, "--reference ")
    return reference.read(args.reference)


def _text(args: argparse.Namespace, form: str, board: Leaderboard) -> str:
    from results import formats

    if args.each and form == "csv":
        return formats.trials_csv(board)
    width = terminal.columns() if not (_file(args) or args.format) else None
    if width is not None and args.layout is None:
        return _fitted(board, width, args.best, _style(args, width))
    return formats.to_text(board, form, args.best, _style(args, width))


def _macros(args: argparse.Namespace, board: Leaderboard) -> str:
    if not args.macros:
        return ""
    from results.macros import macros

    return macros(board, args.best, args.macros_prefix)


def _fitted(board: Leaderboard, width: int, best: bool, style: Style) -> str:
    """Markdown that fits the terminal, and a last line that says how."""
    from results import formats

    text, how = formats.fitted(board, width, best, style)
    if not how:
        return text
    # A long label beside a long pair may still be too wide.
    lines = [terminal.cut(x, width) if x.startswith("|") else x for x in text.splitlines()]
    hint = f"({how} to fit {width} columns; as one wide table: --format markdown, or a pipe)"
    return "\n".join([*lines, "", hint]) + "\n"


def _style(args: argparse.Namespace, width: int | None) -> Style:
    from results.layout import Style

    style = Style(
        layout=args.layout or "wide",
        cost=not args.no_cost,
        notes=not args.no_notes,
        caption=args.caption or "",
        label=args.label or "",
        only_tabular=args.only_tabular,
        columns=tuple(args.columns),
    )
    return Style(**{**vars(style), "width": width}) if width else style


def _measures(text: str) -> list[str]:
    """Names of measures, given as "nll,ece"."""
    from experiments.errors import InputError
    from models.registry import near
    from results.measure_tables import MEASURES

    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in MEASURES:
            raise InputError(f"--measures: unknown measure {name!r}: {near(name, MEASURES)}")
    return names


# ---- flags ---------------------------------------------------------------------------------------


def _format(args: argparse.Namespace) -> str:
    """As given, else by the ending of the file, else markdown."""
    from experiments.errors import InputError

    path = _file(args)
    if args.format or not path:
        return args.format or "markdown"
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        known = ", ".join(_ENDINGS)
        what = f"unknown ending {ending!r}" if ending else "no ending"
        flag = "--check" if args.check else "--output"
        raise InputError(f"{flag} {path}: {what}: expected one of {known}, or --format")
    return _ENDINGS[ending]


def _file(args: argparse.Namespace) -> Path | None:
    """The file to write or to check; None to print."""
    return args.check or args.output


def _check_flags(args: argparse.Namespace, form: str) -> None:
    """Raise InputError for a flag that would be ignored."""
    from experiments.errors import InputError

    for flag, forms in _USES.items():
        if getattr(args, flag[2:].replace("-", "_")) and form not in forms:
            raise InputError(f"{flag}: only for {', '.join(forms)}, not for {form}")
    if args.diagram and args.diagram.suffix.lower() not in DIAGRAMS:
        raise InputError(f"--diagram {args.diagram}: expected an ending of {', '.join(DIAGRAMS)}")
    if args.check and args.output:
        raise InputError("--check: it writes nothing; drop it or --output")
    if args.macros_prefix and not args.macros:
        raise InputError("--macros-prefix: only with --macros")
    if args.macros and not _file(args):
        raise InputError("--macros: needs --output or --check, a file for the table itself")
    for flag in ("--caption", "--label"):
        if args.only_tabular and getattr(args, flag[2:]):
            raise InputError(f"{flag}: a bare tabular has none; drop it or --only-tabular")


def _format_name(text: str) -> str:
    """Parse a format's name, or another name of it such as "tex"."""
    names = {name: name for name in FORMATS} | {e[1:]: name for e, name in _ENDINGS.items()}
    if text.lower() not in names:
        raise argparse.ArgumentTypeError(f"{text!r}: expected one of {', '.join(names)}")
    return names[text.lower()]


def _column(text: str) -> str:
    """Parse the name of a column."""
    from results.selection import COLUMNS

    if text not in COLUMNS:
        from models.registry import near  # imports torch

        raise argparse.ArgumentTypeError(f"no column {text!r}: {near(text, COLUMNS)}")
    return text


def _label(text: str) -> str:
    r"""Parse what LaTeX takes in \label."""
    if not re.fullmatch(r"[\w:.+/ -]+", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}: expected letters, digits and : . _ + / -")
    return text


def _level(text: str) -> float:
    """Parse a level of significance."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= 0.5:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0.001 to 0.5")
    return value


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_matrix_verb(verbs, "table", table)
    verb.add_argument(
        "--format",
        type=_format_name,
        metavar="{markdown|md, latex|tex, html|htm, csv, json}",
        help="write this format (default: by the ending of --output, else markdown)",
    )
    verb.add_argument("--output", type=Path, help="write to this file")
    verb.add_argument(
        "--baseline",
        metavar="METHOD",
        help="compare with this row (default: the student alone, if the matrix trains it)",
    )
    verb.add_argument(
        "--level",
        type=_level,
        default=0.05,
        help="share of tables that may hold a false verdict (default: 0.05)",
    )
    verb.add_argument(
        "--diagram", type=Path, help="also draw a critical-difference diagram (svg, pdf, png)"
    )
    verb.add_argument(
        "--check",
        type=Path,
        metavar="FILE",
        help="write nothing; exit code 1 unless FILE is what would be written now",
    )
    verb.add_argument(
        "--reference",
        nargs="+",
        type=Path,
        default=[],
        metavar="BOARD",
        help="add rows of the finished runs of these board files or runs directories, "
        "where everything but the method is the same",
    )
    verb.add_argument("--best", action="store_true", help="add the best epochs' accuracies")
    verb.add_argument(
        "--measures",
        metavar="NAME,…",
        help="add tables of top5, nll, ece, ece_adaptive, brier, agreement, kl",
    )
    verb.add_argument("--each", action="store_true", help="csv: one row per run, with its options")
    verb.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="wide: pairs as columns (default); transposed: pairs as rows; "
        "split: columns in parts that fit the page",
    )
    verb.add_argument(
        "--sort",
        metavar="COLUMN",
        default="none",
        help="order of the methods: average, delta, a pair, method, or none (that of the matrix)",
    )
    verb.add_argument(
        "--columns",
        nargs="+",
        type=_column,
        default=[],
        metavar="NAME",
        help="show only these: pairs, average, delta, coverage, verdict, rank, cost, or columns "
        "of the cost: time, images, step, parameters, parameters-at-test, memory",
    )
    verb.add_argument(
        "--published",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="put published results beside ours, a table for each source (`list published`)",
    )
    verb.add_argument("--no-cost", action="store_true", help="leave out the table of costs")
    verb.add_argument("--no-notes", action="store_true", help="leave out what is below the tables")
    verb.add_argument("--caption", metavar="TEXT", help="title of the first table")
    verb.add_argument("--label", type=_label, help=r"latex: the first table's \label")
    verb.add_argument(
        "--macros", type=Path, metavar="FILE", help=r"latex: write \kdnum{KEY} for each number, too"
    )
    verb.add_argument(
        "--macros-prefix", metavar="TEXT", default="", help="what the keys begin with"
    )
    verb.add_argument(
        "--only-tabular", action="store_true", help="latex: without floats, captions and notes"
    )
