"""What runs are called where they are listed one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.local.progress import VERBOSE, Progress
from experiments.plan.plan import prepare
from experiments.plan.summary import labels, pairs
from experiments.plan.workspace import Workspace
from tests.experiments import cli

PAIRS = [
    "resnet14 -> resnet8x4",
    "resnet20 -> resnet14 -> resnet8x4",
    "[resnet14, resnet20] -> resnet8x4",
]


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    cli.write(tmp_path, pairs=PAIRS, methods=["vanilla", "kd"], trials=1)
    return tmp_path / "matrix.yaml"


def test_a_chain_is_told_from_its_last_pair(matrix: Path):
    """In the words of the matrix, which the table by pairs has, too."""
    said = cli.command("status", matrix, "--each").out
    for pair in PAIRS:
        assert f"  {pair}, KD, trial 0  " in said
    assert "  resnet20 -> resnet14, assistant by kd, trial 0  " in said
    assert "  resnet8x4, Student alone, trial 0  " in said  # one run of all pairs


def test_progress_names_the_pair(matrix: Path, capsys: pytest.CaptureFixture[str]):
    plan = prepare(str(matrix), Workspace(matrix.parent / "runs", matrix.parent / "data", "cpu"))
    statuses = plan.statuses().values()
    progress = Progress(statuses, 1, labels(plan), None, VERBOSE, pairs(plan))
    names = [progress.name(status.spec) for status in statuses]
    assert {f"{pair}, KD, trial 0" for pair in PAIRS} < set(names)
    progress.close()
