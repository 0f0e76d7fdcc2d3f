"""`table`: the leaderboard of what is done."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.activity import activity
from experiments.commands import terminal
from experiments.commands.common import Verbs, add_matrix_verb, note_unreadable, planned
from experiments.commands.table_file import deliver
from experiments.commands.table_flags import add_flags, check_flags, file_of, format_of

if TYPE_CHECKING:
    from experiments.commands.reference import Source
    from results.layout import Style
    from results.leaderboard import Leaderboard


def table(args: argparse.Namespace) -> int:
    """Print the leaderboard, write it to a file, or check that a file is up to date."""
    form = format_of(args)
    check_flags(args, form)
    from experiments.cluster import queue_status
    from experiments.commands import published
    from experiments.commands.board import board_of, with_measures
    from results.garbage import no_collection

    measures = _measures(args.measures) if args.measures else []
    plan = planned(args, strict=False)
    references = _references(args)
    with activity("making the table"), no_collection():
        statuses = queue_status.statuses(plan)
        board = board_of(plan, references, args.baseline, args.level, statuses)
        if measures:
            board = with_measures(board, plan, references, measures)
        if args.pivot or args.ladder:
            text = _pivots(args, form, board)
        else:
            board = published.beside(_sorted(board, args.sort), plan, args.published)
            text = _text(args, form, board)
        files = [(file_of(args), text), (args.macros, _macros(args, board))]
    note_unreadable(statuses.values())
    if args.diagram:
        _draw(args.diagram, board)
    if not file_of(args):
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
    if args.curves:
        return _curves(args.matrix, board)
    width = terminal.columns() if not (file_of(args) or args.format) else None
    if width is not None and args.layout is None:
        return _fitted(board, width, args.best, _style(args, width))
    return formats.to_text(board, form, args.best, _style(args, width))


def _curves(matrix: Path, board: Leaderboard) -> str:
    from experiments.errors import InputError
    from results import tuning_rows

    if board.tuning is None:
        raise InputError(f"--curves: {matrix} tunes nothing that is shown")
    return tuning_rows.curves_csv(board, board.tuning)


def _macros(args: argparse.Namespace, board: Leaderboard) -> str:
    if not args.macros:
        return ""
    from results.macros import macros

    return macros(board, args.best, args.macros_prefix)


def _fitted(board: Leaderboard, width: int, best: bool, style: Style) -> str:
    """Markdown that fits the terminal, and a last line that says how."""
    from results import formats

    return _cut(*formats.fitted(board, width, best, style), width)


def _pivots(args: argparse.Namespace, form: str, board: Leaderboard) -> str:
    """What is printed instead of the leaderboard with `--pivot` or `--ladder`."""
    from experiments.commands import pivot
    from results import pivot_formats

    made = pivot.printed(board, args.pivot)
    width = terminal.columns() if not (file_of(args) or args.format) else None
    style = _style(args, width)
    if width is not None and args.layout is None:
        return _cut(*pivot_formats.fitted(made, width, style), width)
    return pivot_formats.to_text(made, form, style)


def _cut(text: str, how: str, width: int) -> str:
    """The text as it is, or with a last line that says how it was made to fit."""
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


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_flags(add_matrix_verb(verbs, "table", table))
