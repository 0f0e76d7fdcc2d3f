"""What the tests of `results.records` and `results.exclusive` share."""

from __future__ import annotations

import errno
import multiprocessing
import os
from pathlib import Path

FORK = multiprocessing.get_context("fork")
RESULT_ONLY = {"result.json"}


NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES, errno.EMLINK, errno.EXDEV)


def refuse_links(monkeypatch, number: int = errno.EPERM) -> None:
    def refuse(source, target):
        raise OSError(number, os.strerror(number), str(source), None, str(target))

    monkeypatch.setattr(os, "link", refuse)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def wait_for(processes: list) -> list[int | None]:
    for process in processes:
        process.join(30)
    return [process.exitcode for process in processes]
