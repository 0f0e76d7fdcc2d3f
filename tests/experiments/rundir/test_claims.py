"""No two processes train the same run at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.rundir import claims, processes

ROOT = Path(__file__).resolve().parents[3]
FORK = multiprocessing.get_context("fork")
TAKERS = 8


def by_another(directory: Path, **holder: object) -> Path:
    """A claim of another process, on another machine unless ``holder`` says otherwise."""
    path = directory / "claim-0003"
    path.write_text(json.dumps({"host": "elsewhere:1234", "pid": 1, "started": "5", **holder}))
    return path


def grow_old(path: Path) -> None:
    past = time.time() - claims.STALE_SECONDS - 60
    os.utime(path, (past, past))


def in_child(action) -> None:
    process = FORK.Process(target=action)
    process.start()
    process.join(30)
    assert process.exitcode == 0


def test_a_claim_is_taken_once(tmp_path):
    claim = claims.take(tmp_path)
    assert claim is not None
    assert claim.number == 1
    assert claim.is_held()
    assert claims.is_alive(claim.path)
    assert claims.take(tmp_path) is None
    assert claim.is_held()


def test_a_dead_process_of_this_machine_is_taken_over_at_once(tmp_path):
    in_child(lambda: claims.take(tmp_path))
    left = claims.newest(tmp_path)
    assert left.name == "claim-0001"
    assert not claims.is_alive(left)
    claim = claims.take(tmp_path)
    assert claim is not None
    assert claim.number == 2
    assert [path.name for path in tmp_path.glob("claim-*")] == ["claim-0002"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_zombie_holds_nothing(tmp_path):
    """Killed, and reaped by nobody: by no first process of a container, or not yet."""
    child = os.fork()
    if child == 0:
        claims.take(tmp_path)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    try:
        assert Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        assert not claims.is_alive(claims.newest(tmp_path))
        claim = claims.take(tmp_path)
        assert claim is not None and claim.number == 2
    finally:
        os.waitpid(child, 0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_whose_first_thread_has_ended_still_holds(tmp_path):
    """Its state is that of a zombie, but its other threads go on."""
    program = (
        "import ctypes, sys, threading, time; from pathlib import Path; "
        "from experiments.rundir import claims; claims.take(Path(sys.argv[1])); "
        "threading.Thread(target=time.sleep, args=(60,)).start(); "
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT)
    stat = Path(f"/proc/{process.pid}/stat")
    try:
        deadline = time.monotonic() + 30
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert claims.is_alive(claims.newest(tmp_path))
    finally:
        process.kill()
        process.wait()


def test_a_reused_pid_is_not_the_holder(tmp_path):
    claim = claims.take(tmp_path)
    holder = json.loads(claim.path.read_text())
    assert holder["pid"] == os.getpid()
    claim.path.write_text(json.dumps({**holder, "started": "1"}))
    assert not claims.is_alive(claim.path)
    assert claims.take(tmp_path).number == 2


def test_a_holder_on_another_machine_is_alive_while_it_beats(tmp_path):
    path = by_another(tmp_path)
    assert claims.is_alive(path)
    assert claims.take(tmp_path) is None
    grow_old(path)
    assert not claims.is_alive(path)
    assert claims.take(tmp_path).number == 4


@pytest.mark.parametrize("text", ["", '{"host": "el', "null", "[]"])
def test_a_claim_that_cannot_be_read_is_judged_by_the_clock(tmp_path, text):
    path = by_another(tmp_path)
    path.write_text(text)
    assert claims.take(tmp_path) is None
    grow_old(path)
    assert claims.take(tmp_path).number == 4


def test_a_heartbeat_keeps_a_claim(tmp_path, monkeypatch):
    claim = claims.take(tmp_path)
    grow_old(claim.path)
    claim.beat()  # too early for another one
    assert not claims.is_alive(claim.path)
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.0)
    claim.beat()
    assert claims.is_alive(claim.path)


def test_a_suspended_holder_notices_that_it_was_taken_over(tmp_path, monkeypatch):
    sleeper = claims.take(tmp_path)
    grow_old(sleeper.path)
    second = claims.take(tmp_path)
    assert second.number == 2
    assert not sleeper.is_held()
    assert second.is_held()
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.0)
    sleeper.beat()
    sleeper.release()
    assert second.is_held()
    assert claims.is_alive(second.path)
    assert [path.name for path in tmp_path.glob("claim-*")] == ["claim-0002"]


def test_a_released_claim_is_taken_over(tmp_path):
    first = claims.take(tmp_path)
    first.release()
    assert not claims.is_alive(first.path)
    second = claims.take(tmp_path)
    assert second.number == 2
    assert not first.is_held()


def test_remove_all_leaves_only_the_result(tmp_path):
    claim = claims.take(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    claims.remove_all(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert not claim.is_held()


def test_numbers_are_compared_as_numbers(tmp_path):
    for number in (9, 10000, 999):
        (tmp_path / f"claim-{number:04d}").write_text(json.dumps({"released": True}))
    assert claims.newest(tmp_path).name == "claim-10000"
    assert claims.take(tmp_path).number == 10001


def test_a_listing_that_missed_the_newest_claim_takes_nothing(tmp_path, monkeypatch):
    """A directory listing is not atomic: files may appear and vanish while it is read."""
    by_another(tmp_path)
    listings = iter([None])
    complete = claims.newest
    monkeypatch.setattr(claims, "newest", lambda d: next(listings, complete(d)))
    assert claims.take(tmp_path) is None
    assert [path.name for path in tmp_path.glob("claim-*")] == ["claim-0003"]


def test_is_alive_leaves_nothing_behind_and_needs_no_write_access(tmp_path, monkeypatch):
    path = by_another(tmp_path)
    assert claims.is_alive(path)
    assert [p.name for p in tmp_path.iterdir()] == ["claim-0003"]

    def refuse(self, *_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "touch", refuse)
    assert claims.is_alive(path)


@pytest.mark.parametrize("before", ["nothing", "dead", "stale", "released"])
def test_of_many_takers_exactly_one_succeeds(tmp_path, before):
    if before == "dead":
        in_child(lambda: claims.take(tmp_path))
    elif before == "stale":
        grow_old(by_another(tmp_path))
    elif before == "released":
        by_another(tmp_path, released=True)
    start, end = FORK.Barrier(TAKERS), FORK.Barrier(TAKERS)
    results = FORK.Queue()

    def taker() -> None:
        start.wait(30)
        claim = claims.take(tmp_path)
        results.put(None if claim is None else claim.number)
        end.wait(30)  # a holder that exits early would lose its claim
        assert claim is None or claim.is_held()

    processes = [FORK.Process(target=taker) for _ in range(TAKERS)]
    for process in processes:
        process.start()
    numbers = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * TAKERS
    assert sum(number is not None for number in numbers) == 1


# ---- what others put there -----------------------------------------------------------------------


def test_a_planted_link_is_never_written_through(tmp_path, monkeypatch):
    """A claim that became a link: what it points to keeps its content and its time."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    before = victim.stat().st_mtime_ns
    run = tmp_path / "run"
    run.mkdir()
    claim = claims.take(run)
    claim.path.unlink()
    claim.path.symlink_to(victim)
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.0)
    claim.beat()
    claim.release()
    assert (victim.read_text(), victim.stat().st_mtime_ns) == ("mine", before)
    assert claims.take(run).number == 2  # stale at once


