from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from results import records, schema
from results.records import RecordError
from tests.results.example import document, record
from tests.results.publishing import FORK, RESULT_ONLY, names, wait_for


def test_publish_then_read(tmp_path, either_way):
    written = record(71.25, run="a1", warnings=["± – übel"])
    assert records.publish(tmp_path, written) is True
    assert records.read(tmp_path) == written
    assert names(tmp_path) == RESULT_ONLY
    assert "± – übel" in (tmp_path / "result.json").read_text("utf-8")


def test_second_publish_changes_nothing(tmp_path, either_way):
    records.publish(tmp_path, record(71.25, run="a1"))
    before = (tmp_path / "result.json").read_bytes()
    assert records.publish(tmp_path, record(99.0, run="a1")) is False
    assert (tmp_path / "result.json").read_bytes() == before
    assert names(tmp_path) == RESULT_ONLY


def test_the_file_is_durable_before_its_name_and_the_name_before_we_say_so(tmp_path, monkeypatch):
    calls = []
    fsync, link = os.fsync, os.link

    def noted(descriptor):
        calls.append("directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "link", lambda *names: (calls.append("link"), link(*names)))
    records.publish(tmp_path, record(70.0))
    assert calls == ["file", "link", "directory"]


@pytest.mark.parametrize("name", ["n" * 255, "n" * 254, "ä" * 127, "€" * 85, "n" * 230])
def test_names_as_long_as_they_may_be(tmp_path, name):
    records.write_atomic(tmp_path / name, "old")
    records.write_atomic(tmp_path / name, "new")
    assert (tmp_path / name).read_text() == "new"
    assert names(tmp_path) == {name}


def test_a_planted_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "other").write_text("other's")
    (tmp_path / "file").symlink_to("other")
    records.write_atomic(tmp_path / "file", "new")
    assert (tmp_path / "other").read_text() == "other's"
    assert (tmp_path / "file").read_text() == "new"
    assert not (tmp_path / "file").is_symlink()


