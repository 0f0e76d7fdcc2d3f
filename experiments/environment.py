"""The machine and the code that a run was started with, as stored in every result."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `--help` must not wait for it
    import torch

CHECKOUT = Path(__file__).resolve().parent.parent
SNAPSHOT = "SNAPSHOT.json"  # in a copy of the code, which has no git: the commit it was copied from
CODE = ("--", "*.py")  # results or notes in the checkout are not code
LARGEST = 1 << 20  # bytes of a file that are hashed; code is smaller, stray data is not


def start_record(device: torch.device) -> dict[str, Any]:
    """One start of a run: time, machine, device, versions and `code`."""
    from importlib import metadata

    import torch

    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "device": device_name(device),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),  # TorchVersion, a subclass of str
            "torchvision": metadata.version("torchvision"),  # importing it takes seconds
        },
        **code(),
    }


def device_name(device: torch.device) -> str:
    """ "NVIDIA H200", or "cpu (AMD EPYC, 2 threads)"."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({_processor()}, {torch.get_num_threads()} threads)"


@functools.cache
def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def version() -> str:
    """The harness's version and its code: "0.2.0 (commit 4122340, modified)"."""
    text = (
        (CHECKOUT / "CITATION.cff").read_text(encoding="utf-8")
        if (CHECKOUT / "CITATION.cff").exists()
        else ""
    )
    lines = [line for line in text.splitlines() if line.startswith("version:")]
    number = lines[0].partition(":")[2].strip() if lines else "unknown version"
    made = code()
    commit = f"commit {made['commit'][:7]}" if made["commit"] else "commit unknown"
    return f"{number} ({commit}{', modified' if made['dirty'] else ''})"


@functools.cache
def code() -> dict[str, Any]:
    """The code of this process: {"commit", "dirty", "changes"}, all None if unknown.

    ``dirty`` is whether any Python file that git does not ignore differs from the commit;
    ``changes`` is a hash of those files, None if there are none. Computed once per process: it
    describes the code that was imported, not later edits.
    """
    if (CHECKOUT / SNAPSHOT).exists():
        return _copied()
    commit, changed = _git("rev-parse", "HEAD"), _changed()
    if commit is None or changed is None:
        return {"commit": commit, "dirty": None, "changes": None}
    return {"commit": commit, "dirty": bool(changed), "changes": _digest(changed)}


def _copied() -> dict[str, Any]:
    try:
        made = json.loads((CHECKOUT / SNAPSHOT).read_text(encoding="utf-8"))
    except ValueError:
        made = None
    made = made if isinstance(made, dict) else {}
    return {key: made.get(key) for key in ("commit", "dirty", "changes")}


def _changed() -> list[str] | None:
    """The Python files that differ from the commit: changed, deleted or untracked."""
    listings = (
        _git("diff", "HEAD", "--name-only", "--no-renames", "--relative", "-z", *CODE),
        _git("ls-files", "--others", "--exclude-standard", "-z", *CODE),
    )
    if None in listings:
        return None
    return sorted({name for text in listings if text for name in text.split("\0") if name})


def _digest(names: list[str]) -> str | None:
    """A short hash of the files' names and contents, None without files."""
    if not names:
        return None
    total = hashlib.sha256()
    for name in names:
        total.update(os.fsencode(name) + b"\0" + _content(CHECKOUT / name))
    return total.hexdigest()[:12]


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            begin, size = file.read(LARGEST), os.fstat(file.fileno()).st_size
    except OSError:  # deleted, or unreadable
        return b"none\0"
    return f"{size} {hashlib.sha256(begin).hexdigest()}\0".encode()


def _git(*arguments: str) -> str | None:
    """git's output, or None without git or outside a checkout (an unpacked archive)."""
    try:
        done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout).strip() if done.returncode == 0 else None
