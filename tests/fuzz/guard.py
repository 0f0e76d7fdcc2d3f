"""What no input may bring about: a file written, a program started, a connection, a hang."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 5.0  # no input may take longer
SLOW = 30.0  # but pages: one or two seconds, several times as long on a busy machine
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")
CHANGES = ("os.remove", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate")
IN_A_FOLDER = ("os.remove", "os.rmdir")  # (path, descriptor of the folder), as shutil.rmtree does
OTHERS = ("socket.connect", "socket.bind", "pickle.find_class")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_watch: _Watch | None = None


class Harm(AssertionError):  # noqa: N818  (what happened, not an error of code)
    """Something that no input may bring about."""


class _Watch:
    """Collects what happens in one thread; writing below ``allowed`` is no harm."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self.allowed, self.thread = allowed, threading.get_ident()
        self.seen: list[str] = []

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if threading.get_ident() != self.thread:
            return
        if event in STARTS or event in OTHERS:
            self.seen.append(f"{event} {args!r:.120}")
        elif event in CHANGES or (event == "open" and _writes(args)):
            path = _below(args[1], args[0]) if event in IN_A_FOLDER else args[0]
            if isinstance(path, (str, bytes, os.PathLike)) and not self._allows(os.fspath(path)):
                self.seen.append(f"{event} {path!r}")

    def _allows(self, path: str | bytes) -> bool:
        return os.fsdecode(path).startswith(self.allowed)


def _below(descriptor: int, path: str | bytes) -> str | bytes:
    """The path that is relative to an open folder."""
    if descriptor < 0:
        return path
    return os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), os.fsdecode(path))


def _writes(args: tuple[Any, ...]) -> bool:
    _, mode, flags = args
    return bool(flags & WRITING) if mode is None else any(letter in mode for letter in "wxa+")


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if _watch is not None:
        _watch.hear(event, args)


sys.addaudithook(_hear)  # cannot be removed: it does nothing outside `harmless`


@contextlib.contextmanager
def harmless(*allowed: Path, seconds: float = SECONDS) -> Iterator[None]:
    """Fail where what happens inside starts a program, connects, unpickles, writes or hangs.

    Writing is allowed in ``allowed``, in Python's own caches and to devices. Only this thread, the
    main one, is watched.
    """
    global _watch
    places = (*map(str, allowed), "/dev/", str(Path(tempfile.gettempdir()) / "torchinductor"))
    watch = _Watch(places)
    before = signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _watch = watch
    try:
        yield
    finally:
        _watch = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    harm = [text for text in watch.seen if "__pycache__" not in text]
    if harm:
        raise Harm("; ".join(harm[:3]))


def _too_slow(number: int, frame: Any) -> None:
    raise Harm("takes too long")
