"""This machine: torch, GPU, cores, and the code in the checkout."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.doctor.packages import INSTALL
from experiments.environment import CHECKOUT
from experiments.local import devices

SMI_SECONDS = 30  # a driver in trouble answers late or never
BUSY = 0.5  # of a GPU's memory: more in use than this is said


def torch_build() -> Finding:
    """Which torch this is, and whether torchvision goes with it."""
    found = f"{torch.__version__}, built for {_built_for() or 'CPUs only'}"
    try:
        vision = importlib.import_module("torchvision").__version__
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        mend = f"torch and torchvision come in pairs: {INSTALL} --upgrade"
        return Finding(FAIL, "torch", f"{found}; torchvision cannot be imported: {error}", mend)
    return Finding(OK, "torch", f"{found}; torchvision {vision}")


def _built_for() -> str | None:
    if torch.version.hip:
        return f"ROCm {torch.version.hip}"
    return f"CUDA {torch.version.cuda}" if torch.version.cuda else None


# ---- GPU -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpus:
    """What torch and the driver say of this machine's GPUs.

    usable   per GPU that torch sees: "NVIDIA H200, 139 GiB"
    error    what torch said when it looked, or when it computed on them
    present  what nvidia-smi lists, whatever torch can do with it
    driver   "driver 550.54, CUDA 12.4", the newest CUDA that it serves
    hidden   CUDA_VISIBLE_DEVICES, where it is set
    """

    usable: tuple[str, ...] = ()
    error: str = ""
    present: tuple[str, ...] = ()
    driver: str = ""
    built_for: str | None = None
    hidden: str | None = None
    busy: bool = False


def look_for_gpus() -> Gpus:
    """Ask torch and nvidia-smi; a small computation on every GPU tells whether they work."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    error = "; ".join(str(warning.message) for warning in said)
    usable: list[str] = []
    shares: list[float] = []
    for i in range(torch.cuda.device_count()) if available else ():
        try:
            name, share = _compute(i)
        except RuntimeError as failure:
            error = f"cuda:{i}: {str(failure).partition(chr(10))[0]}"
            continue
        usable.append(name)
        shares.append(share)
    present, driver = _driver()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    busy = any(share > BUSY for share in shares)
    return Gpus(tuple(usable), error, present, driver, _built_for(), hidden, busy)


def _compute(index: int) -> tuple[str, float]:
    """A GPU's name and memory, and the share of it that is in use. Raises RuntimeError."""
    device = torch.device("cuda", index)
    properties = torch.cuda.get_device_properties(device)
    ones = torch.ones(8, 8, device=device)
    if (ones @ ones).sum().item() != 512:
        raise RuntimeError("computes wrong numbers")
    free, total = torch.cuda.mem_get_info(device)
    used = f", {(total - free) / 2**30:.0f} GiB in use" if total - free > BUSY * total else ""
    return f"{properties.name}, {total / 2**30:.0f} GiB{used}", 1 - free / total


def _driver() -> tuple[tuple[str, ...], str]:
    """The GPUs that nvidia-smi lists, and its versions of driver and CUDA."""
    names = _smi("--query-gpu=name", "--format=csv,noheader")
    if not names:
        return (), ""
    head = _smi()
    versions = re.search(r"Driver Version: (\S+)\s+CUDA Version: (\S+)", head)
    driver = f"driver {versions[1]}, CUDA {versions[2]}" if versions else ""
    return tuple(line.strip() for line in names.splitlines() if line.strip()), driver


