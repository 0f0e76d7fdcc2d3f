"""GPU memory that several workers share: what an error for lack of it means then."""

from __future__ import annotations

import os

from experiments.wording import plural

WORKERS_PER_GPU = "KD_WORKERS_PER_GPU"  # environment of a worker: how many share its GPU

# What torch and CUDA's libraries say: the allocator, the driver, and a library that cannot get its
# workspace (cuBLAS and cuDNN report that as if they could not be started).
SIGNS = (
    "out of memory",
    "_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_NOT_INITIALIZED",
)


def sharing() -> int:
    """How many workers share this process's GPU; 1 where nothing says so."""
    text = os.environ.get(WORKERS_PER_GPU, "")
    return max(1, int(text)) if text.isdigit() else 1


def shortage(error: BaseException) -> str | None:
    """One line about a GPU whose workers together need more memory than it has, else None.

    That is no fault of the run: with fewer workers beside it, it goes on from its last save.
    """
    workers, text = sharing(), " ".join(str(error).split())
    if workers == 1 or not is_shortage(error):
        return None
    advice = f"--workers-per-gpu {workers // 2 if workers > 2 else 1}"
    who = plural(workers, "worker")
    return f"the GPU, which {who} share, is out of memory: use {advice} ({text[:160]})"


def is_shortage(error: BaseException) -> bool:
    """Whether a GPU's memory did not suffice. Only torch's errors say so: others' words vary."""
    text = str(error)
    is_of_gpu = any(name in text for name in ("CUDA", "CUBLAS", "CUDNN"))
    return isinstance(error, RuntimeError) and is_of_gpu and any(sign in text for sign in SIGNS)
