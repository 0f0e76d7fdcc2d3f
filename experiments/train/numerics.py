"""Numerics of a machine: what a recipe asks for and a device lacks is an error, never replaced."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import resource
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import torch

from experiments.errors import InputError
from experiments.matrix.recipe import Recipe

_SWITCHES = ("tf32", "compile")


def missing(recipe: Mapping[str, Any], device: str) -> str | None:
    """The first entry of a recipe that this machine's ``device`` does not support, as in YAML."""
    for key in _unavailable(device):
        if key in _SWITCHES and recipe[key]:
            return f"{key}: true"
        if recipe["precision"] == key:
            return f"precision: {key}"
    return None


def check(recipe: Recipe, device: str) -> None:
    """Raise InputError if this machine does not support what the recipe asks for."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("this machine has no usable CUDA device, but the job needs one")
    lacking = missing(recipe.model_dump(), device)
    if lacking:
        raise InputError(f"recipe.{lacking}: not available on this machine ({device})")


def _unavailable(device: str) -> list[str]:
    # torch.compile needs a C++ compiler on a CPU, and Triton beside it on a GPU.
    compiler = any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++")))
    if device == "cpu":
        return ["fp16", "tf32"] + ([] if compiler else ["compile"])
    modern = torch.cuda.get_device_capability() >= (8, 0)  # both came with Ampere
    can_compile = compiler and importlib.util.find_spec("triton") is not None
    return ([] if modern else ["bf16", "tf32"]) + ([] if can_compile else ["compile"])


def set_numerics(recipe: Recipe, device: torch.device) -> None:
    """Apply a recipe's process-wide settings; all members of a cohort have the same."""
    if device.type == "cpu":
        torch.set_num_threads(recipe.threads)
        keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = recipe.tf32
    torch.backends.cudnn.allow_tf32 = recipe.tf32
    torch.backends.cudnn.benchmark = not recipe.deterministic
    torch.use_deterministic_algorithms(recipe.deterministic)


def keep_freed_memory() -> None:
    """Make the C library keep freed memory, which networks on a CPU allocate again every step.

    glibc returns large blocks to the kernel, which costs thousands of page faults per step
    (measured: 3 to 16 % of a training step). Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    largest_mapped, trim_threshold = -3, -1  # malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    if not mallopt(largest_mapped, 1 << 30):
        mallopt(largest_mapped, 1 << 25)  # the most that older versions accept
    mallopt(trim_threshold, 2**31 - 1)


def peak_memory(device: torch.device) -> int:
    """Bytes: the device's peak of this process, or the process's own peak on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
