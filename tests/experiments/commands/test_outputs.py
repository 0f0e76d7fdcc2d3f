"""What a command writes replaces a file or nothing; a planted link is never written through."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import numpy as np
import pytest

from datasets import cache, index
from datasets.cache import CacheSpec, ImageSource, cached
from experiments.memo import Memo
from results.records import RecordError
from results.report import site
from tests.experiments import cli
from tools import import_checkpoint

KINDS = {
    "a symbolic link": lambda path: path.symlink_to("victim"),
    "a FIFO": os.mkfifo,
    "a directory": lambda path: path.mkdir(),
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    "a device": lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3)),
}


def commands(name: str) -> list[list[str]]:
    """Every command that writes a file whose name it is given."""
    return [
        ["table", "matrix.yaml", "--format", "markdown", "--output", name],
        ["table", "matrix.yaml", "--diagram", name],
        ["table", "matrix.yaml", "--format", "latex", "--output", "t.tex", "--macros", name],
        ["collect", ".", "--output", name],
        ["export", "run", "--output", name],
        ["report", "matrix.yaml", "--single-file", "--output", name],
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_only_files_are_replaced(tmp_path, kind, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cli.write(tmp_path)
    victim, place = tmp_path / "victim", tmp_path / "place.html"
    victim.write_text("mine")
    try:
        KINDS[kind](Path("place.html"))
    except PermissionError:
        pytest.skip("this user may not make devices")
    before = os.lstat(place)
    for command in commands("place.html"):
        said = cli.call(*command)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), command
        assert "place.html: " in said.err
        assert kind.split()[-1] in said.err, command
    with pytest.raises(SystemExit, match="2"):
        import_checkpoint.main(["w.pth", "--to", "place.html"])
    assert kind in capsys.readouterr().err
    assert (os.lstat(place).st_mode, os.lstat(place).st_ino) == (before.st_mode, before.st_ino)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", [".", "/dev/stdout", "/dev/null", "/dev/fd/1"])
def test_what_people_try(tmp_path, name):
    said = cli.call("table", "matrix.yaml", "--format", "markdown", "--output", name)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert ("to print it, leave the flag out" in said.err) == name.startswith("/dev")


def test_a_check_of_what_is_no_file(tmp_path, done):
    os.mkfifo(tmp_path / "t.md")
    said = done.call("table", "--check", str(tmp_path / "t.md"))
    assert (said.code, said.err) == (2, f"error: --check {tmp_path / 't.md'}: expected a file\n")


def test_a_file_is_still_replaced_and_keeps_utf8(tmp_path, done):
    place = tmp_path / "table→.md"
    place.write_text("old")
    assert done.call("table", "--output", str(place)).code == 0
    assert "→" in place.read_text(encoding="utf-8")


# ---- names that somebody guessed -----------------------------------------------------------------


class Fixed:
    """Stands in for the random part of names: an attacker who guessed it."""

    hex = "0" * 32


@pytest.fixture
def victim(tmp_path, monkeypatch) -> Path:
    """A file that links to be planted point to, where every random name is known."""
    monkeypatch.setattr("uuid.uuid4", Fixed)
    monkeypatch.setattr("secrets.token_hex", lambda count=32: "0" * 2 * count)
    path = tmp_path / "victim"
    path.write_text("mine")
    return path


def decoded() -> CacheSpec:
    source = ImageSource(np.zeros(2, np.int64), lambda span: np.zeros((len(span), 3, 4, 4), "u1"))
    return CacheSpec("set", "key", 4, {"train": source, "test": source}, ("a",))


def test_the_cache_is_not_written_through_a_link(tmp_path, victim):
    folder = tmp_path / "cache"
    folder.mkdir()
    spec = decoded()
    for name in (spec.file_name, "probe"):
        cache.draft_of(folder / name).symlink_to(victim)
    with pytest.raises(cache.DataError, match="cannot write"):
        cached(spec, tmp_path, str(folder))
    cache.draft_of(folder / "probe").unlink(missing_ok=True)
    with pytest.raises(cache.DataError, match="cannot write"):
        cached(spec, tmp_path, str(folder))
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("to", ["victim", "nowhere"])
def test_links_of_the_names_of_cache_and_lock_are_replaced_or_left(tmp_path, to, victim):
    folder = tmp_path / "cache"
    folder.mkdir()
    spec = decoded()
    lock = (folder / spec.file_name).with_suffix(".lock")
    (folder / spec.file_name).symlink_to(tmp_path / "nowhere")
    lock.symlink_to(tmp_path / to)
    os.utime(lock, (0, 0), follow_symlinks=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "MAX_WAIT", 0.2)
        assert len(cached(spec, tmp_path, str(folder)).train.labels) == 2
    assert not (folder / spec.file_name).is_symlink()
    assert victim.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_the_index_and_the_memo_are_not_written_through_a_link(tmp_path, victim):
    folder = tmp_path / "data"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.png").write_bytes(b"x")
    index.indexed_listing(folder, ["a"], [tmp_path / "one"])
    (made,) = (tmp_path / "one").iterdir()
    (tmp_path / "two").mkdir()
    cache.draft_of(tmp_path / "two" / made.name).symlink_to(victim)
    index.indexed_listing(folder, ["a"], [tmp_path / "two"])
    (folder / ".cache").mkdir()
    (folder / ".cache" / ".kind-00000000").symlink_to(victim)
    Memo(folder).store("kind", {"a": 1}, 2)
    assert victim.read_text() == "mine"


def test_pages_are_not_written_through_a_link(tmp_path, victim):
    page = tmp_path / "page.html"
    (tmp_path / f".page.html.{os.getpid()}-00000000.tmp").symlink_to(victim)
    with pytest.raises(RecordError, match="cannot be written: File exists"):
        site._write(page, "text")
    page.symlink_to(victim)
    site._write(page, "mine")
    assert not page.is_symlink()
    assert (victim.read_text(), page.read_text()) == ("mine", "mine")
