"""requirements.txt against what is installed, and the error message if packages are missing."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from experiments.doctor import packages
from experiments.doctor.finding import FAIL, OK

ROOT = Path(__file__).resolve().parents[3]
TEXT = """# why
torch>=2.6              # networks
odd-name.x>=1
# Development: what `make test` calls.
ruff>=0.6
"""


@pytest.mark.parametrize(
    ("torch", "other", "message"),
    [
        ("2.6.0+cu124", "1", None),
        ("2.10.0", "1.0.1", None),
        ("2.6rc1", "1", None),
        ("2.5.9", "1", "torch 2.5.9, expected torch>=2.6"),
        ("2.5.1", None, "torch 2.5.1, expected torch>=2.6; odd-name.x>=1 missing"),
    ],
)
def test_versions_and_what_only_development_needs(monkeypatch, torch, other, message):
    versions = {"torch": torch, "odd-name.x": other}

    def version(name):
        if versions[name] is None:
            raise metadata.PackageNotFoundError
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    finding = packages.check_packages(TEXT)
    assert finding.level == (FAIL if message else OK)
    assert message is None or (finding.message == message and sys.executable in finding.fix)


def test_every_line_of_the_file_is_understood():
    text = (ROOT / "requirements.txt").read_text().partition(packages.DEVELOPMENT)[0]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert all(re.match(r"[\w.-]+>=[\d.]+ +# \w", line) for line in lines)
    assert len(packages.requirements(text)) == len(lines) > 5


def test_old_python(monkeypatch):
    assert packages.check_python().level == OK
    monkeypatch.setattr(packages, "PYTHON", (99, 0))
    finding = packages.check_python()
    assert (finding.level, "99.0" in finding.fix) == (FAIL, True)


def test_only_what_is_missing_is_explained(monkeypatch, capsys):
    monkeypatch.setattr(packages, "findings", list)
    with pytest.raises(ImportError, match="cannot import name"):  # a bug is not hidden
        packages.explain(ImportError("cannot import name 'x'"))
    assert packages.explain(OSError("libcublas.so.12: cannot open shared object file")) == 2
    assert "libcublas" in capsys.readouterr().err


def test_a_python_without_packages_is_explained_in_one_line():
    """-S -I: this interpreter without its packages."""
    script = str(ROOT / "benchmark.py")
    program = (
        f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['b', 'doctor'];"
        f"runpy.run_path({script!r}, run_name='__main__')"
    )
    command = [sys.executable, "-S", "-I", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {sys.executable}: packages: torch>=2.6 missing")
    assert (done.stderr.count("\n"), done.stdout) == (1, "")
