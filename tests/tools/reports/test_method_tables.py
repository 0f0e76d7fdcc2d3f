"""The tables about methods: errors against official code, and which pairs they serve."""

from __future__ import annotations

from pathlib import Path

from tests.experiments import cli
from tools.reports import golden_errors, pairs_table


def test_pairs_and_reasons(tmp_path: Path) -> None:
    matrix = cli.write(
        tmp_path, pairs=["resnet14 -> resnet8", "vgg8 -> resnet8"], methods=["kd", "fsp"]
    )
    assert pairs_table.main([str(matrix), "--output", str(tmp_path / "out.md")]) == 0
    text = (tmp_path / "out.md").read_text()
    assert [cell.strip() for cell in text.splitlines()[6].split("|")][1:3] == ["KD", "ok"]
    assert "n/a (1)" in text
    assert "\n1. fsp" in text


def test_errors_of_one_fixture() -> None:
    errors = golden_errors.measure([str(golden_errors.TESTS / "test_golden.py"), "-k", "at-c"])
    assert errors.keys() >= {("at", "c0"), ("at", "c1"), ("at", "c2")}
    rows = [line for line in golden_errors.table(errors).splitlines() if "| at " in line]
    assert len(rows) == 3
    assert all("e" in cell for row in rows for cell in row.split("|")[3:7])
