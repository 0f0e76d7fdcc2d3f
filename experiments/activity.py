"""Say what takes long: a command must not be silent for more than two seconds."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

PATIENCE = 1.0  # seconds before a line is printed; most activities end sooner and need none

_said: set[str] = set()  # one line per activity and process, however often it is repeated
_quiet = threading.Event()


def set_quiet(quiet: bool) -> None:
    """Print no such lines (``--quiet``), or print them again; starts a new command."""
    _said.clear()
    (_quiet.set if quiet else _quiet.clear)()


@contextlib.contextmanager
def activity(what: str) -> Iterator[None]:
    """If the body takes longer than PATIENCE, print ``what`` on standard error, once per command.

    ``what`` reads like "reading cifar100". A thread prints it: the body need not do anything.
    """
    timer = threading.Timer(PATIENCE, _say, [what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _say(what: str) -> None:
    if _quiet.is_set() or what in _said:
        return
    _said.add(what)
    with contextlib.suppress(OSError, ValueError):  # standard error is closed
        print(f"{what} …", file=sys.stderr, flush=True)
