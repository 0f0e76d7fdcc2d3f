"""One decoding process as the trainer sees it: its batches, how it ends, and its replacement.

Processes are started by a *fork server*. Forking the trainer would copy locks that its other
threads (CUDA, the heartbeat, OpenMP) hold at that moment, and spawning would import torch once for
every process. The fork server imports it once and has no threads.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import pickle
import signal
import sys
import types
import weakref
from collections import deque
from collections.abc import Iterator
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import cast

import numpy as np
import torch
from torch import Tensor

from . import waiting
from .decoding import Decoder, Request
from .decoding_server import Reply, serve
from .errors import DataError
from .shared_block import BEGUN, CANCELLED, COUNTERS, PLACE, SharedBlock
from .waiting import POLL_SECONDS, Blocked, Patience, WhileWaiting, in_thread

PRELOAD = ["torch", "torchvision.transforms.v2", "PIL.Image"]
METHODS = ("forkserver", "spawn")  # the second needs no socket in the folder for temporary files
PREFETCH = 4  # batches per process ahead of the trainer
DEATHS_ALLOWED = 1  # on one batch: memory may run out once; twice, the batch is likely the cause
END_SECONDS = 5.0  # a killed process is gone by then, unless a disk holds it
# The trainer alone handles signals that end or interrupt a job: it saves, then its workers exit.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# What usually sends a signal that the process did not ask for.
LIKELY = {
    "SIGKILL": "memory may have run out: fewer `workers` need less",
    "SIGBUS": "memory ran out: fewer `workers` need less",
    "SIGSEGV": "a fault of an image library, or a damaged file",
    "SIGABRT": "a fault of an image library, or a damaged file",
}
_started: weakref.WeakSet[DecodingProcess] = weakref.WeakSet()


class StartError(OSError):
    """A process cannot be started here: too many files or processes, no folder for sockets."""


class _Gone(Exception):  # noqa: N818  (describes a process)
    """The process died, or is blocked; the message says how and at which file."""


class DecodingProcess:
    """A process with up to PREFETCH batches ahead, which it returns in order.

    A process that dies or is blocked is replaced once per batch, with a line on standard error.
    """

    def __init__(self, decoder: Decoder, method: str, while_waiting: WhileWaiting) -> None:
        """Start it. Raises StartError, and what ``while_waiting`` raises."""
        self.decoder, self.method = decoder, method
        # As bytes: multiprocessing would pass its tensors by files in /dev/shm.
        self.described = pickle.dumps(decoder)
        self.tasks: deque[tuple[int, int, list[Request]]] = deque()  # number, start, requests
        self.sent, self.stride = 0, 0
        self.block = SharedBlock()
        self._start(while_waiting)
        _started.add(self)

    # ---- life ----------------------------------------------------------------------------------

    def _start(self, while_waiting: WhileWaiting) -> None:
        patience = Patience(lambda: None, while_waiting)
        try:
            self.process, self.pipe = in_thread(self._launch, patience)
        except (OSError, EOFError) as error:  # EOFError: the fork server could not fork
            raise StartError(str(error) or "the fork server has ended") from error
        except Blocked:
            raise StartError(f"no process within {waiting.BLOCKED_SECONDS:g} s") from None

    def _launch(self) -> tuple[BaseProcess, Connection]:
        context = _context(self.method)
        ours, theirs = context.Pipe()
        with theirs:
            process = context.Process(  # type: ignore[attr-defined]
                target=serve, args=(self.described, theirs, self.block), daemon=True
            )
            with _no_main():
                process.start()
        return process, ours

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def rest(self) -> None:
        """After a stream: batches ahead are not wanted any more, and the memory is free."""
        self.block.counters[CANCELLED] = self.sent
        if not self.tasks:
            self.block.release()

    def stop(self) -> None:
        """Kill the process and wait a few seconds for its end."""
        self._kill()
        self.block.close()
        _started.discard(self)

    def _kill(self) -> None:
        self.process.kill()
        self.process.join(END_SECONDS)
        self.pipe.close()

    # ---- batches -------------------------------------------------------------------------------

    def prepare(self, requests: list[Request], while_waiting: WhileWaiting) -> None:
        """Before a stream: drop what is left of another, and make room for such batches.

        Raises OSError if there is no memory for them.
        """
        while self.tasks:
            self.receive(while_waiting)
        page = COUNTERS
        pixels = len(requests) * max(1, len(requests[0].seeds)) * 3 * self.decoder.size**2
        need = max(pixels, len(pickle.dumps(requests)))
        self.stride = -(-need // page) * page
        self.block.grow(COUNTERS + PREFETCH * self.stride)

    def send(self, requests: list[Request]) -> None:
        """Add a batch, no larger than that of `prepare`, to the PREFETCH - 1 or fewer ahead."""
        self.sent += 1
        start = COUNTERS + self.sent % PREFETCH * self.stride
        self.tasks.append((self.sent, start, requests))
        self._pass_on(*self.tasks[-1])

    def _pass_on(self, number: int, start: int, requests: list[Request]) -> None:
        described = pickle.dumps(requests)
        self.block.bytes(start, len(described))[:] = np.frombuffer(described, np.uint8)
        with contextlib.suppress(OSError):  # it has died: `receive` notices
            self.pipe.send((number, start, len(described)))

    def receive(self, while_waiting: WhileWaiting) -> Tensor | str | None:
        """The oldest batch ahead: uint8 pixels, or a message about a file; None if cancelled.

        The pixels are those of the shared memory: they last until PREFETCH more batches are sent.
        Raises DataError if two processes died of the batch, and what ``while_waiting`` raises.
        """
        reply = self._reply(while_waiting)
        _, start, _ = self.tasks.popleft()
        if isinstance(reply, tuple):
            size = int(np.prod(reply))
            return torch.from_numpy(self.block.bytes(start, size)).view(reply)
        return reply

    def _reply(self, while_waiting: WhileWaiting) -> Reply:
        for _ in range(DEATHS_ALLOWED):
            try:
                return self._wait(while_waiting)
            except _Gone as gone:
                self._replace(str(gone), while_waiting)
        try:
            return self._wait(while_waiting)
        except _Gone as gone:
            self._kill()
            self.tasks.clear()
            raise DataError(str(gone)) from None

    def _wait(self, while_waiting: WhileWaiting) -> Reply:
        """The reply to the oldest task. Raises _Gone, with the cause, if there will be none."""
        who = f"decoding process {self.process.pid}"
        patience = Patience(lambda: int(self.block.counters[BEGUN]), while_waiting)
        while True:
            ready = connection.wait([self.pipe, self.process.sentinel], POLL_SECONDS)
            try:
                if self.pipe in ready:
                    return cast("Reply", self.pipe.recv())
            except (EOFError, OSError):  # it is about to end
                ready.append(self.process.sentinel)
            if ready:
                self.process.join(END_SECONDS)
                raise _Gone(f"{who} {self._end()}")
            try:
                patience.ask()
            except Blocked:
                waited = f"made no progress for {waiting.BLOCKED_SECONDS:g} s at {self._file()}"
                likely = "its disk does not answer, or the process was stopped"
                raise _Gone(f"{who} {waited} ({likely})") from None

    def _replace(self, cause: str, while_waiting: WhileWaiting) -> None:
        """Start another process with the batches of the one that is gone."""
        self._kill()
        print(f"{cause}; started again", file=sys.stderr)
        try:
            self._start(while_waiting)
        except StartError as error:
            raise DataError(f"{cause}; no other process can be started: {error}") from error
        for task in self.tasks:
            self._pass_on(*task)

    def _end(self) -> str:
        """How it ended, where, and what usually does that."""
        code = self.process.exitcode
        if code is None or code >= 0:
            how = "closed its pipe" if code is None else f"ended with exit code {code}"
            return f"{how} at {self._file()}"
        name = signal.Signals(-code).name
        return f"was killed by {name} at {self._file()} ({LIKELY.get(name, 'sent by a program')})"

    def _file(self) -> str:
        """The file that it is, or was, decoding."""
        _, _, requests = self.tasks[0]
        return requests[min(int(self.block.counters[PLACE]), len(requests) - 1)].path


# ---- starting ------------------------------------------------------------------------------------


def _context(method: str) -> BaseContext:
    """Processes are started with SIGNALS blocked, as the thread that calls this then has them."""
    context = multiprocessing.get_context(method)
    resource_tracker.ensure_running()  # first and unblocked: it sets its own signal mask
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    if method == "forkserver":
        context.set_forkserver_preload(PRELOAD)
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Hide the program's main module, which every new process would import needlessly."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@atexit.register  # runs before multiprocessing's own hook, which would wait for every process
def _stop_all() -> None:
    for process in list(_started):
        process.stop()
