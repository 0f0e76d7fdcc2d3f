"""Decoding processes that die, stop or cannot be started: no wait is for ever, nothing is left."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch

from datasets import DataError, cores, decoding_process, loaders, shared_block, waiting
from datasets.decoding import Decoder, Request
from datasets.decoding_process import DecodingProcess
from datasets.loaders import Loaders, count_workers
from datasets.waiting import Blocked, Patience, in_thread
from tests.datasets.scripted import Scripted

CHECKOUT = Path(__file__).parents[2]


def batches(*paths):
    return [[Request(path)] for path in paths]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two processes, which all tests share: whatever happens to them, the next test can go on."""
    loader = Loaders(Scripted(str(tmp_path_factory.mktemp("once"))), 2)
    yield loader
    loader.close()


def values(found):
    return [int(pixels[0, 0, 0, 0, 0]) for pixels in found]


# ---- processes that die --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "exit"])
def test_a_process_that_dies_is_replaced_and_no_batch_is_lost(two, capfd, how):
    paths = [f":{k}" for k in range(20)]
    paths[5] = f"once-{how}:5"
    assert values(two.batches(batches(*paths))) == list(range(20))
    said = capfd.readouterr().err
    cause = "ended with exit code 3" if how == "exit" else f"was killed by {how}"
    assert f"{cause} at once-{how}:5" in said
    assert said.count("started again") == 1
    assert values(two.batches(batches(":1", ":2"))) == [1, 2]


def test_a_batch_that_kills_twice_is_named_and_the_next_stream_has_new_processes(two):
    found = two.batches(batches(":0", ":1", "SIGKILL:2", ":3"))
    assert [values([next(found)]) for _ in range(2)] == [[0], [1]]
    begun = time.monotonic()
    with pytest.raises(DataError, match=r"killed by SIGKILL at SIGKILL:2 \(memory may have run"):
        next(found)
    assert time.monotonic() - begun < 8
    assert values(two.batches(batches(":1", ":2", ":3"))) == [1, 2, 3]


def test_an_error_that_nobody_expected_names_the_file(two):
    with pytest.raises(DataError, match=r"^raise:1: cannot be decoded \(MemoryError: no room\)$"):
        list(two.batches(batches(":0", "raise:1")))
    assert values(two.batches(batches(":0"))) == [0]


# ---- processes that are blocked ------------------------------------------------------------------


def test_a_blocked_process_is_replaced(two, monkeypatch, capfd):
    replace, begun = DecodingProcess._replace, Path(two.decoder.once) / "once-SIGSTOP:1"

    def patiently(self, *arguments):  # the new process may take a while to start
        monkeypatch.setattr(waiting, "BLOCKED_SECONDS", 60.0)
        replace(self, *arguments)
        begun.write_text("again")

    def while_waiting():
        if begun.exists() and not begun.read_text():
            monkeypatch.setattr(waiting, "BLOCKED_SECONDS", 0.5)

    monkeypatch.setattr(DecodingProcess, "_replace", patiently)
    found = two.batches(batches(":0", "once-SIGSTOP:1", ":2"), while_waiting)
    assert values(found) == [0, 1, 2]
    assert "made no progress for 0.5 s at once-SIGSTOP:1 (its disk" in capfd.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_blocks_is_named(tmp_path, monkeypatch, workers):
    """A pipe that nobody writes to blocks as a disk does that does not answer."""
    monkeypatch.setattr(waiting, "BLOCKED_SECONDS", 0.5)
    os.mkfifo(tmp_path / "pipe")
    loader = Loaders(Decoder(32, 4, flip=True), workers)
    with pytest.raises(DataError, match=rf"{tmp_path}/pipe"):
        list(loader.batches(batches(str(tmp_path / "pipe"))))
    loader.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_raised_while_waiting_ends_the_wait(tmp_path, workers):
    loader = Loaders(Scripted(str(tmp_path)), workers)
    turns = iter(range(3))

    def while_waiting():
        if next(turns, None) is None:
            raise InterruptedError("stop")

    begun = time.monotonic()
    with pytest.raises(InterruptedError, match="stop"):
        list(loader.batches(batches(":0", "sleep:1"), while_waiting))
    assert time.monotonic() - begun < 20
    loader.close()


def test_a_stream_left_half_way_is_not_decoded_to_its_end(two):
    asked = []

    def requests():
        for k in range(40):
            asked.append(k)
            yield [Request(f":{k}")]

    found = two.batches(requests())
    next(found)
    found.close()
    assert len(asked) == 2 * decoding_process.PREFETCH
    assert values(two.batches(batches(":7", ":8"))) == [7, 8]
    assert all(not process.tasks for process in two._idle[0])


def test_batches_may_grow_between_streams(two):
    for count in (1, 300, 2):
        for pixels in two.batches([[Request(f":{k % 256}") for k in range(count)]]):
            assert pixels[:, 0, 0, 0, 0].tolist() == [k % 256 for k in range(count)]


# ---- no process stays ----------------------------------------------------------------------------


