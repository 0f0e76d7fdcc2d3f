"""`report`: pages, figures and event files of matrices and board files."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import environment
from experiments.activity import activity
from experiments.commands import places, terminal
from experiments.commands.common import Verbs, add_verb, check_tensorboard
from experiments.commands.report import flags
from experiments.wording import plural

if TYPE_CHECKING:
    from results.report.content import Content
    from results.report.site import Site

Gather = Callable[[], "list[Content]"]


def report(args: argparse.Namespace) -> int:
    """Write pages to look at in a browser, or figures for a paper, of matrices or board files.

    The pages need no network and no server: they open from a mail attachment.
    """
    flags.check(args)
    check_tensorboard(args)
    site = _site(args) if args.output else None
    gather = _gatherer(args)
    contents = _gathered(gather)
    if site:
        contents = _write_pages(site, contents, args.every, gather)
    if args.figures:
        _draw(args.figures, contents)
    if args.tensorboard:
        _write_events(args.tensorboard, contents)
    return 0


# ---- what is shown -------------------------------------------------------------------------------


def _gatherer(args: argparse.Namespace) -> Gather:
    """Reads the results of all places anew whenever it is called; matrices are resolved once."""
    from experiments.commands.common import planned
    from experiments.commands.report import boards, matrix
    from experiments.plan.workspace import Selection, load_plugins

    load_plugins("report", tuple(Path(os.path.expanduser(plugin)) for plugin in args.plugin), 0)
    chosen = Selection(args.methods, args.pairs, args.trials)
    asked = boards.Asked(chosen, args.baseline, args.level, args.published)
    given = [(place, flags.of_matrix(args, place)) for place in args.places]
    plans = {place: planned(own, strict=False) for place, own in given if not _is_board(place)}

    def gather() -> list[Content]:
        found: list[Content] = []
        for place, own in given:
            if _is_board(place):
                found += boards.contents(Path(place), asked, args.data)
                continue
            command = flags.Commands(own)
            name = flags.name_of(own)
            found.append(matrix.content(plans[place], name, asked, command))
        return _named_apart(found)

    return gather


def _is_board(place: str) -> bool:
    return Path(place).suffix == places.ENDING


def _named_apart(contents: Sequence[Content]) -> list[Content]:
    """With names that are unique: "digits", "digits-2"."""
    from dataclasses import replace

    taken: set[str] = set()
    found = []
    for content in contents:
        names = (content.name, *(f"{content.name}-{i}" for i in range(2, len(contents) + 2)))
        name = next(name for name in names if name not in taken)
        taken.add(name)
        found.append(replace(content, name=name))
    return found


def _gathered(gather: Gather) -> list[Content]:
    from results.garbage import no_collection

    with activity("gathering the results"), no_collection():
        return gather()


# ---- what is written -----------------------------------------------------------------------------


def _site(args: argparse.Namespace) -> Site:
    """Where the pages go. InputError, before anything is read, where they cannot."""
    from experiments.errors import InputError
    from results.report.site import Site, SiteError

    try:
        return Site(args.output, args.single_file)
    except SiteError as error:
        raise InputError(f"--output {error}") from error


def _write_pages(
    site: Site, contents: list[Content], every: int | None, gather: Gather
) -> list[Content]:
    """Write the pages; with ``every`` again and again, until no run may change by itself."""
    last, page = contents, _write(site, contents, every)
    for newer in _renewed(every, contents, gather) if every else ():
        last, page = newer, _write(site, newer, every)
    print(f"wrote {page}: {_size(last)}; open it in a browser")
    return last


def _write(site: Site, contents: Sequence[Content], every: int | None) -> Path:
    """``every``: after how many seconds a browser looks again, while something may change."""
    about = f"{time.strftime('%Y-%m-%d %H:%M')}, distillers {environment.version()}"
    with activity("writing the pages"):
        page: Path = site.write(contents, about, every if _is_active(contents) else None)
    return page


def _renewed(every: int, contents: list[Content], gather: Gather) -> Iterator[list[Content]]:
    """The contents as they become, up to the first in which nothing may change any more."""
    while _is_active(contents):
        now = time.strftime("%H:%M:%S")
        _tell(f"{now}: {_states(contents)}; again in {every} seconds, Ctrl-C ends")
        time.sleep(every)
        newer = _newer(gather)
        if newer is not None:
            contents = newer
            yield contents


def _newer(gather: Gather) -> list[Content] | None:
    """The contents now; None, with a note, where the disk cannot be read at this moment."""
    from results.records import RecordError

    try:
        return _gathered(gather)
    except (OSError, RecordError) as error:  # it changes while it is read: the next time it may do
        print(f"note: not renewed: {error}", file=sys.stderr)
        return None


def _is_active(contents: Sequence[Content]) -> bool:
    return any(content.progress is not None and content.progress.active for content in contents)


def _states(contents: Sequence[Content]) -> str:
    """ "digits: 20 done, 8 to do"."""
    shown = [(content.name, content.progress.counts) for content in contents if content.progress]
    return "; ".join(
        f"{name}: " + ", ".join(f"{number} {state}" for state, number in counts.items())
        for name, counts in shown
    )


def _size(contents: Sequence[Content]) -> str:
    """ "8 methods, 28 runs"."""
    boards = f"{plural(len(contents), 'board')}, " if len(contents) > 1 else ""
    methods = len({label for content in contents for label in content.board.methods})
    runs = sum(len(content.runs) for content in contents)
    return f"{boards}{plural(methods, 'method')}, {plural(runs, 'run')}"


def _tell(line: str) -> None:
    """One line per renewal, for a person who watches."""
    width = terminal.columns()
    if width is not None:
        print(terminal.cut(line, width), flush=True)


def _draw(folder: Path, contents: Sequence[Content]) -> None:
    """Write every chart as a file for a paper, and say where."""
    from results.report import figures

    written: list[Path] = []
    taken: set[str] = set()
    with activity("drawing the figures"):
        for content in contents:
            written += figures.write(content, folder, taken=taken)
    print(f"wrote {plural(len(written), 'file')} in {folder}")


def _write_events(folder: Path, contents: Sequence[Content]) -> None:
    """Write the histories for TensorBoard, and say how many runs have one."""
    from experiments.commands.report import tensorboard

    runs = tensorboard.write(contents, folder)
    shown = shlex.quote(str(folder))
    print(f"wrote {plural(runs, 'run')} in {folder}: tensorboard --logdir {shown}")


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    flags.add(add_verb(verbs, "report", report))
