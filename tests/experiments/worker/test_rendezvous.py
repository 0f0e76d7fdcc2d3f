"""Processes meet at an open port: strangers there neither run code, nor join, nor stop a job."""

from __future__ import annotations

import os
import pickle
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from experiments.matrix.recipe import Recipe
from experiments.rundir.layout import WEIGHTS
from experiments.train import messages
from experiments.train.distributed import Broken, DistributedGroup, _proof
from experiments.train.teachers import Blocked
from experiments.worker.job import Job, command
from experiments.worker.rendezvous import Meeting, _opened
from results.records import RecordError
from tests.experiments import tiny

# ---- what travels --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [None, True, 0.1, "ü", b"\x80\x04", b"", [1, "a"], {"state": "done", "top1": 0.1}]
)
def test_values_arrive_as_they_were(value: object) -> None:
    found, error, answer = messages.answer_of(lambda: value)
    assert (found, error) == (value, None)
    assert messages.opened(answer) == (value, None)


def raising(error: Exception) -> object:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        Blocked("no weights"),
        RecordError("disk"),
        FileNotFoundError(2, "No such file or directory"),
        KeyError("x"),
        ValueError("one", 2),
    ],
)
def test_errors_keep_their_class_and_text(error: Exception) -> None:
    mine, sent, answer = messages.answer_of(lambda: raising(error))
    assert mine is None and sent is error
    _, found = messages.opened(answer)
    assert type(found) is type(error) and str(found) == str(error)


def test_errors_that_need_more_than_their_arguments_keep_their_text() -> None:
    class Local(Exception):  # noqa: N818
        def __init__(self, a: int, b: int) -> None:
            super().__init__(f"{a} of {b}")

    for error in (Local(1, 2), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")):
        _, found = messages.opened(messages.answer_of(lambda error=error: raising(error))[2])
        assert type(found) is RuntimeError and str(error) in str(found)


def test_only_plain_data_travel() -> None:
    value, error, answer = messages.answer_of(lambda: Path("x"))
    assert value is None and isinstance(error, RuntimeError)
    assert "cannot be told to the other processes" in str(messages.opened(answer)[1])


def test_arrays_arrive_as_they_were() -> None:
    arrays = {"logits": np.ones((3, 2), np.float16), "labels": np.arange(3)}
    found = messages.decode_arrays(messages.encode_arrays(arrays))
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and (found[name] == array).all()
    assert messages.decode_arrays(messages.encode_arrays({})) == {}


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "mark"))
    for kind in (messages.PLAIN, messages.ERROR, b"", b"x"):
        with pytest.raises(ValueError):
            messages.opened(kind + bomb)
    assert not (tmp_path / "mark").exists()


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


# ---- where it is said ----------------------------------------------------------------------------


