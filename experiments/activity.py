"""Say what takes long: a command must not be silent for more than two seconds."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

SILENCE = 1.8  # seconds without a line after which there has to be one
LEAST = 0.4  # but no line about what ends at once

_quiet = threading.Event()
_said: set[str] = set()  # one line per activity and command, however often it is repeated
_last = time.monotonic()  # when something was said, or the command began
_open: list[object] = []  # the activities under way, the innermost last


def start_command(quiet: bool = False) -> None:
    """Begin a new command: everything may be said once, or nothing (``--quiet``)."""
    global _last
    _said.clear()
    _last = time.monotonic()
    (_quiet.set if quiet else _quiet.clear)()


@contextlib.contextmanager
def activity(what: str) -> Iterator[None]:
    """Print ``what`` on standard error before the command has been silent for two seconds.

    ``what`` reads like "reading cifar100". A thread prints it: the body need not do anything. An
    activity inside another one speaks for both.
    """
    over, me = threading.Event(), object()
    _open.append(me)
    threading.Thread(target=_watch, args=(what, me, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        _open.remove(me)


def _watch(what: str, me: object, over: threading.Event) -> None:
    while not over.wait(max(LEAST, SILENCE - (time.monotonic() - _last))):
        if _open[-1:] == [me]:
            _say(what)
            break


def _say(what: str) -> None:
    global _last
    _last = time.monotonic()
    if _quiet.is_set() or what in _said:
        return
    _said.add(what)
    with contextlib.suppress(OSError, ValueError):  # standard error is closed
        print(f"{what} …", file=sys.stderr, flush=True)
