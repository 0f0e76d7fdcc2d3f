"""The pages of a report: which there are, and how they are put together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from results.printable import json_escaped, printable
from results.report import assets, run_facts, views
from results.report.addresses import Addresses, slugs
from results.report.board import Board
from results.report.content import Content, Run

MOST_RUNS = 1_000  # of a board that have a page in a single file: 22 MB with 60 epochs each
_POLICY = {  # what a browser may load for a page: nothing from anywhere else
    "default-src": "'none'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval'",  # Vega compiles its expressions
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "data:",
    "base-uri": "'none'",
    "form-action": "'none'",
}


@dataclass(frozen=True)
class Page:
    """A page's address in the report, its title, and the HTML of its content."""

    key: str
    title: str
    body: str


class Pages:
    """The pages of several boards; with more than one there is a first page that lists them.

    about    one line for the foot of every page
    refresh  seconds after which an open page is loaded anew; None: never
    """

    def __init__(
        self,
        contents: Sequence[Content],
        single: bool = False,
        about: str = "",
        refresh: int | None = None,
    ) -> None:
        names = slugs(content.name for content in contents)
        most = MOST_RUNS if single else None
        self.boards = [
            Board(content, names[content.name] if len(contents) > 1 else "", most)
            for content in contents
        ]
        self.single, self.about, self.refresh = single, about, refresh

    # ---- whole files -----------------------------------------------------------------------------

    def file(self, page: Page) -> str:
        """One page as a file of its own."""
        return self._layout([page], Addresses(page.key, single=False))

    def single_file(self) -> str:
        """All pages in one file, those of runs up to `MOST_RUNS` of each board."""
        runs = (self.of_run(board, run) for board in self.boards for run in board.runs)
        return self._layout([*self.of_boards(), *runs], Addresses("index", single=True))

    def _layout(self, shown: Sequence[Page], to: Addresses) -> str:
        return _template("layout.html").render(
            pages=shown,
            to=to,
            single=self.single,
            policy="; ".join(f"{name} {value}" for name, value in _POLICY.items()),
            about=self.about,
            refresh=self.refresh,
            assets=assets,
            specifications=self.specifications() if self.single else "",
        )

    def specifications(self) -> str:
        """A script with the specifications of the charts of all pages that were made."""
        known = {key: spec for board in self.boards for key, spec in board.specifications.items()}
        return f"window.kdCharts = {embedded(known)};\n"

    # ---- the pages -------------------------------------------------------------------------------

    def of_boards(self) -> Iterator[Page]:
        """The first page, then every board's own pages, without those of runs."""
        if len(self.boards) > 1:
            yield self._page("overview", "index", "Report", boards=self.boards)
        for board in self.boards:
            title = board.board.dataset
            yield self._of(board, "board", board.home, title, **board.overview())
            if board.content.progress:
                yield self._of(
                    board, "matrix", board.progress_page, f"{title}: progress", **board.progress()
                )
            for label in board.content.methods:
                key = board.method_page(label) or ""
                yield self._of(board, "method", key, label, **board.method(label))

    def of_run(self, board: Board, run: Run) -> Page:
        """The page of one run."""
        title = f"{run.label}, {run.pair}, trial {run.trial}"
        key = board.run_page(run.id) or ""
        return self._of(board, "run", key, title, this=run, **board.run(run))

    def _of(self, board: Board, template: str, key: str, title: str, **values: Any) -> Page:
        return self._page(template, key, title, board=board, **values)

    def _page(self, template: str, key: str, title: str, **values: Any) -> Page:
        to = Addresses(key, self.single)
        several = len(self.boards) > 1
        body = _template(f"{template}.html").render(
            to=to, title=title, several=several, starts_header=run_facts.STARTS, **values
        )
        return Page(key, title, body)


# ---- templates -----------------------------------------------------------------------------------


def embedded(content: Any) -> Markup:
    """JSON that is safe inside a script element, whatever its texts are."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(json_escaped(text))


def _shown(value: Any) -> Any:
    """What an expression of a template puts into a page; markup is our own."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"embedded": embedded, "sort_value": views.sort_value}
    environment.filters["script"] = _script
    return environment


def _script(text: str) -> Markup:
    """Code of ours or of a package as a script element's content."""
    return Markup(re.sub("</(script)", r"<\\/\1", text, flags=re.IGNORECASE))


_ENVIRONMENT = _environment()


def _template(name: str) -> jinja2.Template:
    return _ENVIRONMENT.get_template(name)