@contextmanager
def refused_directory(tmp_path: Path, kind: str) -> Iterator[Path]:
    if kind == "absent":
        yield tmp_path / "absent"
    elif kind == "a file":
        (tmp_path / "file").write_text("")
        yield tmp_path / "file"
    elif kind == "kernel":  # nobody may create files there
        yield Path("/proc/self/fdinfo")
    else:
        with TemporaryDirectory() as directory:
            os.chmod(directory, 0o555)
            with unprivileged():
                yield Path(directory)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write everywhere, so for a moment it is another user."""
    before = os.geteuid()
    os.seteuid(before or 65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("kind", ["absent", "a file", "kernel", "read-only"])
@pytest.mark.parametrize("write", ["publish", "write_atomic"])
def test_refused_directory_is_one_line(tmp_path, kind, write):
    with refused_directory(tmp_path, kind) as directory, pytest.raises(RecordError) as caught:
        if write == "publish":
            records.publish(directory, record(70.0))
        else:
            records.write_atomic(directory / "file.txt", "text")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{directory}/")


MEASURED = {"format": 1, "run": "run", "samples": 10, "top1": 70.0}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"path": Path("x")}, "not JSON serializable"),
        ({"clip": float("inf")}, "not JSON compliant"),
    ],
)
def test_publish_refuses_what_nobody_could_read(tmp_path, change, problem):
    with pytest.raises(RecordError, match=problem):
        records.publish(tmp_path, record(70.0, spec=change))
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 2}, "^format: input should be 1, not 2$"),
        ({"run": None}, "^run: input should be a valid string, not None$"),
        ({"spec": "x"}, "^spec: input should be an object, not 'x'$"),
        ({"accuracy": {}}, r"^accuracy\.last: field required$"),
        (
            {"accuracy": {"last": {"top1": 171.0}}},
            r"top1: .* less than or equal to 100, not 171\.0",
        ),
        ({"accuracy": {"last": {"top1": True}}}, "top1: input should be a valid integer, not True"),
        ({"accuracy": {"last": {"top1": float("nan")}}}, "top1: .* not None"),
        ({"accuracy": {"last": {"top1": 7.0}, "samples": -1}}, "samples: .* not -1"),
        ({"measures": {**MEASURED, "correct": "=!"}}, r"measures\.correct: "),
        ({"measures": {**MEASURED, "correct": "AA=="}}, "expected 2 bytes, got 1"),
    ],
)
def test_what_is_no_record_is_named(change, problem):
    with pytest.raises(ValueError, match=problem):
        schema.parse(json.dumps(document(70.0, **change)).encode())


def test_what_is_not_finite_is_read_as_null():
    data = json.dumps(document(70.0, seconds=float("nan"), images_per_second=float("inf"))).encode()
    found = schema.parse(data)
    assert (found.seconds, found.images_per_second, found.top1) == (None, None, 70.0)
    with pytest.raises(ValueError, match="not JSON"):
        schema.parse(data[:-5])


def test_overflown_loss_does_not_cost_the_result(tmp_path):
    last = {"top1": 70.0, "loss": float("inf")}
    assert records.publish(tmp_path, record(70.0, accuracy={"last": last})) is True
    assert records.read(tmp_path).accuracy.last.loss is None


def test_undecodable_names_survive(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    assert records.publish(tmp_path, record(70.0, warnings=[odd])) is True
    assert records.read(tmp_path).warnings == (odd,)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000, b'{"format": 9}'],
)
def test_read_of_a_broken_result_is_none_and_moves_nothing(tmp_path, content):
    path = tmp_path / "result.json"
    path.write_bytes(content)
    assert records.read(tmp_path) is None
    assert path.read_bytes() == content
    assert names(tmp_path) == RESULT_ONLY


def test_half_of_a_good_result_is_none(tmp_path):
    records.publish(tmp_path, record(70.0))
    path = tmp_path / "result.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert records.read(tmp_path) is None


def test_read_of_nothing(tmp_path):
    assert records.read(tmp_path) is None
    assert records.read(tmp_path / "absent") is None


def test_read_says_when_the_disk_does_not_say(tmp_path, monkeypatch):
    def stale(*_, **__):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "open", stale)
    with pytest.raises(RecordError, match=r"result\.json: cannot be read: Stale file handle"):
        records.read(tmp_path)


def test_set_aside_never_overwrites(tmp_path):
    path = tmp_path / "checkpoint"
    for i, name in enumerate(["checkpoint.broken", "checkpoint.broken-2", "checkpoint.broken-3"]):
        path.write_text(f"version {i}")
        assert records.set_aside(path) == tmp_path / name
        assert not path.exists()
    assert [(tmp_path / f"checkpoint.broken{n}").read_text() for n in ("", "-2", "-3")] == [
        "version 0",
        "version 1",
        "version 2",
    ]


def test_set_aside_of_nothing(tmp_path):
    with pytest.raises(RecordError, match="absent: cannot be set aside: No such file"):
        records.set_aside(tmp_path / "absent")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("data", ["text ±", b"\x00bytes"])
def test_write_atomic_replaces(tmp_path, data):
    path = tmp_path / "file"
    path.write_text("old and longer than the new content")
    records.write_atomic(path, data)
    assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
    assert names(tmp_path) == {"file"}


def _write_and_die(path: Path, call: str) -> None:
    setattr(os, call, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    records.write_atomic(path, "new")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_write_atomic_killed_keeps_the_old_file(tmp_path, call):
    (tmp_path / "file").write_text("old")
    process = FORK.Process(target=_write_and_die, args=(tmp_path / "file", call))
    process.start()
    assert wait_for([process]) == [-signal.SIGKILL]
    assert (tmp_path / "file").read_text() == "old"


def test_write_atomic_failing_keeps_the_old_file(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match="file: cannot be written: No space left on device"):
        records.write_atomic(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == {"file"}


def test_scan_is_sorted_and_passes_over_the_unfinished(tmp_path):
    for name in ("b/at/0-x", "a/kd/1-x", "a/kd/0-x", "a/kd/2-half", "a/kd/3-running"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("b/at/0-x", "a/kd/1-x", "a/kd/0-x"):
        records.publish(tmp_path / name, record(70.0, run=name))
    (tmp_path / "a/kd/2-half/result.json").write_text(json.dumps(document(70.0))[:100])
    (tmp_path / "a/kd/0-x/result.json.broken").write_text("{")
    found = records.scan(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path, _ in found] == [
        "a/kd/0-x",
        "a/kd/1-x",
        "b/at/0-x",
    ]
    assert [one.run for _, one in found] == ["a/kd/0-x", "a/kd/1-x", "b/at/0-x"]
    assert records.scan(tmp_path / "absent") == []


def test_scan_enters_links_once(tmp_path):
    elsewhere = tmp_path / "elsewhere/0-x"
    elsewhere.mkdir(parents=True)
    records.publish(elsewhere, record(70.0))
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "cifar100").symlink_to(tmp_path / "elsewhere")
    (runs / "cycle").symlink_to(runs)
    assert [path for path, _ in records.scan(runs)] == [runs / "cifar100/0-x"]
