"""What code a start was made with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import environment

WHO = ("-c", "user.name=t", "-c", "user.email=t@example.org")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *WHO, *arguments], cwd=folder, check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    environment.code.cache_clear()
    yield
    environment.code.cache_clear()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two committed files, as if it were the harness."""
    folder = tmp_path / "checkout"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "net.py").write_text("a = 1\n")
    (folder / "README.md").write_text("text\n")
    (folder / ".gitignore").write_text("/runs/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    monkeypatch.setattr(environment, "CHECKOUT", folder)
    return folder


def code() -> dict[str, Any]:
    environment.code.cache_clear()
    return environment.code()


def change(checkout: Path, name: str, text: str | bytes | None = "b = 2\n") -> dict[str, Any]:
    path = checkout / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return code()


def test_a_clean_checkout(checkout):
    expected = {"commit": git(checkout, "rev-parse", "HEAD"), "dirty": False, "changes": None}
    assert code() == expected
    start = environment.start_record(torch.device("cpu"))
    assert {key: start[key] for key in expected} == expected


@pytest.mark.parametrize("name", ["README.md", "notes.txt", "runs/own.py", "results/x/result.json"])
def test_what_is_no_code_of_the_harness_changes_nothing(checkout, name):
    assert change(checkout, name)["dirty"] is False


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("models/net.py", "a = 2\n"),
        ("models/net.py", None),
        ("models/own.py", "a = 1\n"),
        ("ü b.py", "a = 1\n"),
        ("latin.py", b"# \xe9\n"),
    ],
)
def test_changed_deleted_and_new_files_are_dirty(checkout, name, text):
    clean = code()
    changed = change(checkout, name, text)
    assert changed["dirty"] is True
    assert changed["commit"] == clean["commit"]
    assert changed["changes"] and changed == code()
    git(checkout, "add", ".")
    assert code() == changed, "staged or not"


def test_other_changes_have_another_hash(checkout):
    states = [
        change(checkout, "models/net.py", "a = 2\n"),
        change(checkout, "models/net.py", "a = 3\n"),
        change(checkout, "models/new.py", "a = 3\n"),
        change(checkout, "models/new.py", "a = 4\n"),
        change(checkout, "models/net.py", None),
        change(checkout, "models/big.py", "#" * 3_000_000),
    ]
    assert len({state["changes"] for state in states}) == len(states)
    assert change(checkout, "models/big.py", None) == states[4]


def test_a_process_looks_once(checkout):
    before = environment.code()
    (checkout / "models" / "net.py").write_text("a = 2\n")
    assert environment.code() == before != code()


def test_outside_of_git_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert code() == {"commit": None, "dirty": None, "changes": None}


def test_without_git_nothing_is_known(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert code() == {"commit": None, "dirty": None, "changes": None}


SNAPSHOT = {"commit": "c" * 40, "dirty": True, "changes": "1a2b3c4d5e6f"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps({**SNAPSHOT, "made": "2026-01-02"}), SNAPSHOT),
        (json.dumps({"commit": "c" * 40}), {**SNAPSHOT, "dirty": None, "changes": None}),
        ("{half", dict.fromkeys(SNAPSHOT)),
        ("[]", dict.fromkeys(SNAPSHOT)),
    ],
)
def test_a_snapshot_says_what_it_is_a_copy_of(checkout, text, expected):
    """Also inside of another repository, whose commit is not the copy's."""
    (checkout / environment.SNAPSHOT).write_text(text)
    assert code() == expected
