from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from results import exclusive, records, schema
from results.records import RecordError
from tests.results.example import document, record

FORK = multiprocessing.get_context("fork")
RESULT_ONLY = {"result.json"}


NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES, errno.EMLINK, errno.EXDEV)


def refuse_links(monkeypatch, number: int = errno.EPERM) -> None:
    def refuse(source, target):
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    monkeypatch.setattr(os, "link", refuse)


@pytest.fixture(params=["links", "no links"])
def either_way(request, monkeypatch) -> str:
    """The file system has hard links, or it has none."""
    if request.param == "no links":
        refuse_links(monkeypatch)
    return request.param


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def wait_for(processes: list) -> list[int | None]:
    for process in processes:
        process.join(30)
    return [process.exitcode for process in processes]


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


def _race(directory: Path, barrier, wins, number: int) -> None:
    mine = record(float(number), run=f"r{number}", warnings=["x" * 100_000])
    barrier.wait()
    if records.publish(directory, mine):
        wins.put(number)


def _race_half_without(directory: Path, barrier, wins, number: int) -> None:
    if number % 2:
        refuse_links(pytest.MonkeyPatch())
    _race(directory, barrier, wins, number)


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize("race", [_race, _race_half_without])
def test_eight_publish_at_once_and_one_wins(tmp_path, either_way, race, attempt):
    barrier, wins = FORK.Barrier(8), FORK.Queue()
    racers = [FORK.Process(target=race, args=(tmp_path, barrier, wins, n)) for n in range(8)]
    for racer in racers:
        racer.start()
    winner = wins.get(timeout=30)
    assert wait_for(racers) == [0] * 8
    assert wins.empty()
    found = records.read(tmp_path)
    assert found is not None and found.run == f"r{winner}"
    assert len(found.warnings[0]) == 100_000
    assert names(tmp_path) == RESULT_ONLY


def test_eight_publish_over_a_broken_result(tmp_path, either_way):
    (tmp_path / "result.json").write_text("{half")
    barrier, wins = FORK.Barrier(8), FORK.Queue()
    racers = [FORK.Process(target=_race, args=(tmp_path, barrier, wins, n)) for n in range(8)]
    for racer in racers:
        racer.start()
    wins.get(timeout=30)
    assert wait_for(racers) == [0] * 8
    assert records.read(tmp_path) is not None
    assert "{half" in [p.read_text() for p in tmp_path.glob("result.json.broken*")]


