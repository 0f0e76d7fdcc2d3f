"""The tables in results/ are what `benchmark.py table` makes of the records beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmark

ROOT = Path(__file__).resolve().parents[2]
MATRICES = sorted((ROOT / "experiments").glob("*.yaml"))
TABLES = [path for path in MATRICES if (ROOT / "results" / f"{path.stem}.md").exists()]


def test_there_are_tables() -> None:
    assert {"digits", "cifar100-cpu"} <= {matrix.stem for matrix in TABLES}


@pytest.mark.parametrize("matrix", TABLES, ids=lambda path: path.stem)
def test_a_table_is_regenerated_from_its_records(
    matrix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without data and without teachers, as on anyone's laptop."""
    arguments = [
        "table",
        str(matrix),
        "--runs",
        str(ROOT / "results/runs"),
        "--data",
        str(tmp_path),
    ]
    assert benchmark.main(arguments) == 0
    assert capsys.readouterr().out == (ROOT / "results" / f"{matrix.stem}.md").read_text()
