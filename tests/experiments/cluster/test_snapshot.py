"""A copy of the code that jobs can run from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from distillers.plugins import read_plugin
from experiments import environment
from experiments.cluster import snapshot
from results import records
from tests.experiments import sending
from tests.experiments.sending import Killed, Place, settings

HERE = Path(__file__).parents[1]
CODE = {"benchmark.py": "import models", "models/__init__.py": "", "models/deep/net.py": "a = 1"}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small harness in place of this one."""
    folder = tmp_path / "checkout"
    for name, text in {**CODE, "models/notes.md": "no code", "tests/test_a.py": "no"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(snapshot, "CHECKOUT", folder)
    return folder


def make(tmp_path: Path, *plugins: Path) -> tuple[Path, tuple[Path, ...]]:
    return snapshot.make(tmp_path / "a place" / ".slurm", plugins)


def contents(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def plugin(folder: Path, text: str = "mine = 1") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my_method.py").write_text(text)
    return folder / "my_method.py"


def test_all_code_and_nothing_else(checkout, tmp_path):
    copy, plugins = make(tmp_path)
    found = contents(copy)
    made = json.loads(found.pop(environment.SNAPSHOT))
    assert found == CODE
    assert plugins == ()
    assert made.items() >= environment.code().items()
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_the_same_code_is_copied_once(checkout, tmp_path):
    copy, _ = make(tmp_path)
    before = {path: path.stat() for path in copy.rglob("*")}
    (checkout / "models" / "notes.md").write_text("other notes")
    assert make(tmp_path)[0] == copy
    assert {path: path.stat() for path in copy.rglob("*")} == before


@pytest.mark.parametrize(
    "change",
    [
        lambda code: (code / "benchmark.py").write_text("import models, sys"),
        lambda code: (code / "models" / "new.py").write_text(""),
        lambda code: (code / "models" / "deep" / "net.py").unlink(),
        lambda code: (code / "models" / "deep" / "net.py").rename(code / "models" / "net.py"),
    ],
    ids=["changed", "added", "removed", "moved"],
)
def test_other_code_is_another_copy(checkout, tmp_path, change):
    first, _ = make(tmp_path)
    before = contents(first)
    change(checkout)
    second, _ = make(tmp_path)
    assert second != first
    assert contents(first) == before
    change_of_mind = {str(p.relative_to(checkout)) for p in checkout.rglob("*.py")}
    assert set(contents(second)) - {snapshot.MARKER} == change_of_mind - {"tests/test_a.py"}


def test_plugins_are_in_it_also_when_they_have_one_name(checkout, tmp_path):
    given = plugin(tmp_path / "a", "a = 1"), plugin(tmp_path / "b", "b = 1")
    copy, copies = make(tmp_path, *given)
    assert [path.read_text() for path in copies] == ["a = 1", "b = 1"]
    assert all(path.name == "my_method.py" and copy in path.parents for path in copies)
    assert make(tmp_path)[0] != copy
    given[1].write_text("b = 2")
    assert make(tmp_path, *given)[0] != copy


def test_plugins_bring_their_siblings_and_folders(checkout, tmp_path):
    one = tmp_path / "one" / "mine.py"
    folder = tmp_path / "my methods"
    for path, text in (
        (one, "import terms\n"),
        (one.with_name("terms.py"), "x = 1\n"),
        (one.with_name("unrelated.py"), "x = 2\n"),
        (folder / "first.py", "from .deep import y\n"),
        (folder / "deep" / "__init__.py", "y = 3\n"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    _, (file, copied) = make(tmp_path, one, folder)
    assert sorted(path.name for path in file.parent.iterdir()) == ["mine.py", "terms.py"]
    assert (copied.name, (copied / "deep" / "__init__.py").read_text()) == ("my methods", "y = 3\n")
    # Jobs load the copies: they must be the plugins whose digests are in the ids.
    for given, copy in ((one, file), (folder, copied)):
        assert read_plugin(copy).digest == read_plugin(given).digest


def test_the_marker_comes_last_and_the_copy_appears_whole(checkout, tmp_path, monkeypatch):
    seen = []

    def look() -> dict[str, None]:
        (draft,) = (tmp_path / "a place" / ".slurm").iterdir()
        seen.append((draft.name[:6], contents(draft)))
        return {}

    monkeypatch.setattr(environment, "code", look)
    make(tmp_path)
    assert seen == [(".code-", CODE)]


def test_killed_while_copying_there_is_no_copy_and_the_next_one_is_whole(
    checkout, tmp_path, monkeypatch
):
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "rename", killed)
        make(tmp_path)
    assert list((tmp_path / "a place" / ".slurm").glob("code-*")) == []
    assert set(contents(make(tmp_path)[0])) == {*CODE, snapshot.MARKER}


@pytest.mark.parametrize("left", [[], ["benchmark.py"]], ids=["empty", "some"])
def test_half_a_copy_is_none(checkout, tmp_path, left):
    """As a killed `clean` leaves it."""
    copy, _ = make(tmp_path)
    for name in {*CODE, snapshot.MARKER} - set(left):
        (copy / name).unlink()
    assert make(tmp_path)[0] == copy
    assert set(contents(copy)) == {*CODE, snapshot.MARKER}


def test_of_two_builders_at_once_one_is_faster(checkout, tmp_path, monkeypatch):
    known, made = environment.code, []

    def meanwhile() -> dict[str, object]:
        if not made:  # in the middle of the first one's copying
            made.append(None)
            made[0] = make(tmp_path)[0]
        return known()

    monkeypatch.setattr(environment, "code", meanwhile)
    copy, _ = make(tmp_path)
    assert made == [copy]
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    assert set(contents(copy)) == {*CODE, snapshot.MARKER}


def test_what_is_wrong_with_the_disk_is_said(checkout, tmp_path):
    place = tmp_path / "a place"
    place.write_text("a file")
    with pytest.raises(OSError, match="a place"):
        make(tmp_path)


# ---- jobs run from it ----------------------------------------------------------------------------


@pytest.mark.usefixtures("own_registry")
def test_a_job_runs_from_the_copy(fake, tmp_path, monkeypatch):
    """A real worker, started by the script as it was sent, with the plugin gone meanwhile."""
    place = Place(tmp_path / "it's a place")
    place.folder.mkdir()
    shutil.copy(HERE / "my_method.py", place.folder)
    place.write(plugins=["my_method.py"], methods=["vanilla"], trials=1, recipe__epochs=1)
    (sent,) = sending.send(place, settings(snapshot=True))
    (run,) = place.specs("vanilla")
    (place.folder / "my_method.py").unlink()
    marker = Path(str(sent.snapshot)) / snapshot.MARKER
    marker.write_text(json.dumps({"commit": "of the copy", "dirty": False, "changes": None}))
    for name, value in fake.environment(f"{sent.job}_0").items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(["bash", "-c", fake.jobs[0]["script"]], capture_output=True, text=True)
    assert done.returncode == 0, sent.log(0).read_text()
    assert "epoch 1/1: loss " in sent.log(0).read_text()
    record = records.read(run.directory(place.runs))
    assert record is not None
    assert record.starts[0].commit == "of the copy"
    assert record.starts[0].job == "101"