def test_the_meeting_is_private(tmp_path: Path) -> None:
    path, meeting = tmp_path / "meeting", Meeting("host", 1, "ab")
    before = os.umask(0)
    try:
        meeting.write(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert Meeting.read(path) == meeting
    assert [p.name for p in tmp_path.iterdir()] == ["meeting"]


def test_a_meeting_that_others_may_have_written_is_refused(tmp_path: Path) -> None:
    path, link, fifo = tmp_path / "meeting", tmp_path / "link", tmp_path / "fifo"
    Meeting("host", 1, "ab").write(path)
    link.symlink_to(path)
    os.mkfifo(fifo, 0o600)
    with pytest.raises(OSError, match="symbolic"):
        Meeting.read(link)
    with pytest.raises(Broken, match="expected a file of this user"):
        Meeting.read(fifo)
    path.chmod(0o640)
    with pytest.raises(Broken, match="expected a file of this user"):
        Meeting.read(path)


def test_a_planted_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "meeting"
    victim.write_text("mine")
    path.symlink_to(victim)
    Meeting("host", 1, "ab").write(path)
    assert victim.read_text() == "mine" and not path.is_symlink()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads /proc")
def test_one_address_is_listened_on() -> None:
    store, meeting = _opened(2, "127.0.0.1")
    assert addresses_listening_at(meeting.port) == ["0100007F"]
    assert meeting.secret not in meeting.prefix
    del store


def addresses_listening_at(port: int) -> list[str]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    six = Path("/proc/net/tcp6")
    rows += [line.split() for line in six.read_text().splitlines()[1:]] if six.exists() else []
    at = f":{port:04X}"
    return [row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[1].endswith(at)]


@pytest.mark.parametrize("impostor", [None, 0, 2])
def test_whoever_lacks_the_secret_is_noticed(impostor: int | None) -> None:
    """What each process sends is replaced by what all would send, one of them with no secret."""
    group = DistributedGroup.__new__(DistributedGroup)
    group.rank, group.size = 1, 3

    def sent(data: bytes) -> list[bytes]:
        if nonces:  # the second round: the proofs
            secrets = [b"" if rank == impostor else b"secret" for rank in range(3)]
            return [_proof(secret, rank, nonces[0]) for rank, secret in enumerate(secrets)]
        nonces.append(b"".join([b"0" * 32, data, b"2" * 32]))
        return [b"0" * 32, data, b"2" * 32]

    nonces: list[bytes] = []
    group._all = sent  # type: ignore[method-assign]
    if impostor is None:
        group._check_members(b"secret")
        return
    with pytest.raises(Broken, match=f"process {impostor} of this job is a stranger"):
        group._check_members(b"secret")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc")
def test_a_closed_group_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")

    def threads() -> set[str]:
        return set(os.listdir("/proc/self/task"))

    before = threads()
    group = DistributedGroup(0, 1, dist.HashStore(), torch.device("cpu"), b"secret")
    assert group.on_main(lambda: 1) == 1
    assert threads() > before
    group.close()
    assert threads() == before


# ---- strangers -----------------------------------------------------------------------------------


class Strangers(threading.Thread):
    """Connect to whatever a job's processes listen at, and say what no member would."""

    def __init__(self, process: subprocess.Popen[str], mark: Path) -> None:
        super().__init__(daemon=True)
        self.process, self.open, self.ports = process, [], set[int]()
        bomb = pickle.dumps(Bomb(mark))
        size = len(bomb).to_bytes(8, "little")
        self.words = (b"", b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 64, bomb, size + bomb)

    def run(self) -> None:
        while self.process.poll() is None:
            for port in listening(self.process.pid) - self.ports:
                self.ports.add(port)
                for word in self.words:
                    self.say(port, word)
            time.sleep(0.02)

    def say(self, port: int, word: bytes) -> None:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=1)
            connection.sendall(word)
        except OSError:
            return  # closed again
        self.open.append(connection)  # and wait for ever


def listening(pid: int) -> set[int]:
    """The TCP ports at which a process and its children listen."""
    found = set[int]()
    for process in (pid, *children(pid)):
        try:
            links = [os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir()]
            rows = Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]
        except OSError:
            continue
        sockets = set(re.findall(r"socket:\[(\d+)\]", " ".join(links)))
        cells = [row.split() for row in rows]
        found |= {int(c[1][-4:], 16) for c in cells if c[3] == "0A" and c[9] in sockets}
    return found


def children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for sockets in /proc")
def test_strangers_change_nothing(tmp_path: Path) -> None:
    weights = []
    for company in (False, True):
        runs, mark = tmp_path / f"runs-{company}", tmp_path / "mark"
        runs.mkdir()
        spec = tiny.spec("vanilla", Recipe(epochs=2, batch_size=16, milestones=()))
        job = Job((spec,), runs, runs, {}, None, (), processes=2)
        job.write(runs / "job.json")
        process = subprocess.Popen(
            command(runs / "job.json", as_json=False), stderr=subprocess.PIPE, text=True
        )
        strangers = Strangers(process, mark)
        if company:
            strangers.start()
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert bool(strangers.ports) == company and not mark.exists()
        weights.append(tiny.load_file(spec.directory(runs) / WEIGHTS))
    tiny.assert_same_weights(*weights)
