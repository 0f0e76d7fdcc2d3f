"""`report` called in this process; its pages are not made, what they are made from is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from results.report.content import Content
from tests.experiments import cli


@dataclass
class Reports:
    """What was written, oldest first: the contents, and after how many seconds a browser asks."""

    written: list[tuple[list[Content], int | None]] = field(default_factory=list)
    before_return: Callable[[], None] = lambda: None

    @property
    def last(self) -> list[Content]:
        return self.written[-1][0]

    def of(self, *arguments: str) -> list[Content]:
        """The contents of `report ARGUMENTS`, which has to end well."""
        called = cli.call("report", *arguments, "--output", "report")
        assert called.code == 0, called.err
        return self.last

    def of_matrix(self, matrix: Path, *more: str) -> Content:
        """The content of a matrix with runs and data beside it."""
        called = cli.command("report", matrix, "--output", "report", *more)
        assert called.code == 0, called.err
        (content,) = self.last
        return content


def install(monkeypatch: pytest.MonkeyPatch) -> Reports:
    """Put a recorder in the place of the pages."""
    reports = Reports()

    class Site:
        def __init__(self, output: Path, single_file: bool = False) -> None:
            self.page = output if single_file else output / "index.html"

        def write(
            self, contents: Sequence[Content], about: str = "", refresh: int | None = None
        ) -> Path:
            reports.written.append((list(contents), refresh))
            reports.before_return()
            return self.page

    module: Any = ModuleType("results.report.site")
    module.Site, module.SiteError = Site, ValueError
    monkeypatch.setitem(sys.modules, "results.report.site", module)
    return reports