def test_a_claim_is_not_taken_through_a_planted_link(tmp_path):
    (tmp_path / "claim-0001").symlink_to(tmp_path / "nowhere")
    grow_old_link = time.time() - claims.STALE_SECONDS - 60
    assert claims.take(tmp_path) is None  # as young as any other that cannot be read
    os.utime(tmp_path / "claim-0001", (grow_old_link, grow_old_link), follow_symlinks=False)
    assert claims.take(tmp_path).number == 2
    assert not (tmp_path / "nowhere").exists()


def test_a_fifo_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "claim-0001")
    assert claims.take(tmp_path) is None
    grow_old(tmp_path / "claim-0001")
    assert claims.take(tmp_path).number == 2


@pytest.mark.parametrize("name", ["claim-0001x", "claim-1", "claim-0001.bak", "claim-" + "9" * 30])
def test_what_only_looks_like_a_claim_is_none(tmp_path, name):
    (tmp_path / name).write_text("")
    assert claims.take(tmp_path).number == 1
    claims.remove_all(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("pid", [None, "1", [1]])
def test_a_holder_without_a_process_is_judged_by_the_clock(tmp_path, pid):
    path = by_another(tmp_path, host=processes.host(), pid=pid)
    assert claims.take(tmp_path) is None
    grow_old(path)
    assert claims.take(tmp_path).number == 4


# ---- numbers that begin again --------------------------------------------------------------------


def held_by(number: int, directory: Path, nonce: str = "another's") -> Path:
    """The claim of another process on another machine."""
    path = directory / f"claim-{number:04d}"
    path.write_text(
        json.dumps({"host": "elsewhere:1234", "pid": 1, "started": "5", "nonce": nonce})
    )
    return path


@pytest.mark.parametrize("text", [None, "", "[]", json.dumps({"released": True})])
def test_a_claim_of_the_same_number_is_not_the_holders(tmp_path, monkeypatch, text):
    """The directory's claims were deleted with its result, and somebody else began at 1."""
    claim = claims.take(tmp_path)
    claims.remove_all(tmp_path)
    other = held_by(claim.number, tmp_path)
    if text is not None:  # just created, cut, or given up
        other.write_text(text)
    grow_old(other)
    before = other.read_text(), other.stat().st_mtime_ns
    assert not claim.is_held()
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.0)
    claim.beat()
    claim.release()
    assert (other.read_text(), other.stat().st_mtime_ns) == before


def test_an_older_version_s_claim_is_read_as_before(tmp_path):
    """It has no nonce; it holds until it is stale."""
    assert claims.take(tmp_path).path.read_text().count("nonce") == 1
    claims.remove_all(tmp_path)
    path = by_another(tmp_path)
    assert "nonce" not in path.read_text()
    assert claims.take(tmp_path) is None
    grow_old(path)
    assert claims.take(tmp_path).number == 4


def test_of_many_takers_whose_numbers_begin_again_each_knows_its_own(tmp_path):
    """Real processes: each takes claim-0001 after the one before was deleted."""
    held = FORK.Queue()

    def taker(turn: int) -> None:
        claim = claims.take(tmp_path)
        assert claim is not None and claim.number == 1
        (tmp_path / f"took-{turn}").touch()
        while not (tmp_path / "all").exists():
            time.sleep(0.01)
        held.put((turn, claim.is_held()))

    processes = []
    for turn in range(TAKERS):
        claims.remove_all(tmp_path)
        processes.append(FORK.Process(target=taker, args=(turn,)))
        processes[-1].start()
        while not (tmp_path / f"took-{turn}").exists():
            time.sleep(0.01)
    (tmp_path / "all").touch()
    found = sorted(held.get(timeout=30) for _ in processes)
    for process in processes:
        process.join(30)
    assert found == [(turn, turn == TAKERS - 1) for turn in range(TAKERS)]
