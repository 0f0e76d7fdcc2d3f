"""What stands on the pages, read as a browser without JavaScript would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from experiments.rundir.status import STATES
from results import formats, measure_tables, tables, verdict_tables
from results.cells import TODO
from results.layout import Table
from results.leaderboard import Leaderboard
from results.report import board, views
from results.report.content import Content
from results.report.pages import Pages, embedded
from results.report.site import Site
from tests.results import example
from tests.results.report import content as made
from tests.results.report.pages_read import Read

BOARDS = {
    "all": made.content(),
    "one trial": made.content(trials=1),
    "one run done": made.content(done=1),
    "no run done": made.content(done=0),
    "one run": made.one_run(),
}


def pages(*contents: Content, single: bool = False) -> dict[str, str]:
    """Key -> the whole file of every page."""
    whole = Pages(contents, single)
    runs = (whole.of_run(b, run) for b in whole.boards for run in b.runs)
    return {page.key: whole.file(page) for page in [*whole.of_boards(), *runs]}


@pytest.fixture(scope="module", params=BOARDS)
def content(request: pytest.FixtureRequest) -> Content:
    return BOARDS[request.param]


# ---- numbers -------------------------------------------------------------------------------------


def tables_of(whole: Leaderboard) -> Iterator[Table]:
    """All that `table --best --measures …` prints."""
    yield from tables.all_of(whole, best=True)
    yield from measure_tables.tables(whole)


def test_every_cell_is_as_in_the_table(content: Content) -> None:
    shown = [t.rows for t in Read(pages(content)["index"]).tables]
    for table in tables_of(content.board):
        expected = [list(table.header), *map(list, table.rows)]
        assert [[" ".join(text.split()) for text in row] for row in expected] in shown


def test_every_cell_of_a_large_board_with_all_notes() -> None:
    whole = replace(example.board(), cells=example.cells())
    content = Content("x", whole, {m: made._facts(m) for m in whole.methods}, [])
    html = Read(pages(content)["index"])
    shown = [t.rows for t in html.tables]
    for table in tables_of(whole):
        assert [list(table.header), *map(list, table.rows)] in shown
        assert all(" ".join(note.split()) in " ".join(html.text.split()) for note in table.notes)


def test_differences_by_pair_are_those_of_the_csv() -> None:
    whole = BOARDS["all"].board
    (table,) = verdict_tables.by_pair(whole.verdicts)
    frame = formats.verdict_rows.beside(whole.frame, whole.verdicts)
    known = {(r["method"], r["pair"]): r["difference"] for r in frame.to_dict("records")}
    compared = 0
    for row in table.rows:
        for pair, text in zip(table.header[1:-1], row[1:-1], strict=True):
            assert text == verdict_tables.signed(known[row[0], pair])
            compared += 1
    assert compared == 4 * 3  # CRD lacks a run


def test_a_methods_page_has_its_cells_of_every_table_with_pairs() -> None:
    content = BOARDS["all"]
    found = Read(pages(content)["method/kd"]).tables[0].rows
    assert found[0][:3] == ["Pair", "Top-1 accuracy (%)", "Δ to Student alone (points)"]
    (main, *_) = tables.all_of(content.board)
    kd = next(row for row in main.rows if row[0] == "KD")
    assert [row[1] for row in found[1:]] == list(kd[1:4])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("71.20 ± 0.28 (n=2)", 71.2),
        ("+1.20 [−0.10, +2.50] not separated", 1.2),
        ("−0.10", -0.1),
        ("12,345", 12345.0),
        ("11/13", 11.0),
    ],
)
def test_cells_are_sorted_by_their_first_number(text: str, value: float) -> None:
    assert views.sort_value(text) == value


def test_cells_without_number_are_sorted_below_all_numbers() -> None:
    assert views.sort_value("–") == views.sort_value("failed²") == views.sort_value("") < -1e50


# ---- states --------------------------------------------------------------------------------------


def test_conclusions_are_the_tables() -> None:
    text = " ".join(Read(pages(BOARDS["all"])["index"]).text.split())
    for line in verdict_tables.notes(BOARDS["all"].board.verdicts):
        assert line in text
    (table,) = verdict_tables.table(BOARDS["all"].board.verdicts)
    for row in table.rows:
        interval = row[1].removesuffix(" not separated").removesuffix(" above")
        assert f"{' '.join(row[0].split())} {interval}" in text


def test_nothing_done_says_what_is_to_do() -> None:
    found = pages(BOARDS["no run done"])
    assert "0 of 54 runs are done" in " ".join(Read(found["index"]).text.split())
    assert "python benchmark.py retry 'a b.yaml'" in Read(found["matrix"]).text
    assert not any("/0/" in key for key in found)


def test_runs_that_are_stuck_are_listed_with_their_reason() -> None:
    text = Read(pages(BOARDS["all"])["matrix"]).text
    assert made.ERROR[:60] in text
    assert "CRD, vgg13 → MobileNetV2, trial 0" in " ".join(text.split())


def test_a_run_has_its_spec_starts_warnings_error_and_history() -> None:
    found = {k: Read(v) for k, v in pages(BOARDS["all"]).items() if k.startswith("run/")}
    last = found["run/0-5-2"]  # of the evil label
    for text in (f"odd: {made.EVIL}", "options.note", "NVIDIA A100-SXM4-40GB", "torch 2.7.1"):
        assert text in last.text
    assert "0123456789" in last.text and "stage,epoch,lr" in last.text
    assert made.ERROR in found["run/1-4-0"].text


def test_states_without_a_page_are_those_of_the_harness() -> None:
    assert board.TODO == TODO and TODO in STATES


# ---- texts stay texts ----------------------------------------------------------------------------


def test_no_text_becomes_html_or_code() -> None:
    for key, html in pages(BOARDS["all"]).items():
        read = Read(html)
        assert read.handlers == [] and "img" not in read.tags, key
        assert html.count("<script") == html.count("</script>"), key
    assert made.EVIL in Read(pages(BOARDS["all"])["index"]).text


def test_embedded_json_is_safe_and_whole() -> None:
    content = {"</script>": ["<!--", "&amp;", "\u2028", 'q"\\', 1.5, None]}
    text = embedded(content)
    assert json.loads(text) == content
    assert not set("<>&\u2028") & set(text)
    with pytest.raises(ValueError, match="JSON"):
        embedded(float("nan"))


# ---- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("contents", [[BOARDS["all"]], [made.content(), made.content(name="b")]])
def test_every_link_leads_to_a_page_and_a_part_of_it(
    tmp_path: Path, contents: list[Content]
) -> None:
    Site(tmp_path / "site").write(contents)
    reads = {p: Read(p.read_text()) for p in (tmp_path / "site").rglob("*.html")}
    for path, read in reads.items():
        for link in read.links:
            file, _, part = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.is_file(), f"{path}: {link}"
            assert not part or part in reads[target].ids, f"{path}: {link}"
        assert len(read.ids) == len(set(read.ids)), path
    assert len(reads) > 50


def test_every_link_in_a_single_file_leads_somewhere(tmp_path: Path) -> None:
    path = Site(tmp_path / "all.html", single_file=True).write([BOARDS["all"]])
    read = Read(path.read_text())
    assert [p.name for p in tmp_path.iterdir()] == ["all.html"]
    assert len(read.ids) == len(set(read.ids))
    assert read.links and all(unquote(link[1:]) in read.ids for link in read.links)
    assert all(link.startswith("#") for link in read.links)


def test_a_single_file_leaves_out_runs_beyond_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.report.pages.MOST_RUNS", 5)
    html = Pages([BOARDS["all"]], single=True).single_file()
    read = Read(html)
    assert sum(i.startswith("run/") and ":" not in i for i in read.ids) == 5
    assert "50 more runs have no page in this single file" in read.text
    assert all(unquote(link[1:]) in read.ids for link in read.links)