def _publish_and_die(directory: Path, call: str) -> None:
    setattr(os, call, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    records.publish(directory, record(71.0))


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_killed_while_writing_leaves_no_result(tmp_path, call):
    process = FORK.Process(target=_publish_and_die, args=(tmp_path, call))
    process.start()
    assert wait_for([process]) == [-signal.SIGKILL]
    assert not (tmp_path / "result.json").exists()
    assert records.read(tmp_path) is None
    assert records.scan(tmp_path) == []
    assert records.publish(tmp_path, record(72.0)) is True
    assert records.remove_temporaries(tmp_path) == 1
    assert names(tmp_path) == RESULT_ONLY


def test_publish_sets_a_broken_result_aside(tmp_path, either_way):
    (tmp_path / "result.json").write_text('{"format": 1, "ru')
    assert records.publish(tmp_path, record(70.0, run="new")) is True
    assert records.read(tmp_path).run == "new"
    assert (tmp_path / "result.json.broken").read_text() == '{"format": 1, "ru'


def test_a_good_result_set_aside_by_mistake_returns(tmp_path, either_way, monkeypatch):
    """Another process replaces the broken result between our look and our move."""
    target = tmp_path / "result.json"
    target.write_text("{half")
    moved = records.set_aside

    def late(path: Path) -> Path:
        monkeypatch.setattr(records, "set_aside", moved)
        assert records.publish(tmp_path, record(60.0, run="other")) is True
        return moved(path)

    monkeypatch.setattr(records, "set_aside", late)
    assert records.publish(tmp_path, record(70.0, run="mine")) is False
    assert records.read(tmp_path).run == "other"
    assert names(tmp_path) == {"result.json", "result.json.broken"}


@pytest.mark.parametrize("error", [FileExistsError(), OSError(errno.EIO, "I/O error")])
def test_link_that_worked_although_it_reported_failure(tmp_path, monkeypatch, error):
    """NFS repeats a request whose answer was lost; the repetition finds the name taken."""
    link = os.link

    def lost_answer(source, target):
        link(source, target)
        raise error

    monkeypatch.setattr(os, "link", lost_answer)
    assert records.publish(tmp_path, record(70.0, run="mine")) is True
    assert records.read(tmp_path).run == "mine"
    assert names(tmp_path) == RESULT_ONLY


def test_link_fails(tmp_path, monkeypatch):
    refuse_links(monkeypatch, errno.EIO)
    with pytest.raises(RecordError, match=r"result\.json: cannot be published: Input/output error"):
        records.publish(tmp_path, record(70.0))
    assert names(tmp_path) == set()


# ---- file systems without hard links -------------------------------------------------------------


@pytest.mark.parametrize("number", NO_LINKS, ids=errno.errorcode.get)
def test_without_links_a_result_is_published_once(tmp_path, monkeypatch, number):
    refuse_links(monkeypatch, number)
    assert records.publish(tmp_path, record(70.0, run="first")) is True
    assert records.publish(tmp_path, record(71.0, run="second")) is False
    assert records.read(tmp_path).run == "first"
    assert names(tmp_path) == RESULT_ONLY


def test_without_links_the_file_is_durable_before_it_is_decided(tmp_path, monkeypatch):
    refuse_links(monkeypatch)
    calls = []
    fsync, rename, move = os.fsync, os.rename, exclusive._rename_new

    def noted(descriptor):
        calls.append("directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "rename", lambda *two: (calls.append(two[1].name[-8:]), rename(*two)))
    monkeypatch.setattr(exclusive, "_rename_new", lambda *two: (calls.append("move"), move(*two)))
    records.publish(tmp_path, record(70.0))
    in_own, decided = calls[1], ".decided"
    assert calls == ["file", in_own, "directory", decided, "move", "directory"]


def _publish_and_die_at(directory: Path, number: int) -> None:
    """Die at the n-th call of this process that changes or lists files, or would."""
    left = number

    def count(event: str, args: object) -> None:
        nonlocal left
        if event in ("open", "ctypes.dlsym") or event.startswith(("os.", "shutil.")):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    fsync = os.fsync
    os.fsync = lambda descriptor: (count("os.fsync", ()), fsync(descriptor))
    sys.addaudithook(count)
    records.publish(directory, record(71.0, run="killed"))


def test_without_links_killed_at_every_call(tmp_path, monkeypatch):
    """The result is there, whole, or can still be published; what is left can be removed."""
    refuse_links(monkeypatch)
    ends, found = [], []
    while not ends or ends[-1] != 0:
        directory = tmp_path / str(len(ends))
        directory.mkdir()
        process = FORK.Process(target=_publish_and_die_at, args=(directory, len(ends) + 1))
        process.start()
        ends += wait_for([process])
        before = records.read(directory)
        is_new = records.publish(directory, record(72.0, run="next"))
        after = records.read(directory)
        assert is_new == (after.run == "next")
        assert before in (None, after)
        found.append((before is not None, after.run))
        records.remove_temporaries(directory)
        assert names(directory) == RESULT_ONLY
    assert set(ends[:-1]) == {-signal.SIGKILL}
    kinds = list(dict.fromkeys(found))  # nothing, then decided, then published
    assert kinds == [(False, "next"), (False, "killed"), (True, "killed")]


def test_what_a_killed_process_decided_is_published_at_the_next_start(tmp_path):
    decided = tmp_path / ".result.json.decided"
    decided.mkdir()
    (decided / "x").write_text(json.dumps(document(70.0, run="first")))
    assert records.read(tmp_path) is None
    records.finish(tmp_path)
    assert (records.read(tmp_path).run, names(tmp_path)) == ("first", RESULT_ONLY)
    records.finish(tmp_path)
    assert names(tmp_path) == RESULT_ONLY


@pytest.mark.parametrize("number", [0, errno.ENOTEMPTY, errno.EACCES])
def test_a_decision_left_empty_is_no_obstacle(tmp_path, monkeypatch, number):
    """Whether or not a directory may replace an empty one, as over SMB."""
    refuse_links(monkeypatch)
    (tmp_path / ".result.json.decided").mkdir()
    rename = os.rename

    def strict(source, target):
        if number and os.path.isdir(target):
            raise OSError(number, os.strerror(number))
        rename(source, target)

    monkeypatch.setattr(os, "rename", strict)
    assert records.publish(tmp_path, record(70.0)) is True
    assert names(tmp_path) == RESULT_ONLY


def test_without_renameat2_either(tmp_path, monkeypatch):
    refuse_links(monkeypatch)
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    assert records.publish(tmp_path, record(70.0, run="first")) is True
    assert records.publish(tmp_path, record(71.0)) is False
    assert records.read(tmp_path).run == "first"


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("kind", ["folder", "file", "nothing"])
def test_a_planted_link_of_the_decided_name_leads_nowhere(tmp_path, monkeypatch, kind, links):
    run, victim = tmp_path / "run", tmp_path / "victim"
    run.mkdir()
    if kind != "nothing":
        thesis = victim / "thesis" if kind == "folder" else victim
        thesis.parent.mkdir(exist_ok=True)
        thesis.write_text("chapter 1")
    (run / ".result.json.decided").symlink_to(victim)
    if not links:
        refuse_links(monkeypatch)
    records.remove_temporaries(run)
    (run / ".result.json.decided").symlink_to(victim)
    assert records.publish(run, record(70.0)) is True
    assert names(run) == RESULT_ONLY
    assert kind == "nothing" or thesis.read_text() == "chapter 1"
    assert victim.exists() == (kind != "nothing")


def test_where_nothing_is_exclusive_it_is_said_and_nothing_stays(tmp_path, monkeypatch):
    def replace(source, target):
        if os.path.isdir(target):
            shutil.rmtree(target)
        os.replace(source, target)

    assert exclusive.why_no_links(tmp_path) == ""
    refuse_links(monkeypatch)
    assert exclusive.why_no_links(tmp_path) == "Operation not permitted"
    monkeypatch.setattr(os, "rename", replace)
    with pytest.raises(OSError, match="no hard links, and a directory replaces one with files"):
        exclusive.why_no_links(tmp_path)
    assert names(tmp_path) == set()


# ---- what is no file -----------------------------------------------------------------------------

PLANTED = {
    "a folder": lambda path: path.mkdir(),
    "a folder of files": lambda path: (path.mkdir(), (path / "x").write_text("x")),
    "a fifo": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_no_file_is_set_aside(tmp_path, kind, either_way, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    PLANTED[kind](Path("result.json"))
    assert records.read(tmp_path) is None
    assert records.scan(tmp_path) == []
    assert records.publish(tmp_path, record(70.0)) is True
    assert records.read(tmp_path).top1 == 70.0
    assert os.path.lexists(tmp_path / "result.json.broken")
    assert names(tmp_path) == {"result.json", "result.json.broken"}


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
