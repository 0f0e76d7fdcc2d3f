"""CUDA's Multi-Process Service: kernels of several workers run on one GPU at the same time.

Without it the GPU switches between the workers. Tried only with a stand-in for NVIDIA's program,
which records how it is called: the calls follow NVIDIA's manual of MPS.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from experiments.local.devices import visible

PROGRAM = "nvidia-cuda-mps-control"
PIPE, LOG = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
START_SECONDS, END_SECONDS = 20.0, 20.0
# Waits until the process at the other end of its input closes it or is gone, killed or not. So the
# daemon ends in every way in which that process can end.
ENDING = 'read -r _; echo quit | "$0" >/dev/null 2>&1; rm -rf -- "$1"'

Environments = dict[str, dict[str, str]]  # device -> what its workers' environment has in addition


@contextlib.contextmanager
def daemons(devices: Sequence[str], note: Callable[[str], None]) -> Iterator[Environments]:
    """Inside, a daemon serves each GPU that several of ``devices`` ("cuda:0") name.

    None is started where the program is missing or the environment names a daemon already. One
    that does not start is told to ``note``; the workers share that GPU without it.
    """
    shared = [d for d, n in Counter(devices).items() if n > 1 and d.startswith("cuda:")]
    found = shutil.which(PROGRAM)
    with contextlib.ExitStack() as stack:
        made: Environments = {}
        for device in shared if found and PIPE not in os.environ else []:
            try:
                made[device] = stack.enter_context(_daemon(str(found), visible(device)))
            except (OSError, subprocess.SubprocessError) as error:
                note(f"without CUDA MPS on {device}: {PROGRAM} did not start ({_why(error)})")
        yield made


@contextlib.contextmanager
def _daemon(program: str, gpu: str) -> Iterator[dict[str, str]]:
    """A daemon for one GPU: the environment of its clients. Raises where it does not start."""
    folder = Path(tempfile.mkdtemp(prefix="kd-mps-"))  # private: its permissions are 0700
    own = {PIPE: str(folder / "pipe"), LOG: str(folder / "log")}
    environment = {**os.environ, **own, "CUDA_VISIBLE_DEVICES": gpu}
    ending = subprocess.Popen(
        ["sh", "-c", ENDING, program, str(folder)],
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is not for it
    )
    try:
        for path in own.values():
            os.mkdir(path)
        _start(program, environment)
        # Clients count the GPUs that their daemon sees: an index is 0 for them, a name stays.
        yield {**own, "CUDA_VISIBLE_DEVICES": "0" if gpu.isdigit() else gpu}
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it goes on by itself
            ending.communicate(timeout=END_SECONDS)


def _start(program: str, environment: dict[str, str]) -> None:
    """Start a daemon in the background, which the program itself does. Raises where it fails."""
    subprocess.run(
        [program, "-d"],
        env=environment,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the daemon inherits both: a pipe would never end
        stderr=subprocess.DEVNULL,
        timeout=START_SECONDS,
        start_new_session=True,
    )


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"exit code {error.returncode}"
    return " ".join(str(error).split())
