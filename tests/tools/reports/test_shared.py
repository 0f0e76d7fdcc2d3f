"""What holds for every report script."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tools.reports import shared

FOLDER = Path(shared.__file__).parent
SCRIPTS = [path for path in sorted(FOLDER.glob("*.py")) if path.read_text().startswith("#!")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_is_shown_and_nothing_is_written(script, monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError("--help writes a file")

    module = importlib.import_module(f"tools.reports.{script.stem}")
    monkeypatch.setattr("results.records.write_atomic", refuse)
    monkeypatch.setattr(sys, "argv", [script.name, "--help"])
    with pytest.raises(SystemExit) as ending:
        module.main()
    assert ending.value.code == 0
    assert (module.__doc__ or "").splitlines()[0][:40] in capsys.readouterr().out


def test_a_script_runs_from_anywhere(tmp_path):
    """It finds the checkout by itself."""
    command = [sys.executable, FOLDER / "cost.py", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0 and b"one by one" in done.stdout


def test_a_report_is_printed_and_written(tmp_path, capsys):
    shared.publish("text\n", tmp_path / "new folder" / "report.md")
    assert (tmp_path / "new folder" / "report.md").read_text() == "text\n"
    assert capsys.readouterr().out.strip() == "text"
