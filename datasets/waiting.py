"""Waits for decoders: every one of them ends, and while it lasts a stop request is noticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.5
# A decoder that begins no new file for so long is blocked. Disks of clusters hang for minutes; and
# processes import torch from such a disk first.
BLOCKED_SECONDS = 600.0

Progress = Callable[[], object]
WhileWaiting = Callable[[], None]


class Blocked(Exception):  # noqa: N818  (describes a decoder)
    """No progress within `BLOCKED_SECONDS`."""


class Patience:
    """Ask it at every turn of a wait.

    progress       a value that changes whenever something was done
    while_waiting  called at every turn; what it raises ends the wait
    """

    def __init__(self, progress: Progress, while_waiting: WhileWaiting) -> None:
        self.progress, self.while_waiting = progress, while_waiting
        self._last, self._since = progress(), time.monotonic()

    def ask(self) -> None:
        """Raise Blocked if there was no progress for too long."""
        self.while_waiting()
        now = time.monotonic()
        if (last := self.progress()) != self._last:
            self._last, self._since = last, now
        elif now - self._since > BLOCKED_SECONDS:
            raise Blocked


def in_thread(action: Callable[[], T], patience: Patience) -> T:
    """What ``action`` returns or raises, computed in a thread, so that the wait for it can end.

    A thread that hangs in the kernel cannot be interrupted; being a daemon, it does not keep this
    process from ending. Where no thread can be started (a limit of processes), the action is taken
    here. Raises Blocked, and what ``patience`` raises.
    """
    answer: Future[T] = Future()

    def fill() -> None:
        try:
            answer.set_result(action())
        except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
            answer.set_exception(error)

    try:
        threading.Thread(target=fill, daemon=True).start()
    except RuntimeError:
        return action()
    while True:
        try:
            return answer.result(POLL_SECONDS)
        except NoAnswer:
            if answer.done():  # just now; or the action itself raised a TimeoutError
                return answer.result()
            patience.ask()
