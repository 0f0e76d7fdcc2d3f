"""What a decoding process does: take a batch's requests, decode them, hand over their pixels.

Requests and pixels of a batch lie one after the other in the same part of a `SharedBlock`. Through
the pipe go a few bytes only, so that no process ever waits for another to read or write.
"""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterable, Iterator
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np
import torch
from torch import Tensor

from .decoding import Decoder, Request
from .shared_block import BEGUN, CANCELLED, PLACE, SharedBlock

Task = tuple[int, int, int]  # number of the batch; where its requests start, and their bytes
Reply = tuple[int, ...] | str | None  # shape of the pixels, what is wrong, or: not wanted any more
LONGEST = 2000  # characters of a message


class Noted(list[Request]):
    """Requests that note which of them is being decoded, in a block's ``counters``."""

    def __init__(self, requests: Iterable[Request], counters: np.ndarray) -> None:
        super().__init__(requests)
        self.counters = counters

    def __iter__(self) -> Iterator[Request]:
        for place, request in enumerate(super().__iter__()):
            self.counters[PLACE] = place
            self.counters[BEGUN] += 1
            yield request


def serve(described: bytes, tasks: Connection, block: SharedBlock) -> None:
    """Decode until the trainer closes the pipe, or is gone; ``described``: the pickled decoder."""
    leave_with_trainer()
    decoder: Decoder = pickle.loads(described)
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):
        while True:
            task: Task = tasks.recv()
            tasks.send(_reply(decoder, task, block))


def _reply(decoder: Decoder, task: Task, block: SharedBlock) -> Reply:
    number, start, size = task
    # Copied: the pixels take the same place.
    requests = Noted(pickle.loads(block.bytes(start, size).tobytes()), block.counters)
    if number <= block.counters[CANCELLED]:
        return None
    pixels = _decoded(decoder, requests)
    if isinstance(pixels, str):
        return pixels[:LONGEST]
    block.bytes(start, pixels.numel())[:] = pixels.numpy().reshape(-1)
    return tuple(pixels.shape)


def _decoded(decoder: Decoder, requests: Noted) -> Tensor | str:
    """Pixels, or a message in one line: a traceback of this process helps nobody."""
    try:
        return decoder.__getitems__(requests)
    except Exception as error:  # noqa: BLE001  (whatever it is, the trainer names the file)
        path = requests[int(requests.counters[PLACE])].path
        return f"{path}: cannot be decoded ({type(error).__name__}: {error})"


# ---- leaving with the trainer --------------------------------------------------------------------


def leave_with_trainer() -> None:
    """End this process when the trainer ends, even if it is killed.

    The parent may be the fork server, which lives as long as any of its children; so this does not
    go by the parent but by a pipe whose other end only the trainer holds.
    """
    trainer = multiprocessing.parent_process()
    assert trainer is not None
    _kill_with(trainer)
    threading.Thread(target=_exit_with, args=(trainer,), daemon=True).start()


def _kill_with(trainer: BaseProcess) -> None:
    """Have the kernel send SIGKILL when the pipe closes: also to a process that is stopped.

    Nothing is written to that pipe any more, so its end is the only event there is.
    """
    with contextlib.suppress(AttributeError, OSError):  # not Linux: the thread is enough
        fcntl.fcntl(trainer.sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(trainer.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(trainer.sentinel, fcntl.F_GETFL)
        fcntl.fcntl(trainer.sentinel, fcntl.F_SETFL, flags | fcntl.FASYNC)


def _exit_with(trainer: BaseProcess) -> None:
    connection.wait([trainer.sentinel])
    os._exit(1)
