"""Values remembered on disk: known again for the same key, and never a reason to fail."""

from __future__ import annotations

import pytest

from experiments.memo import Memo, code_digest

KEY = {"weights": "ab", "numbers": [1, 2.5]}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def test_what_is_stored_is_known(tmp_path):
    memo = Memo(tmp_path)
    assert memo.known("teacher", KEY) is None
    memo.store("teacher", KEY, 71.5)
    assert Memo(tmp_path).known("teacher", KEY) == 71.5
    assert memo.known("teacher", {**KEY, "weights": "cd"}) is None
    assert memo.known("other", KEY) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": {}, "value": 1}', "\0"])
def test_a_damaged_entry_is_not_known(tmp_path, content):
    memo = Memo(tmp_path)
    memo.store("teacher", KEY, 71.5)
    (path,) = (tmp_path / ".cache").glob("teacher-*.json")
    path.write_text(content)
    assert memo.known("teacher", KEY) is None
    memo.store("teacher", KEY, 70.0)
    assert memo.known("teacher", KEY) == 70.0


def test_a_folder_that_cannot_be_written_is_passed_over(tmp_path):
    (tmp_path / ".cache").write_text("a file")
    memo = Memo(tmp_path)
    memo.store("teacher", KEY, 71.5)
    assert memo.known("teacher", KEY) == 71.5
    assert list((tmp_path / "home" / "kd-datasets").iterdir())


@pytest.mark.parametrize("root", [None, "nowhere"])
def test_without_a_data_root_nothing_is_kept(tmp_path, root):
    memo = Memo(root and tmp_path / root)
    memo.store("teacher", KEY, 71.5)
    assert memo.known("teacher", KEY) is None
    assert not (tmp_path / "home").exists()


def test_code_digests_tell_folders_apart():
    assert code_digest("models") != code_digest("datasets")
    assert code_digest("models") == code_digest("models")
