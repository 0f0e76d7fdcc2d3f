"""A report on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from results.records import RecordError
from results.report import assets
from results.report.pages import Pages
from results.report.site import Site, SiteError
from tests.results.report import content as made


def test_files_of_others_are_not_mixed_with_pages(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SiteError, match="expected a new or empty directory, or an earlier report"):
        Site(tmp_path)
    with pytest.raises(SiteError, match="a directory: expected the name of a file"):
        Site(tmp_path, single_file=True)
    file = tmp_path / "notes.txt"
    with pytest.raises(SiteError, match="expected a new or empty directory"):
        Site(file)


def test_an_earlier_report_is_renewed(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    page = Site(folder).write([made.content(done=1)], about="first")
    assert "first" in page.read_text()
    assert Site(folder).write([made.content()], about="second") == page
    assert "second" in page.read_text()
    assert not list(folder.rglob("*.tmp"))


def test_a_report_that_was_killed_at_once_can_be_written_again(tmp_path: Path) -> None:
    left = tmp_path / "report/assets/.report.js.17.tmp"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    Site(tmp_path / "report").write([made.one_run()])
    (tmp_path / "other/assets").mkdir(parents=True)
    (tmp_path / "other/assets/logo.svg").write_text("mine")
    with pytest.raises(SiteError):
        Site(tmp_path / "other")


def test_a_report_that_is_stopped_links_to_pages_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at one page after the other; what is there has no dead links."""
    root, left = tmp_path / "report", [0]
    original = Path.open

    def until_full(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        left[0] -= mode == "xb"
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return original(path, mode, *more, **named)

    monkeypatch.setattr(Path, "open", until_full)
    for left[0] in (1, 3, 6):
        with pytest.raises(RecordError, match="cannot be written: No space left"):
            Site(root).write([made.content(trials=1, done=3)])
        assert not list(root.rglob("*.tmp")) and not (root / "index.html").exists()
    monkeypatch.undo()
    assert Site(root).write([made.content(trials=1, done=3)]).exists()


def test_only_pages_that_may_have_changed_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path / "report")
    site.write([made.content(done=20)])
    rendered = []
    original = Pages.of_run
    monkeypatch.setattr(
        Pages, "of_run", lambda self, b, run: rendered.append(run.id) or original(self, b, run)
    )
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "report").rglob("*.html")}
    site.write([made.content(done=22)])
    # Two new ones, two that link to a new trial, and the failed one, which may be tried again.
    assert sorted(rendered) == ["0/2/0", "0/2/1", "0/2/2", "1/2/0", "1/4/0"]
    changed = [p for p, time in before.items() if p.stat().st_mtime_ns != time]
    assert (tmp_path / "report/index.html") in changed
    assert sorted(p.stem for p in changed if p.parent.name == "run") == ["0-2-0", "0-2-1"]


def test_a_run_is_shown_beside_the_baselines_run_that_ends_later(tmp_path: Path) -> None:
    site = Site(tmp_path / "report")
    page = tmp_path / "report/run/0-1-0.html"
    site.write([made.content(without="0/0/0")])
    assert "Beside Student alone" not in page.read_text()
    site.write([made.content()])
    assert "Beside Student alone" in page.read_text()


def test_a_page_reloads_only_when_asked(tmp_path: Path) -> None:
    site = Site(tmp_path / "report")
    assert "data-refresh" not in site.write([made.one_run()]).read_text()
    assert 'data-refresh="60"' in site.write([made.one_run()], refresh=60).read_text()


def test_bundles_are_classic_scripts_that_set_one_name() -> None:
    assert "window.DataTable=" in assets.datatables()
    assert "window.vegaEmbed=" in assets.vega()
    for text in (assets.datatables(), assets.vega()):
        assert text.startswith("(()=>{") and text.rstrip().endswith("})();")
        assert "</script" not in text.lower()
    assert not assets._EXPORT.search(assets.datatables())


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    """The browser is told so, too: see the tests that drive one."""
    html = Site(tmp_path / "a.html", single_file=True).write([made.one_run()]).read_text()
    assert "default-src &#39;none&#39;" in html
    assert '<link rel="icon" href="data:,">' in html  # else a browser asks a server for one
    assert 'src="http' not in html and "@import" not in html