def test_even_a_stopped_process_leaves_with_a_killed_trainer(tmp_path):
    script = """
        import os, signal, sys
        from datasets import decoding_process
        from datasets.decoding import Request
        from tests.datasets.scripted import Scripted
        decoder, requests = Scripted(sys.argv[1]), [Request(":1")]
        process = decoding_process.DecodingProcess(decoder, "forkserver", lambda: None)
        process.prepare(requests, lambda: None)
        process.send(requests)
        process.receive(lambda: None)
        os.kill(process.process.pid, signal.SIGSTOP)
        print(process.process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    line = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(line, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    gone = Path(f"/proc/{int(done.stdout)}")
    deadline = time.monotonic() + 10
    while gone.exists() and "\nState:\tZ" not in (gone / "status").read_text():
        assert time.monotonic() < deadline, "a decoding process outlives its trainer"
        time.sleep(0.05)


# ---- where processes cannot be started, or share no memory ---------------------------------------


def test_without_anonymous_memory_a_temporary_file_is_shared(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    loader = Loaders(Scripted(str(tmp_path)), 1)
    assert values(loader.batches(batches(":1", ":2"))) == [1, 2]
    assert loader._idle[0][0].block.is_reserved
    loader.close()


def test_without_room_for_shared_memory_the_trainer_decodes(two, monkeypatch, capfd):
    def full(self, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_block.SharedBlock, "grow", full)
    assert values(two.batches(batches(":1", ":2"))) == [1, 2]
    assert "No space left on device); the trainer decodes" in capfd.readouterr().err


def test_a_process_that_cannot_be_started_is_replaced_by_the_trainer(tmp_path, monkeypatch, capfd):
    def refuse(self):
        raise OSError(11, "Resource temporarily unavailable")  # ulimit -u

    monkeypatch.setattr(decoding_process.DecodingProcess, "_launch", refuse)
    loader = Loaders(Scripted(str(tmp_path)), 2)
    assert values(loader.batches(batches(":1", ":2"))) == [1, 2]
    said = capfd.readouterr().err
    assert "2 decoding processes cannot be started (spawn: [Errno 11] Resource" in said
    assert said.endswith("the trainer will decode\n")


def test_without_a_folder_for_sockets_processes_are_spawned(tmp_path, monkeypatch):
    context = decoding_process._context

    def refuse(method):
        if method == "forkserver":
            raise FileNotFoundError(2, "No usable temporary directory found")
        return context(method)

    monkeypatch.setattr(decoding_process, "_context", refuse)
    loader = Loaders(Scripted(str(tmp_path)), 1)
    assert values(loader.batches(batches(":1"))) == [1]
    assert loader._idle[0][0].method == "spawn"
    loader.close()


def test_few_open_files_mean_fewer_processes_and_a_note(tmp_path, monkeypatch, capfd):
    used = len(os.listdir("/proc/self/fd"))
    limit = used + loaders.RESERVE + 2 * loaders.FILES - 1
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    loader = Loaders(Scripted(str(tmp_path)), 3)
    assert values(loader.batches(batches(":1", ":2"))) == [1, 2]
    assert len(loader._idle[0]) == 1
    said = capfd.readouterr().err
    assert f"3 decoding processes cannot be started ({limit} open files at most" in said
    assert "1 of them will decode" in said
    loader.close()


def test_nothing_is_put_into_dev_shm(two):
    before = set(os.listdir("/dev/shm"))
    for _ in two.batches(batches(*(f":{k}" for k in range(12)))):
        new = set(os.listdir("/dev/shm")) - before
        assert not {name for name in new if name.startswith(("torch", "psm", "sem"))}


def test_a_decoder_with_tensors_needs_no_dev_shm(tmp_path, monkeypatch):
    """It may be read-only. Transforms hold tensors, which torch passes by files there."""

    def refuse(*_):
        raise RuntimeError("unable to open shared memory object: Read-only file system (30)")

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", refuse)
    decoder = Scripted(str(tmp_path))
    decoder.ratio = torch.tensor([0.75, 1.25])
    with pytest.raises(RuntimeError, match="Read-only"):  # as multiprocessing would
        ForkingPickler.dumps(decoder)
    process = DecodingProcess(decoder, "forkserver", lambda: None)
    process.prepare(*batches(":3"), lambda: None)
    process.send([Request(":3")])
    assert values([process.receive(lambda: None)]) == [3]
    process.stop()


def test_the_files_of_a_stopped_process_are_closed(tmp_path):
    loader = Loaders(Scripted(str(tmp_path)), 1)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    assert values(loader.batches(batches(":1"))) == [1]
    loader.close()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# ---- waiting -------------------------------------------------------------------------------------


def test_progress_keeps_a_wait_going(monkeypatch):
    monkeypatch.setattr(waiting, "BLOCKED_SECONDS", 0.0)
    numbers = iter([1, 2, 3, 3])
    patience = Patience(lambda: next(numbers), lambda: None)
    patience.ask()
    patience.ask()
    with pytest.raises(Blocked):
        patience.ask()


def test_an_action_in_a_thread_returns_and_raises():
    patience = Patience(lambda: None, lambda: None)
    assert in_thread(lambda: 3, patience) == 3
    with pytest.raises(TimeoutError, match="its own"):
        in_thread(lambda: (_ for _ in ()).throw(TimeoutError("its own")), patience)


def test_where_no_thread_can_be_started_the_action_is_taken_here(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert in_thread(lambda: 3, Patience(lambda: None, lambda: None)) == 3


def test_the_quota_counts_for_the_default_of_workers(monkeypatch):
    monkeypatch.setattr(cores, "usable", lambda: 3)
    assert count_workers("x", None) == 3
    monkeypatch.setattr(cores, "usable", lambda: 64)
    assert count_workers("x", None) == loaders.MAX_DEFAULT
