"""Workers that are forks of the test's process: real ones, without the seconds of an import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from experiments.commands import entry
from experiments.local import queue as local_queue
from experiments.worker import worker

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Forked:
    """Stands in for the `subprocess.Popen` of a worker's command line, as `local.queue` uses it."""

    def __init__(
        self,
        command: Sequence[str],
        stderr: int | None,
        env: Mapping[str, str],
        **_: object,
    ) -> None:
        reading, writing = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become_worker(Path(command[-2]), writing, stderr == subprocess.STDOUT, env)
        os.close(writing)
        self.stdout = os.fdopen(reading, errors="replace")

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def install(patch: pytest.MonkeyPatch) -> None:
    """Let local queues start forks as their workers."""
    if torch.cuda.is_available():
        pytest.skip("a process that has seen a GPU cannot be forked")
    names = SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE, STDOUT=subprocess.STDOUT)
    patch.setattr(local_queue, "subprocess", names)


def _become_worker(job: Path, output: int, errors_too: bool, env: Mapping[str, str]) -> None:
    code = 1
    try:
        os.setsid()
        for name in SIGNALS:
            signal.signal(name, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(env)
        sys.stdout = os.fdopen(output, "w")
        sys.stderr = sys.stdout if errors_too else sys.stderr
        torch.set_num_threads(1)
        code = entry.call(lambda: worker.work(job, as_json=True))
    except BaseException:  # noqa: BLE001  (the test's own process goes on in its parent)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
