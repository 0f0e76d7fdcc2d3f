"""`table`: its flags, what they take, and which of them exclude each other."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from experiments.commands.arguments import output_file

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
    "--curves": ("csv",),
    "--columns": _PRINTED,
    "--macros": ("latex",),
    "--macros-prefix": ("latex",),
}

# What `--pivot` and `--ladder`, which print other tables, have no use for.
_OF_THE_BOARD = (
    *("--sort", "--reference", "--published", "--each", "--columns", "--best", "--measures"),
    *("--no-cost", "--baseline", "--diagram", "--macros"),
)


# ---- what is asked for ---------------------------------------------------------------------------


def format_of(args: argparse.Namespace) -> str:
    """As given, else by the ending of the file, else markdown."""
    from experiments.errors import InputError

    path = file_of(args)
    if args.format or not path:
        return args.format or "markdown"
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        known = ", ".join(_ENDINGS)
        what = f"unknown ending {ending!r}" if ending else "no ending"
        flag = "--check" if args.check else "--output"
        raise InputError(f"{flag} {path}: {what}: expected one of {known}, or --format")
    return _ENDINGS[ending]


def file_of(args: argparse.Namespace) -> Path | None:
    """The file to write or to check; None to print."""
    return args.check or args.output


def check_flags(args: argparse.Namespace, form: str) -> None:
    """Raise InputError for a flag that would be ignored."""
    from experiments.errors import InputError

    for flag, forms in _USES.items():
        if getattr(args, flag[2:].replace("-", "_")) and form not in forms:
            raise InputError(f"{flag}: only for {', '.join(forms)}, not for {form}")
    _check_pivot(args)
    if args.diagram and args.diagram.suffix.lower() not in DIAGRAMS:
        raise InputError(f"--diagram {args.diagram}: expected an ending of {', '.join(DIAGRAMS)}")
    if args.check and args.output:
        raise InputError("--check: it writes nothing; drop it or --output")
    if args.macros_prefix and not args.macros:
        raise InputError("--macros-prefix: only with --macros")
    if args.macros and not file_of(args):
        raise InputError("--macros: needs --output or --check, a file for the table itself")
    if args.curves and args.each:
        raise InputError("--curves: other rows than those of --each; drop one of them")
    for flag in ("--caption", "--label"):
        if args.only_tabular and getattr(args, flag[2:]):
            raise InputError(f"{flag}: a bare tabular has none; drop it or --only-tabular")


def _check_pivot(args: argparse.Namespace) -> None:
    from experiments.errors import InputError

    if args.pivot and args.ladder:
        raise InputError("--pivot: not with --ladder: one of the two")
    if len(args.pivot) > 2:
        raise InputError(f"--pivot {' '.join(args.pivot)}: expected one option, or two")
    if len(set(args.pivot)) < len(args.pivot):
        raise InputError(f"--pivot {' '.join(args.pivot)}: expected two different options")
    asked = "--pivot" if args.pivot else "--ladder" if args.ladder else ""
    for flag in _OF_THE_BOARD if asked else ():
        if getattr(args, flag[2:].replace("-", "_")) not in (None, False, [], "none"):
            raise InputError(f"{flag}: not with {asked}, which prints other tables")


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


# ---- the flags -----------------------------------------------------------------------------------


def add_flags(verb: argparse.ArgumentParser) -> None:
    """Add all flags of `table` to its parser."""
    for add in (_add_rows, _add_pivots, _add_columns, _add_conclusions, _add_files, _add_style):
        add(verb)


def _add_rows(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--sort",
        metavar="COLUMN",
        default="none",
        help="order of the methods: average, delta, a pair, method, or none (that of the matrix)",
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
    add_published_flag(verb)
    verb.add_argument("--each", action="store_true", help="csv: one row per run, with its options")
    verb.add_argument(
        "--curves",
        action="store_true",
        help="csv, of a matrix that tunes: the expected best of k configurations, a row for each k",
    )


def _add_pivots(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--pivot",
        nargs="+",
        default=[],
        metavar="OPTION",
        help="instead of the leaderboard: what sweeps and ablations show of an option, "
        "values by pairs; of two options, values by values. csv: the response curve",
    )
    verb.add_argument(
        "--ladder",
        action="store_true",
        help="instead of the leaderboard: for students with several teachers, accuracy and gain "
        "against the teacher's accuracy",
    )


def _add_columns(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--columns",
        nargs="+",
        type=_column,
        default=[],
        metavar="NAME",
        help="show only these: pairs, average, delta, verdict, coverage, rank; differences, or of "
        "them intervals, improved, worst, image-error; cost, or of it time, images, step, "
        "parameters, parameters-at-test, memory",
    )
    verb.add_argument("--best", action="store_true", help="add the best epochs' accuracies")
    verb.add_argument(
        "--measures",
        metavar="NAME,…",
        help="add tables of top5, nll, ece, ece_adaptive, brier, agreement, kl",
    )
    verb.add_argument("--no-cost", action="store_true", help="leave out the table of costs")
    verb.add_argument("--no-notes", action="store_true", help="leave out what is below the tables")


def _add_conclusions(verb: argparse.ArgumentParser) -> None:
    add_comparison_flags(verb)
    verb.add_argument(
        "--diagram",
        type=output_file,
        help="also draw a critical-difference diagram (svg, pdf, png)",
    )


def add_published_flag(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--published",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="put published results beside ours, a table for each source (`list published`)",
    )


def add_comparison_flags(verb: argparse.ArgumentParser) -> None:
    """What methods are compared with, and how sure a verdict has to be."""
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


def _add_files(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--format",
        type=_format_name,
        metavar="{markdown|md, latex|tex, html|htm, csv, json}",
        help="write this format (default: by the ending of --output, else markdown)",
    )
    verb.add_argument("--output", type=output_file, help="write to this file")
    verb.add_argument(
        "--check",
        type=Path,
        metavar="FILE",
        help="write nothing; exit code 1 unless FILE is what would be written now",
    )
    verb.add_argument(
        "--macros",
        type=output_file,
        metavar="FILE",
        help=r"latex: write \kdnum{KEY} for each number, too",
    )
    verb.add_argument(
        "--macros-prefix", metavar="TEXT", default="", help="what the keys begin with"
    )


def _add_style(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="wide: pairs as columns (default); transposed: pairs as rows; "
        "split: columns in parts that fit the page",
    )
    verb.add_argument("--caption", metavar="TEXT", help="title of the first table")
    verb.add_argument("--label", type=_label, help=r"latex: the first table's \label")
    verb.add_argument(
        "--only-tabular", action="store_true", help="latex: without floats, captions and notes"
    )
