"""requirements.txt against what is installed; and the line where packages are missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.doctor import packages
from experiments.doctor.finding import FAIL, OK, WARN

ROOT = Path(__file__).resolve().parents[3]
TEXT = """# why
torch>=2.6              # networks
numpy>=1.26,<3
odd-name.x
# Development: what `make test` calls.
ruff>=0.6
"""
VERSIONS = {"torch": "2.6.0+cu124", "numpy": "2.0", "odd-name.x": "1", "ruff": "0.6.0"}


def judged(**changes):
    versions = {**VERSIONS, **changes}
    return packages.packages(packages.requirements(TEXT), versions.get)


def test_requirements():
    asked = packages.requirements(TEXT)
    assert [str(need) for need in asked] == [
        "torch>=2.6",
        "numpy>=1.26,<3",
        "odd-name.x",
        "ruff>=0.6",
    ]
    assert [need.development for need in asked] == [False, False, False, True]


def test_every_line_of_the_file_is_understood():
    text = (ROOT / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    asked = packages.requirements(text)
    assert len(asked) == len(lines)
    assert all(need.bounds for need in asked)
    assert {need.name for need in asked if need.development} >= {"pytest", "ruff"}


@pytest.mark.parametrize("line", ["torch~=2.6", "git+https://x/y", "torch >= 2 ; python > 3"])
def test_other_forms_are_refused(line):
    with pytest.raises(ValueError, match="expected NAME>=VERSION"):
        packages.requirements(line)


@pytest.mark.parametrize(
    ("bounds", "version", "admitted"),
    [
        (((">=", "2.6"),), "2.6.0", True),
        (((">=", "2.6"),), "2.10.0+cu130", True),
        (((">=", "2.6"),), "2.5.9", False),
        (((">=", "2.6.1"),), "2.6", False),
        (((">=", "2.6"),), "2.6rc1", True),
        (((">=", "1"), ("<", "3")), "3.0", False),
        ((("!=", "1.4"),), "1.4.0", False),
        ((("==", "1.4"),), "1.4", True),
        (((">", "1.4"),), "1.4", False),
        ((("<=", "1.4"),), "1.4.0", True),
    ],
)
def test_versions(bounds, version, admitted):
    assert packages.Requirement("x", bounds, False).admits(version) is admitted


def test_all_well():
    assert [f.level for f in judged()] == [OK]


def test_missing_and_old_ones_are_named_in_one_line():
    (found,) = judged(torch="2.5.1", numpy=None)
    assert found.level == FAIL
    assert found.found == "torch 2.5.1, expected torch>=2.6; numpy>=1.26,<3 missing"
    assert sys.executable in found.mend


def test_what_only_development_needs_is_a_note():
    (found,) = judged(ruff=None)
    assert (found.level, found.found) == (WARN, "ruff>=0.6 missing")


def test_old_python(monkeypatch):
    assert packages.python().level == OK
    monkeypatch.setattr(packages, "PYTHON", (99, 0))
    found = packages.python()
    assert found.level == FAIL
    assert "99.0" in found.mend


def test_without_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "REQUIREMENTS", tmp_path / "none.txt")
    assert [f.level for f in packages.findings()] == [OK, WARN]


def test_a_mistake_in_the_code_is_not_hidden(monkeypatch):
    monkeypatch.setattr(packages, "findings", list)
    with pytest.raises(ImportError, match="cannot import name"):
        packages.explain(ImportError("cannot import name 'x'"))


def test_a_library_that_cannot_be_loaded(monkeypatch, capsys):
    monkeypatch.setattr(packages, "findings", list)
    assert packages.explain(OSError("libcublas.so.12: cannot open shared object file")) == 2
    assert "libcublas" in capsys.readouterr().err


def test_another_python_is_told_so_in_one_line():
    """-S -I: this interpreter without its packages."""
    command = [sys.executable, "-S", "-I", str(ROOT / "benchmark.py"), "doctor"]
    preparation = (
        f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['b', 'doctor']"
    )
    program = f"{preparation}; runpy.run_path({str(ROOT / 'benchmark.py')!r}, run_name='__main__')"
    done = subprocess.run([*command[:3], "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {sys.executable}: packages: torch>=2.6 missing")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
