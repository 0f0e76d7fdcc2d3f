"""The tables in results/boards are what `benchmark.py table` makes of the records beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import benchmark
from experiments.matrix import schema
from results import board_file

ROOT = Path(__file__).resolve().parents[2]
BOARDS = ROOT / "results/boards"
NAMES = sorted(path.stem for path in BOARDS.glob("*.jsonl"))
PROBES = [
    (name, entry.name)
    for name in NAMES
    if (block := schema.load(ROOT / f"experiments/{name}.yaml").transfer)
    for entry in block.datasets
]


def test_every_committed_table_is_checked() -> None:
    checked = {*NAMES, *(f"{name}-{dataset}" for name, dataset in PROBES)}
    assert {path.stem for path in BOARDS.glob("*.md")} == checked
    assert {"digits", "cifar100-cpu"} <= checked and PROBES


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_regenerated_from_its_records(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without data and without teachers, as on anyone's laptop."""
    assert table(name, tmp_path, capsys) == (BOARDS / f"{name}.md").read_text()


@pytest.mark.parametrize(("name", "dataset"), PROBES)
def test_a_table_of_probes_is_too(
    name: str, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = (BOARDS / f"{name}-{dataset}.md").read_text()
    assert table(name, tmp_path, capsys, "--transfer", dataset) == expected


def table(name: str, data: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    places = ("--runs", str(BOARDS / f"{name}.jsonl"), "--data", str(data))
    assert benchmark.main(["table", str(ROOT / f"experiments/{name}.yaml"), *places, *more]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_what_would_be_published(name: str) -> None:
    """Nothing of a stored record is lost or changed by its model."""
    path = BOARDS / f"{name}.jsonl"
    lines = path.read_text().splitlines()
    for line, record in zip(lines, board_file.read(path, measures=True).values(), strict=True):
        published = record.model_dump(exclude_unset=True)
        assert json.dumps(published, ensure_ascii=False, separators=(",", ":")) == line
