"""Batches of decoded images, in order, from processes that live as long as the data set."""

from __future__ import annotations

import functools
import itertools
import os
import resource
import sys
import weakref
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor

from . import cores, waiting
from .decoding import Decoder, Request
from .decoding_process import METHODS, PREFETCH, DecodingProcess, StartError
from .decoding_server import Noted
from .errors import DataError
from .shared_block import BEGUN, PLACE
from .waiting import Blocked, Patience, WhileWaiting, in_thread

MAX_DEFAULT = 12  # default limit of processes: enough to feed one GPU with ImageNet at 224 pixels
SHARED_BY = "KD_SHARED_BY"  # environment: how many trainers share this machine's or job's cores
FILES = 4  # that a process takes in this one: its pipe, its memory, two ends of sentinels
RESERVE = 32  # open files that the rest of training needs at once: checkpoints, logs, the images

Pool = list[DecodingProcess]
Found = Tensor | str | None  # pixels, or a message about a file


def count_workers(name: str, workers: object) -> int:
    """The option ``workers``: how many processes or threads decode.

    None: one per usable core, or this process's part of them where others train beside it.
    """
    if workers is None:
        return min(MAX_DEFAULT, max(1, cores.usable() // _sharing()))
    if type(workers) is not int or workers < 0:
        raise DataError(f"{name}: option workers = {workers!r}: expected a whole number from 0")
    return workers


def _sharing() -> int:
    """How many trainers share the cores; 1 where nothing says so."""
    text = os.environ.get(SHARED_BY, "")
    return max(1, int(text)) if text.isdigit() else 1


def shared_bytes(workers: int, batch_size: int, size: int) -> int:
    """Memory that so many processes share with the trainer for batches of one view, ``size``²."""
    return workers * PREFETCH * batch_size * 3 * size**2


class Loaders:
    """Batches of decoded images, in order, from ``workers`` processes (0: this one).

    One pool of processes is kept between streams. A stream requested while another is unfinished
    gets its own.
    """

    def __init__(self, decoder: Decoder, workers: int) -> None:
        self.decoder, self.workers = decoder, workers
        self._idle: list[Pool] = []
        # The finalizer keeps the idle pools intact until this object is collected.
        self.close = weakref.finalize(self, _stop_pools, self._idle)

    def batches(
        self, requests: Iterable[list[Request]], while_waiting: WhileWaiting = lambda: None
    ) -> Iterator[Tensor]:
        """uint8 (B, views, 3, H, W) for each list of requests, of which the first is the longest.

        Each is valid until the next is asked for. ``while_waiting`` is called about twice a second
        while a batch is awaited; what it raises ends the stream.

        Raises DataError if a file cannot be read, or blocks or kills the process that reads it.
        """
        wanted = iter(requests)
        first = next(wanted, None)
        if first is None:
            return
        pool = self._pool(first, while_waiting)
        wanted = itertools.chain([first], wanted)
        found = _ahead(pool, wanted, while_waiting) if pool else self._here(wanted, while_waiting)
        try:
            for images in found:
                if not isinstance(images, Tensor):
                    raise DataError(str(images))
                yield images
        finally:
            self._give_back(pool)

    def _pool(self, first: list[Request], while_waiting: WhileWaiting) -> Pool:
        """Processes that are ready for batches like the ``first``; none if none can be had."""
        if self.workers == 0:
            return []
        pool = (
            self._idle.pop() if self._idle else _started(self.decoder, self.workers, while_waiting)
        )
        try:
            for process in pool:
                process.prepare(first, while_waiting)
        except BaseException as error:
            _stop(pool)
            if not isinstance(error, OSError):
                raise
            _note(f"no memory to share with decoding processes ({error}); the trainer decodes")
            return []
        return pool

    def _here(
        self, wanted: Iterable[list[Request]], while_waiting: WhileWaiting
    ) -> Iterator[Found]:
        """Batches decoded in this process, one after the other, in a thread that can be left."""
        counters = np.zeros(3, np.int64)
        patience = Patience(lambda: int(counters[BEGUN]), while_waiting)
        for batch in wanted:
            decode = functools.partial(self.decoder.__getitems__, Noted(batch, counters))
            try:
                yield in_thread(decode, patience)
            except Blocked:
                path = batch[int(counters[PLACE])].path
                seconds = f"{waiting.BLOCKED_SECONDS:g} s"
                raise DataError(
                    f"{path}: not read within {seconds}: does its disk answer?"
                ) from None

    def _give_back(self, pool: Pool) -> None:
        for process in pool:
            process.rest()
        # One idle pool is enough, and after `close` nobody would stop it.
        whole = pool and all(process.is_alive() for process in pool)
        if whole and not self._idle and self.close.alive:
            self._idle.append(pool)
        else:
            _stop(pool)


def _ahead(
    pool: Pool, wanted: Iterable[list[Request]], while_waiting: WhileWaiting
) -> Iterator[Found]:
    """Batches in order, the processes taking turns; each has up to PREFETCH ahead."""
    ahead: deque[DecodingProcess] = deque()
    for process, batch in zip(itertools.cycle(pool), wanted):
        process.send(batch)
        ahead.append(process)
        if len(ahead) == PREFETCH * len(pool):
            yield ahead.popleft().receive(while_waiting)
    while ahead:
        yield ahead.popleft().receive(while_waiting)


def _started(decoder: Decoder, workers: int, while_waiting: WhileWaiting) -> Pool:
    """As many processes as can be started, up to ``workers``; a note says if there are fewer."""
    pool: Pool = []
    reason = ""
    most = min(workers, _open_files_left() // FILES)
    if most < workers:
        reason = f"{_limit_of_files()} open files at most (ulimit -n)"
    for method in METHODS:
        try:
            while len(pool) < most:
                pool.append(DecodingProcess(decoder, method, while_waiting))
        except StartError as error:
            reason = f"{method}: {error}"
            if pool:
                break
        except BaseException:
            _stop(pool)
            raise
    if len(pool) < workers:
        fewer = f"{len(pool)} of them" if pool else "the trainer"
        _note(f"{workers} decoding processes cannot be started ({reason}); {fewer} will decode")
    return pool


def _limit_of_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _open_files_left() -> int:
    """How many files decoding may hold open, so that the trainer can still open its own."""
    limit = _limit_of_files()
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:  # not Linux, or none left
        used = 0
    return max(0, limit - used - RESERVE)


def _stop_pools(pools: list[Pool]) -> None:
    while pools:
        _stop(pools.pop())


def _stop(pool: Pool) -> None:
    while pool:
        pool.pop().stop()


def _note(text: str) -> None:
    print(text, file=sys.stderr)
