"""A result is given its name once: whoever else tries, is killed, or on whatever disk it is."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from results import exclusive, records
from results.records import RecordError
from tests.results.example import document, record
from tests.results.publishing import FORK, NO_LINKS, RESULT_ONLY, names, refuse_links, wait_for


def _race(directory: Path, barrier, wins, number: int) -> None:
    mine = record(float(number), run=f"r{number}", warnings=["x" * 100_000])
    barrier.wait()
    if records.publish(directory, mine):
        wins.put(number)


def _race_half_without(directory: Path, barrier, wins, number: int) -> None:
    if number % 2:
        refuse_links(pytest.MonkeyPatch())
    _race(directory, barrier, wins, number)


def _winner(race: Callable[..., None], directory: Path) -> int:
    """Eight processes publish at once; the number of the only one that won."""
    barrier, wins = FORK.Barrier(8), FORK.Queue()
    racers = [FORK.Process(target=race, args=(directory, barrier, wins, n)) for n in range(8)]
    for racer in racers:
        racer.start()
    winner: int = wins.get(timeout=30)
    assert wait_for(racers) == [0] * 8
    assert wins.empty()
    return winner


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize("race", [_race, _race_half_without])
def test_eight_publish_at_once_and_one_wins(tmp_path, either_way, race, attempt):
    winner = _winner(race, tmp_path)
    found = records.read(tmp_path)
    assert found is not None and found.run == f"r{winner}"
    assert len(found.warnings[0]) == 100_000
    assert names(tmp_path) == RESULT_ONLY


def test_eight_publish_over_a_broken_result_and_one_wins(tmp_path, either_way):
    (tmp_path / "result.json").write_text("{half")
    winner = _winner(_race, tmp_path)
    assert records.read(tmp_path).run == f"r{winner}"
    assert names(tmp_path) == {"result.json", "result.json.broken"}
    assert (tmp_path / "result.json.broken").read_text() == "{half"


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


BROKEN = {"half a file": lambda path: path.write_text("{half"), "a folder": lambda p: p.mkdir()}


def _publish_while_others_do(directory: Path, moment: int, run: str) -> None:
    """Publish; at the ``moment``-th look at the disk or change of it, another one publishes."""
    left, other = moment, []

    def count(event: str, arguments: tuple) -> None:
        nonlocal left
        if event in ("os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "open"):
            left -= 1
            if left == 0:
                other.append(records.publish(directory, record(60.0, run="other")))

    sys.addaudithook(count)
    mine = records.publish(directory, record(70.0, run=run))
    left = 0
    found = records.read(directory).run
    is_right = (mine, other[:1], found) in ((True, [False], run), (False, [True], "other"))
    result, kept = sorted(names(directory))
    is_clean = result == "result.json" and kept in ("result.json.broken", "result.json.broken-2")
    os._exit(2 if not other else not (is_right and is_clean))


@pytest.mark.parametrize("kind", BROKEN)
def test_over_a_broken_result_one_of_two_wins_whenever_the_other_comes(tmp_path, either_way, kind):
    ends: list[int | None] = []
    while not ends or ends[-1] != 2:
        directory = tmp_path / str(len(ends))
        directory.mkdir()
        BROKEN[kind](directory / "result.json")
        arguments = (directory, len(ends) + 1, "mine")
        process = FORK.Process(target=_publish_while_others_do, args=arguments)
        process.start()
        ends += wait_for([process])
    assert len(ends) > 10  # calls at which the other came
    assert ends[:-1] == [0] * (len(ends) - 1)


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


@pytest.mark.parametrize("is_over_broken", [False, True], ids=["new", "over a broken one"])
def test_without_links_killed_at_every_call(tmp_path, monkeypatch, is_over_broken):
    """The result is there, whole, or can still be published; what is left can be removed."""
    refuse_links(monkeypatch)
    ends, found = [], []
    while not ends or ends[-1] != 0:
        directory = tmp_path / str(len(ends))
        directory.mkdir()
        if is_over_broken:
            (directory / "result.json").write_text("{half")
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
        kept = {path for path in directory.iterdir() if ".broken" in path.name}
        assert names(directory) - {path.name for path in kept} == RESULT_ONLY
        assert any(path.read_text() == "{half" for path in kept) == is_over_broken
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
    holds_nothing = either_way == "no links" and kind in ("a fifo", "a socket")
    aside = set() if holds_nothing else {"result.json.broken"}  # else there is something to keep
    assert names(tmp_path) == {"result.json", *aside}


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
