"""The tables in results/ are what `benchmark.py table` makes of the records beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmark
from experiments.matrix import schema

ROOT = Path(__file__).resolve().parents[2]
MATRICES = sorted((ROOT / "experiments").glob("*.yaml"))
TABLES = [path for path in MATRICES if (ROOT / "results" / f"{path.stem}.md").exists()]

PROBED = [(path, schema.load(path).transfer) for path in TABLES]
PROBES = [
    (path, entry.name)
    for path, block in PROBED
    for entry in (block.datasets if block else ())
    if (ROOT / "results" / f"{path.stem}-{entry.name}.md").exists()
]


def test_there_are_tables() -> None:
    assert {"digits", "cifar100-cpu"} <= {path.stem for path in TABLES}
    assert PROBES


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_table_is_regenerated_from_its_records(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without data and without teachers, as on anyone's laptop."""
    assert table(path, tmp_path, capsys) == (ROOT / "results" / f"{path.stem}.md").read_text()


@pytest.mark.parametrize(("path", "dataset"), PROBES)
def test_a_table_of_probes_is_too(
    path: Path, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = (ROOT / "results" / f"{path.stem}-{dataset}.md").read_text()
    assert table(path, tmp_path, capsys, "--transfer", dataset) == expected


def table(path: Path, data: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    own = ROOT / "results" / f"runs-{path.stem}"  # where one teacher's weights file is another's
    runs = own if own.exists() else ROOT / "results/runs"
    places = ("--runs", str(runs), "--data", str(data))
    assert benchmark.main(["table", str(path), *places, *more]) == 0
    return capsys.readouterr().out
