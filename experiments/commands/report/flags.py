"""`report`: its flags, which of them exclude each other, and the commands that pages show."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

from experiments.commands import places
from experiments.commands.arguments import positive
from experiments.commands.common import add_file, add_matrix_flags, command
from experiments.commands.table_flags import add_comparison_flags, add_published_flag
from experiments.environment import CHECKOUT

_PAGE = (".html", ".htm")  # endings of a single file
_FILTERS = ("methods", "pairs", "trials")


def add(verb: argparse.ArgumentParser) -> None:
    """Add all flags of `report` to its parser."""
    add_file(
        verb,
        "places",
        nargs="+",
        metavar="MATRIX|BOARD",
        help="YAML files, or board files (NAME.jsonl) of finished runs",
    )
    verb.add_argument(
        "--output", type=Path, metavar="DIR", help="write pages there; open DIR/index.html"
    )
    verb.add_argument(
        "--single-file",
        action="store_true",
        help="write one page with everything in it; --output is then its name, NAME.html",
    )
    verb.add_argument(
        "--figures", type=Path, metavar="DIR", help="write the charts there, as SVG and PDF"
    )
    verb.add_argument(
        "--tensorboard", type=Path, metavar="DIR", help="write the runs' histories for TensorBoard"
    )
    verb.add_argument(
        "--every",
        type=positive,
        metavar="SECONDS",
        help="write the pages again every so often while runs are not finished; Ctrl-C ends",
    )
    add_matrix_flags(verb)
    add_comparison_flags(verb)
    add_published_flag(verb)


def check(args: argparse.Namespace) -> None:
    """Raise InputError for places that are none, and for flags that would be ignored."""
    from experiments.errors import together

    error = together([*_place_problems(args), *_flag_problems(args)])
    if error:
        raise error


def _place_problems(args: argparse.Namespace) -> Iterator[str]:
    from experiments.errors import beside

    for place in args.places:
        path = Path(place)
        if not path.exists():
            yield f"{place}: no such file{beside(path)}"
        elif path.is_dir():
            expected = f"expected a matrix (YAML) or a board file (NAME{places.ENDING})"
            yield f"{place}: a directory: {expected}; `collect` makes a board file of runs"
        elif args.places.count(place) > 1:
            yield f"{place}: given twice, expected once"


def _flag_problems(args: argparse.Namespace) -> Iterator[str]:
    boards = [place for place in args.places if Path(place).suffix == places.ENDING]
    only_boards = len(boards) == len(args.places)
    if not (args.output or args.figures or args.tensorboard):
        yield "report: nothing to write: expected --output, --figures or --tensorboard DIR"
    if args.single_file and not args.output:
        yield "--single-file: needs --output NAME.html"
    elif args.output and args.single_file and args.output.suffix.lower() not in _PAGE:
        yield f"--output {args.output}: with --single-file expected a name that ends in .html"
    elif args.output and not args.single_file and args.output.suffix.lower() in _PAGE:
        yield f"--output {args.output}: expected a directory; a single file needs --single-file"
    if args.every and not args.output:
        yield "--every: it renews pages: needs --output DIR"
    elif args.every and only_boards:
        yield "--every: a board file has finished runs only: expected a matrix"
    if args.transfer and boards:
        yield f"--transfer {args.transfer}: only for matrices; {boards[0]} shows its probes itself"
    if only_boards and "runs" in args.flags_given:
        yield "--runs: a board file has its own runs: expected a matrix"


# ---- a matrix among the places -------------------------------------------------------------------


def of_matrix(args: argparse.Namespace, place: str) -> argparse.Namespace:
    """The arguments as of a command about one matrix."""
    return argparse.Namespace(**{**vars(args), "matrix": place})


def name_of(args: argparse.Namespace) -> str:
    """A short name of a matrix, and of the data set of its probes: "digits"."""
    return Path(args.matrix).stem + (f"-{args.transfer}" if args.transfer else "")


class Commands:
    """Makes the command lines that a page of a matrix shows, about the matrix or one of its runs.

    about     the id of a run, in place of the matrix
    students  of a plan of probes: about their students
    whole     of the whole matrix, whatever part is shown
    anew      into a directory of its own, "again"
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args

    def __call__(
        self,
        verb: str,
        *flags: str,
        about: str = "",
        students: bool = False,
        whole: bool = False,
        anew: bool = False,
    ) -> str:
        given = vars(self._args)
        if about:  # such a command has no other flags
            own = {"matrix": about, "data": CHECKOUT / "data", "transfer": None, "plugin": []}
            return command(argparse.Namespace(**{**given, **own}), verb)
        own = {"transfer": None} if students else {}
        own |= {"runs": Path("again")} if anew else {}
        line = command(argparse.Namespace(**{**given, **own}), verb)
        return " ".join([line, *(() if whole else self._part()), *flags])

    def _part(self) -> Iterator[str]:
        """The flags that choose a part of the matrix: nobody wants to train more than is shown."""
        for name in _FILTERS:
            given = getattr(self._args, name)
            if given:
                yield f"--{name} " + " ".join(shlex.quote(str(value)) for value in given)
