"""A report on disk: a folder of pages, or a single file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from results.outputs import obstacle
from results.records import refused
from results.report import assets
from results.report.content import Content
from results.report.pages import Page, Pages

_MARK = Path("assets/report.js")  # what an earlier report left


class SiteError(ValueError):
    """A place where no report can be written; the message is one line."""


class Site:
    """A place where a report is written, again and again while jobs run.

    It remembers which finished runs it has written: their pages do not change by themselves.
    """

    def __init__(self, output: Path, single_file: bool = False) -> None:
        """SiteError where ``output`` is a folder with files of others in it."""
        self.output, self.single = output, single_file
        self._finished: set[tuple[str, ...]] = set()
        if single_file and output.is_dir():
            raise SiteError(f"{output}: a directory: expected the name of a file, NAME.html")
        if single_file and obstacle(output):
            raise SiteError(f"{output}: {obstacle(output)}")
        if not single_file and _is_foreign(output):
            raise SiteError(f"{output}: expected a new or empty directory, or an earlier report")

    def write(
        self, contents: Sequence[Content], about: str = "", refresh: int | None = None
    ) -> Path:
        """Write the report; returns the page to open. See `pages.Pages` for the rest."""
        made = Pages(contents, self.single, about, refresh)
        if self.single:
            _write(self.output, made.single_file())
            return self.output
        for name, text in assets.FILES.items():  # the mark first
            _write(self.output / "assets" / name, text())
        last = []  # what links to all others: a report that is stopped has no dead links
        for page in self._new(made):
            if Path(page.key).name == "index":
                last.append(page)
            else:
                self._put(page, made)
        _write(self.output / "assets/charts.js", made.specifications())
        for page in reversed(last):
            self._put(page, made)
        return self.output / "index.html"

    def _put(self, page: Page, made: Pages) -> None:
        _write(self.output / f"{page.key}.html", made.file(page))

    def _new(self, made: Pages) -> Iterator[Page]:
        """All pages but those of finished runs that have been written before."""
        yield from made.of_boards()
        for board in made.boards:
            for run in board.runs:
                key = (board.prefix, run.id, *board.others(run))
                if key not in self._finished:
                    yield made.of_run(board, run)
                if run.record is not None:
                    self._finished.add(key)


def _is_foreign(folder: Path) -> bool:
    if not folder.exists():
        return False
    if not folder.is_dir():
        return True
    is_used = any(folder.iterdir()) and not (folder / _MARK).exists()
    return is_used and not _is_begun(folder)


def _is_begun(folder: Path) -> bool:
    """Whether there is only what a report has left that was killed while it wrote the mark."""
    if [path.name for path in folder.iterdir()] != [_MARK.parent.name]:
        return False
    left = (folder / _MARK.parent).iterdir()
    return all(path.name.startswith(f".{_MARK.name}.") for path in left)


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole, where its text differs: a browser may be reading it.

    RecordError where the disk refuses.
    """
    data = text.encode("utf-8", "replace")
    try:
        _replace(path, data)
    except OSError as error:
        raise refused(path, "written", error) from error


def _replace(path: Path, data: bytes) -> None:
    if (
        path.is_file()
        and not path.is_symlink()
        and path.stat().st_size == len(data)
        and path.read_bytes() == data
    ):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:  # a link of that name is not followed
            file.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