def _smi(*arguments: str) -> str:
    """What nvidia-smi prints; nothing where it is not, fails, or hangs."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=SMI_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def gpu(gpus: Gpus, device: str, jobs: str | None) -> Finding:
    """Judge. ``device`` is --device; ``jobs`` what SLURM jobs compute on, None without SLURM."""
    if gpus.usable and not gpus.error:
        found = f"{_counted(gpus.usable)}; {gpus.driver or gpus.built_for}"
        if gpus.busy:
            return Finding(WARN, "GPU", found, "`nvidia-smi` shows whose processes those are")
        return Finding(OK, "GPU", found)
    if gpus.usable or (gpus.error and not gpus.present):
        wanted = device == "cuda" or (device == "auto" and jobs is None)
        return Finding(FAIL if wanted else WARN, "GPU", gpus.error, _failing(gpus))
    if gpus.present:
        return _unusable(gpus, device)
    return _none(gpus, device, jobs)


def _counted(names: tuple[str, ...]) -> str:
    kinds = dict.fromkeys(names)
    return "; ".join(f"{names.count(n)} x {n}" if names.count(n) > 1 else n for n in kinds)


def _failing(gpus: Gpus) -> str:
    if "kernel image" in gpus.error or "not compatible" in gpus.error:
        return "torch was not built for this kind of GPU: another release (pytorch.org/get-started)"
    if "busy" in gpus.error or "out of memory" in gpus.error:
        return "somebody else's process has it: `nvidia-smi` shows whose; or --device cpu"
    if "driver" in gpus.error:
        return _older(gpus)
    return "`nvidia-smi` and `dmesg` may say more; until it is mended: --device cpu"


def _unusable(gpus: Gpus, device: str) -> Finding:
    """There is a GPU, and torch cannot use it."""
    found = f"{_counted(gpus.present)} ({gpus.driver}), which torch cannot use"
    if gpus.hidden is not None and not gpus.error and gpus.built_for:
        reason = f"{found}: CUDA_VISIBLE_DEVICES is {gpus.hidden!r}"
        return Finding(WARN, "GPU", reason, "unset CUDA_VISIBLE_DEVICES")
    if gpus.built_for is None:
        mend = "torch for CUDA (pytorch.org/get-started has the command), or --device cpu"
        found = f"{found}: it is built for CPUs only"
    else:
        mend = _older(gpus)
        found = f"{found}: {gpus.error}" if gpus.error else found
    return Finding(WARN if device == "cpu" else FAIL, "GPU", found, mend)


def _older(gpus: Gpus) -> str:
    served = f" ({gpus.driver})" if gpus.driver else ""
    return (
        f"a driver{served} as new as torch's {gpus.built_for}, or a torch built for an older CUDA "
        f"(pytorch.org/get-started/previous-versions)"
    )


def _none(gpus: Gpus, device: str, jobs: str | None) -> Finding:
    if jobs == "cuda" and gpus.built_for is None:
        found = "none here, and the jobs' would not be used: torch is built for CPUs only"
        mend = "torch for CUDA (pytorch.org/get-started has the command), or `python:` of another"
        return Finding(FAIL, "GPU", f"{found}", mend)
    if device == "cuda" and jobs is None:
        return Finding(FAIL, "GPU", "none on this machine", "another machine, or --device cpu")
    fine = "fine on a login node: jobs get theirs" if jobs else "fine for small matrices"
    mend = f"{fine}; a training on CIFAR or larger wants one"
    return Finding(WARN, "GPU", "none on this machine", mend)


# ---- cores and code ------------------------------------------------------------------------------


def cores(threads: int, jobs: str | None, cpus: int | None) -> list[Finding]:
    """Against the recipe's threads, which only a CPU uses.

    ``jobs`` as in `gpu`, ``cpus`` what each of them asks for.
    """
    here, workers = (len(devices.slots("cpu", None, per)) for per in (1, threads))
    found = f"{here}; `run` on the CPU: workers {workers}, threads of each {threads}"
    findings = [Finding(OK, "cores", found)]
    if threads > here and jobs is None:
        mend = "slow here, the same numbers; fewer threads are another recipe (another run id)"
        findings = [Finding(WARN, "cores", f"{here}, the recipe has threads {threads}", mend)]
    if jobs == "cpu" and threads > (cpus or 1):
        asked = f"cpus {cpus}" if cpus else "no cpus (SLURM gives 1 or 2)"
        mend = f"--cpus {threads}, or `cpus: {threads}` in the matrix' slurm: or the site file"
        found = f"they ask for {asked}, the recipe has threads {threads}"
        findings.append(Finding(WARN, "jobs' cores", found, mend))
    return findings


def code(state: Mapping[str, Any]) -> Finding:
    """``state`` is that of `environment.code`: results name it."""
    commit = state["commit"]
    if commit is None:
        mend = "results will not say which code made them: work in a git checkout"
        if (CHECKOUT / ".git").exists() and shutil.which("git"):
            mend = f"another user's? then: git config --global --add safe.directory {CHECKOUT}"
        elif (CHECKOUT / ".git").exists():
            mend = "results will not say which code made them: `git` is not here (a module?)"
        return Finding(WARN, "code", f"{CHECKOUT}: git tells no commit", mend)
    if state["dirty"]:
        mend = "results will say so: commit first; or submit --snapshot, which copies the code"
        return Finding(WARN, "code", f"commit {commit[:10]} and changes not committed", mend)
    return Finding(OK, "code", f"commit {commit[:10]} in {CHECKOUT}")
