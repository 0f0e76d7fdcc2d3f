"""The example pages show what the committed boards give now."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.results.report.pages_read import Read
from tools.reports import example_pages

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", example_pages.PAGES)
def test_an_example_page_is_up_to_date(
    name: str, in_checkout: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All its tables; if not: tools/reports/example_pages.py."""
    stored = Read((example_pages.FOLDER / f"{name}.html").read_text())
    monkeypatch.setattr(example_pages, "FOLDER", tmp_path)
    now = Read(example_pages.write(name).read_text())
    assert len(stored.tables) > 50
    assert [table.rows for table in stored.tables] == [table.rows for table in now.tables]
    assert sorted(stored.ids) == sorted(now.ids)


def test_every_page_is_written_by_the_tool() -> None:
    there = {path.stem for path in (ROOT / "results/boards/pages").glob("*.html")}
    assert there == set(example_pages.PAGES)
    pictures = {path.stem for path in (ROOT / "results/boards/pages").glob("*.png")}
    assert pictures == {f"{one.page}-{one.name}" for one in example_pages.PICTURES}
