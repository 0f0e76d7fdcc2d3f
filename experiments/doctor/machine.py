"""This machine: torch, GPUs, cores, and the code in the checkout."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from datasets import cores as count
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.doctor.packages import INSTALL
from experiments.environment import CHECKOUT
from experiments.local import devices
from experiments.wording import plural

SMI_SECONDS = 30  # a driver in trouble answers late or never
GET_TORCH = "pytorch.org/get-started"
# What torch's errors about GPUs contain -> how to fix them.
FIXES = {
    "kernel image": f"install a torch release that supports this GPU model ({GET_TORCH})",
    "busy": "another process is using it (`nvidia-smi` lists them); or use --device cpu",
    "out of memory": "another process is using it (`nvidia-smi` lists them); or use --device cpu",
    "driver": f"install a newer driver, or torch for an older CUDA ({GET_TORCH}/previous-versions)",
    "": "see `nvidia-smi` and `dmesg`; until it works, use --device cpu",
}


def check_torch() -> Finding:
    """Which torch this is, and whether torchvision matches it."""
    message = f"{torch.__version__}, built for {_built_for() or 'CPUs only'}"
    try:
        torchvision = importlib.import_module("torchvision").__version__
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        fix = f"install a matching pair of torch and torchvision: {INSTALL} --upgrade"
        return Finding(FAIL, "torch", f"{message}; cannot import torchvision: {error}", fix)
    return Finding(OK, "torch", f"{message}; torchvision {torchvision}")


def _built_for() -> str | None:
    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else None


# ---- GPUs ----------------------------------------------------------------------------------------


def check_gpus(device: str, job_device: str | None) -> Finding:
    """Whether torch can compute on this machine's GPUs.

    ``device`` is --device; ``job_device`` is what SLURM jobs compute on, None without SLURM.
    """
    gpus, error = find_gpus()
    driver, built_for = find_driver(), _built_for()
    if gpus and not error:
        return Finding(OK, "GPU", "; ".join([*gpus, driver or str(built_for)]))
    is_needed = device == "cuda" or (device == "auto" and job_device is None)
    level = FAIL if is_needed else WARN
    if not built_for and (driver or job_device == "cuda"):
        message = (
            f"not usable ({driver or 'none here, but jobs want one'}): torch is built for CPUs"
        )
        fix = f"install torch for CUDA ({GET_TORCH}), or use --device cpu"
        return Finding(FAIL if job_device == "cuda" else level, "GPU", message, fix)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if driver and not error and hidden is not None:
        message = f"hidden by CUDA_VISIBLE_DEVICES={hidden!r} ({driver})"
        return Finding(WARN, "GPU", message, "unset CUDA_VISIBLE_DEVICES to use it")
    if driver or error:
        error = error or "torch does not see the GPU that the driver sees"
        message = f"{error} (torch is built for {built_for}{f'; {driver}' if driver else ''})"
        return Finding(level, "GPU", message, next(FIXES[k] for k in FIXES if k in error))
    if device == "cuda" and job_device is None:
        return Finding(FAIL, "GPU", "none here", "use another machine, or --device cpu")
    fix = "fine on a login node: jobs get theirs" if job_device else "fine for small data"
    return Finding(WARN, "GPU", "none here", f"{fix}; training on CIFAR or larger needs one")


def find_gpus() -> tuple[list[str], str]:
    """The GPUs that torch can compute on ("NVIDIA H200, 120 of 139 GiB free"), and its error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # torch warns only once, and may have been asked before
        available = torch.cuda.is_available()
    error = "; ".join(str(warning.message) for warning in caught)
    gpus = []
    for index in range(torch.cuda.device_count()) if available else ():
        try:
            gpus.append(_compute(torch.device("cuda", index)))
        except RuntimeError as failure:
            error = f"cuda:{index}: {str(failure).splitlines()[0]}"
    return gpus, error


