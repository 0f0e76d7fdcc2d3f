"""Where and with what code a run was started: stored with every result."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import resource
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

CHECKOUT = Path(__file__).resolve().parent.parent


def start_record(device: torch.device) -> dict[str, Any]:
    """One start of a run: time, machine, device, versions, commit and whether the tree is dirty."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "device": device_name(device),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),  # a class of torch's own otherwise
            "torchvision": metadata.version("torchvision"),  # importing it takes seconds
        },
        **_code(),
    }


def device_name(device: torch.device) -> str:
    """ "NVIDIA H200", or "cpu (AMD EPYC, 2 threads)"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({_processor()}, {torch.get_num_threads()} threads)"


@functools.cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


@functools.cache
def _code() -> dict[str, Any]:
    """The commit of the checkout, and whether anything in it differs from that commit."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    """What git prints, or None outside a checkout (an unpacked archive) or without git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def keep_freed_memory() -> None:
    """Let the C library keep what networks on a CPU free and ask for again at every step.

    glibc hands large blocks back to the kernel, which costs thousands of page faults per step
    (measured: 3 to 16 % of a training step). Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    largest_mapped, trim_threshold = -3, -1  # malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    if not mallopt(largest_mapped, 1 << 30):
        mallopt(largest_mapped, 1 << 25)  # the most that older versions take
    mallopt(trim_threshold, 2**31 - 1)


def peak_memory(device: torch.device) -> int:
    """Bytes: the device's peak of this process, or the process's own peak on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
