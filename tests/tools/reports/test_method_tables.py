"""The tables about methods: errors against official code, and which pairs they serve."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.experiments import cli
from tools.reports import pairs_table

ROOT = Path(__file__).resolve().parents[3]


def test_pairs_and_reasons(tmp_path: Path) -> None:
    matrix = cli.write(
        tmp_path, pairs=["resnet14 -> resnet8", "vgg8 -> resnet8"], methods=["kd", "fsp"]
    )
    assert pairs_table.main([str(matrix), "--output", str(tmp_path / "out.md")]) == 0
    text = (tmp_path / "out.md").read_text()
    assert [cell.strip() for cell in text.splitlines()[6].split("|")][1:3] == ["KD", "ok"]
    assert "n/a (1)" in text
    assert "\n1. fsp" in text


def test_errors_of_one_fixture(tmp_path: Path) -> None:
    """In a process of its own: it puts itself between the tests and their comparisons."""
    program = (
        "import sys; from tools.reports import golden_errors as g; from pathlib import Path;"
        "g.TESTS = Path(sys.argv[1]); sys.exit(g.main(['--output', sys.argv[2]]))"
    )
    (tmp_path / "tests").mkdir()
    source = (ROOT / "tests/distillers/test_golden_at.py").read_text()
    (tmp_path / "tests/test_golden_at.py").write_text(source)
    command = [sys.executable, "-c", program, str(tmp_path / "tests"), str(tmp_path / "out.md")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = [line for line in (tmp_path / "out.md").read_text().splitlines() if "| at " in line]
    assert len(rows) == 3
    assert all("e" in cell for row in rows for cell in row.split("|")[3:7])
