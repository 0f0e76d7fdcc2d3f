"""Decoding processes that live as long as the data set and serve one stream after another.

They are started by a *fork server*. Forking the trainer would copy locks that its other threads
(CUDA, the heartbeat, OpenMP) hold at that moment, and spawning would import torch once for every
process. The fork server imports it once and has no threads.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import types
import weakref
from collections.abc import Iterable, Iterator
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from .decoding import Decoder, Request
from .errors import DataError

PRELOAD = ["torch", "torchvision.transforms.v2", "PIL.Image"]
PREFETCH = 4  # batches per process ahead of the trainer
MAX_DEFAULT = 12  # default limit of processes: enough to feed one GPU with ImageNet at 224 pixels
SHARED_BY = "KD_SHARED_BY"  # environment: how many trainers share this machine's or job's cores
# The trainer alone handles signals that end or interrupt a job: it saves, then its workers exit.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def count_workers(name: str, workers: object) -> int:
    """The option ``workers``: how many processes or threads decode.

    None: one per core, or this process's part of the cores where others train beside it.
    """
    if workers is None:
        return min(MAX_DEFAULT, max(1, len(os.sched_getaffinity(0)) // _sharing()))
    if type(workers) is not int or workers < 0:
        raise DataError(f"{name}: option workers = {workers!r}: expected a whole number from 0")
    return workers


def _sharing() -> int:
    """How many trainers share the cores; 1 where nothing says so."""
    text = os.environ.get(SHARED_BY, "")
    return max(1, int(text)) if text.isdigit() else 1


class Requests(Sampler[list[Request]]):
    """The batches that the loader's next iteration will read.

    The pending batches refer to the data set. A loader that is kept must not, or the data set would
    never be collected, so ``pending`` is emptied when the loader is given back.
    """

    def __init__(self) -> None:
        self.pending: Iterator[list[Request]] = iter(())

    def __iter__(self) -> Iterator[list[Request]]:
        while (batch := next(self.pending, None)) is not None:
            yield batch


class Loaders:
    """Batches of decoded images, in order, from ``workers`` processes (0: this one).

    One `DataLoader` is kept between streams. A stream requested while another is unfinished gets
    its own loader.
    """

    def __init__(self, decoder: Decoder, workers: int, pin: bool) -> None:
        self.decoder, self.workers, self.pin = decoder, workers, pin
        self._idle: list[DataLoader] = []
        # The finalizer keeps the idle loaders intact until this object is collected.
        self.close = weakref.finalize(self, _stop_all, self._idle)

    def batches(self, requests: Iterable[list[Request]]) -> Iterator[Tensor]:
        """uint8 (B, views, 3, H, W) for each list of requests.

        Raises DataError if a file cannot be read or a process was killed.
        """
        loader = self._idle.pop() if self._idle else self._new()
        assert isinstance(loader.batch_sampler, Requests)
        loader.batch_sampler.pending = iter(requests)
        try:
            for images in _started(loader):
                if isinstance(images, str):
                    raise DataError(images)
                yield images
        except RuntimeError as error:
            # torch reports a killed worker by its message only; usually memory ran out.
            if "DataLoader worker" not in str(error):
                raise
            _stop(loader)
            reason = str(error).split("\n", maxsplit=1)[0]
            raise DataError(f"{reason}; fewer workers need less memory") from error
        finally:
            self._give_back(loader)

    def _new(self) -> DataLoader:
        """A loader with its own generator, so that it does not use the global one."""
        several = self.workers > 0
        return DataLoader(
            self.decoder,
            batch_sampler=Requests(),
            num_workers=self.workers,
            persistent_workers=several,
            prefetch_factor=PREFETCH if several else None,
            multiprocessing_context=_context() if several else None,
            worker_init_fn=_leave_with_trainer if several else None,
            collate_fn=_unchanged,
            pin_memory=self.pin,
            generator=torch.Generator(),
        )

    def _give_back(self, loader: DataLoader) -> None:
        assert isinstance(loader.batch_sampler, Requests)
        loader.batch_sampler.pending = iter(())
        # A loader that failed has lost its processes, and one idle loader is enough.
        alive = self.workers == 0 or loader._iterator is not None
        if alive and not self._idle:
            self._idle.append(loader)
        else:
            _stop(loader)


# A function and not a lambda: it is pickled to reach the processes.
def _unchanged(batch: Any) -> Any:
    return batch


def _context() -> BaseContext:
    """The fork server, started with SIGNALS blocked, which the processes it forks inherit."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    resource_tracker.ensure_running()  # first and unblocked: it sets its own signal mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _started(loader: DataLoader) -> Iterator[Tensor | str]:
    """The loader's batches; starts its processes if they are not running."""
    fresh = loader.num_workers > 0 and loader._iterator is None
    with _no_main():
        batches = iter(loader)
    if fresh:
        # Before torch's own hook, which waits five seconds for each process.
        atexit.register(_stop_if_alive, weakref.ref(loader))
    return batches


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Hide the program's main module, which every new process would import needlessly."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _stop_if_alive(reference: weakref.ref[DataLoader]) -> None:
    loader = reference()
    if loader is not None:
        _stop(loader)


def _stop_all(loaders: list[DataLoader]) -> None:
    while loaders:
        _stop(loaders.pop())


def _stop(loader: DataLoader) -> None:
    """Stop the loader's processes; torch has no public function for this."""
    iterator = loader._iterator
    loader._iterator = None
    if iterator is not None and hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()


def _leave_with_trainer(_worker: int) -> None:
    """Exit this process when the trainer exits, even if killed, or sends SIGTERM.

    torch watches the parent's process id, but here the parent is the fork server, which lives as
    long as any of its children.
    """
    trainer = multiprocessing.parent_process()
    assert trainer is not None
    for watch in (_exit_with, _exit_on_sigterm_from):
        threading.Thread(target=watch, args=(trainer,), daemon=True).start()


def _exit_with(trainer: BaseProcess) -> None:
    connection.wait([trainer.sentinel])
    os._exit(1)


def _exit_on_sigterm_from(trainer: BaseProcess) -> None:
    """SIGTERM is blocked, but torch's last resort to stop a worker is to send it one."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != trainer.pid:
        continue
    os._exit(1)