def _compute(device: torch.device) -> str:
    """A GPU's name and memory, after a small computation on it. Raises RuntimeError."""
    ones = torch.ones(8, 8, device=device)
    if (ones @ ones).sum().item() != 512:
        raise RuntimeError("computes wrong numbers")
    free, total = (size / 2**30 for size in torch.cuda.mem_get_info(device))
    return f"{torch.cuda.get_device_name(device)}, {free:.0f} of {total:.0f} GiB free"


def find_driver() -> str:
    """ "driver 550.54, CUDA 12.4" (the newest it supports); empty without a working nvidia-smi."""
    try:
        done = subprocess.run(
            ["nvidia-smi"], capture_output=True, text=True, errors="replace", timeout=SMI_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    versions = re.search(r"Driver Version: (\S+)\s+CUDA Version: (\S+)", done.stdout)
    return f"driver {versions[1]}, CUDA {versions[2]}" if versions else ""


# ---- cores and code ------------------------------------------------------------------------------


def check_cores(threads: int, job_device: str | None, cpus: int | None) -> Finding:
    """The cores here, and the ``cpus`` of each job, against the recipe's threads on a CPU.

    ``job_device`` as in `check_gpus`.
    """
    cores, workers = (len(devices.slots("cpu", None, per)) for per in (1, threads))
    here = f"{cores}{_granted()}"
    if job_device is None and threads > cores:
        fix = "slow, with the same results; fewer threads are another recipe (another run id)"
        return Finding(
            WARN, "cores", f"{here}, but the recipe uses {plural(threads, 'thread')}", fix
        )
    if job_device == "cpu" and threads > (cpus or 1):
        request = f"cpus {cpus}" if cpus else "no cpus (SLURM gives 1 or 2)"
        message = f"jobs request {request}, but the recipe uses {plural(threads, 'thread')}"
        fix = f"--cpus {threads}, or `cpus: {threads}` in the matrix's slurm: or the site file"
        return Finding(WARN, "cores", message, fix)
    message = f"{here}; `run` on the CPU: {plural(workers, 'worker')} x {plural(threads, 'thread')}"
    return Finding(OK, "cores", message)


def _granted() -> str:
    """What a control group (a container's limit) leaves of the cores; empty without a limit."""
    quota, allowed = count.quota(), count.allowed()
    if quota is None or quota >= allowed:
        return ""
    return f" (the control group grants the time of {quota:g} of {allowed} cores)"


def check_shared_memory(needed: int, folder: Path = Path("/dev/shm")) -> Finding:
    """How much memory decoding processes share, in bytes, and how much /dev/shm there is.

    Decoding does not use /dev/shm; the libraries of several processes per job (NCCL, gloo) do.
    """
    try:
        size = shutil.disk_usage(folder)
    except OSError as error:
        there = f"{folder}: {error.strerror}"
    else:
        there = f"{folder}: {size.free / 1e6:,.0f} of {size.total / 1e6:,.0f} MB free"
    message = f"{there}; not used for decoding, whose processes share "
    message += f"at most {needed / 1e6:,.0f} MB of memory per view" if needed else "no memory here"
    free = _available()
    if free is not None and needed > free:
        fix = "fewer `workers`, or a smaller batch_size"
        return Finding(WARN, "shared memory", f"{message}, of {free / 1e6:,.0f} MB available", fix)
    return Finding(OK, "shared memory", message)


def _available() -> int | None:
    """Bytes of memory that can be had now; None where the system does not say."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^MemAvailable: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def check_code(state: Mapping[str, Any]) -> Finding:
    """Whether results can name their code; ``state`` is that of `environment.code`."""
    commit = state["commit"]
    if commit is None:
        fix = "results will not name their code: work in a git checkout"
        if (CHECKOUT / ".git").exists():
            fix = f"if it is another user's: git config --global --add safe.directory {CHECKOUT}"
        return Finding(WARN, "code", f"git reports no commit of {CHECKOUT}", fix)
    if state["dirty"]:
        fix = "results will say so: commit first, or use `submit --snapshot`, which copies the code"
        return Finding(WARN, "code", f"commit {commit[:10]} with uncommitted changes", fix)
    return Finding(OK, "code", f"commit {commit[:10]} in {CHECKOUT}")
