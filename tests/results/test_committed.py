"""The tables in results/boards are what `benchmark.py table` makes of the records beside them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from experiments.errors import InputError
from results import board_file
from tools import check_tables

ROOT = Path(__file__).resolve().parents[2]
BOARDS = ROOT / "results/boards"
NAMES = sorted(path.stem for path in BOARDS.glob("*.jsonl"))
COMMITTED = check_tables.committed  # itself, where a test replaces it
TABLES = COMMITTED()
OF_TABLES = {".md", ".tex", ".html", ".csv", ".json"}


def test_every_committed_table_is_checked() -> None:
    """The list has all of them and nothing else; the page for readers has them, too."""
    there = {str(p.relative_to(ROOT)) for p in BOARDS.iterdir() if p.suffix in OF_TABLES}
    assert there == {table for table in TABLES if table.startswith("results/boards/")}
    assert {"results/boards/digits.md", "results/boards/cifar100-cpu.md"} <= there
    page = (ROOT / "results/README.md").read_text()
    assert [table for table in TABLES if f"`{table}`" not in page] == []


def test_every_board_has_a_table() -> None:
    arguments = [argument for given in TABLES.values() for argument in given]
    assert [name for name in NAMES if f"results/boards/{name}.jsonl" not in arguments] == []


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_regenerated_from_its_records(
    table: str, in_checkout: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without data and without teachers, as on anyone's laptop."""
    assert check_tables.make(table, TABLES[table], write=False) == 0, capsys.readouterr().out


def test_a_changed_table_fails_and_is_written_anew(
    tmp_path: Path,
    in_checkout: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table, stored = tmp_path / "digits.md", (BOARDS / "digits.md").read_text()
    listed = tmp_path / "tables.yaml"
    listed.write_text(f"{table}: {' '.join(TABLES['results/boards/digits.md'])}\n")
    monkeypatch.setattr(check_tables, "committed", lambda: COMMITTED(listed))
    table.write_text(stored.replace("99.72 ± 0.28", "99.92 ± 0.28"))
    assert check_tables.main([]) == 1
    assert "is out of date: line 12 of " in capsys.readouterr().out
    assert check_tables.main(["--write"]) == 0 and table.read_text() == stored
    assert check_tables.main([]) == 0


def test_an_entry_without_arguments_is_an_error(tmp_path: Path) -> None:
    path = shutil.copy(BOARDS / "tables.yaml", tmp_path)
    with Path(path).open("a") as file:
        file.write("results/boards/other.md: [a, b]\n")
    with pytest.raises(InputError, match=r"other\.md: expected the arguments of `table`"):
        COMMITTED(Path(path))


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_what_would_be_published(name: str) -> None:
    """Nothing of a stored record is lost or changed by its model, which has no history."""
    path = BOARDS / f"{name}.jsonl"
    lines = map(board_file.without_history, board_file.lines(path))
    for line, record in zip(lines, board_file.read(path, measures=True).values(), strict=True):
        published = record.model_dump(exclude_unset=True)
        text = json.dumps(published, ensure_ascii=False, separators=(",", ":"))
        assert f"{text}\n".encode() == line


def test_the_board_of_digits_has_the_history_of_every_run() -> None:
    path = BOARDS / "digits.jsonl"
    histories = board_file.histories(path)
    for run, record in board_file.read(path, measures=True).items():
        rows = list(csv.DictReader(io.StringIO(histories[run])))
        assert len(rows) == record.schedule.epochs == 15
        assert float(rows[-1]["test_top1"]) == record.top1
        assert record.measures is not None and record.measures.top1 == record.top1
