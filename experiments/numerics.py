"""What a machine can compute with: asked for and not to be had is an error, never replaced."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from typing import Any

import torch

from .errors import InputError
from .recipe import Recipe

_SWITCHES = ("tf32", "compile")


def missing(recipe: Mapping[str, Any], device: str) -> str | None:
    """The first entry of a recipe that this machine's ``device`` lacks, as it stands in YAML."""
    for key in _unavailable(device):
        if key in _SWITCHES and recipe[key]:
            return f"{key}: true"
        if recipe["precision"] == key:
            return f"precision: {key}"
    return None


def check(recipe: Recipe, device: str) -> None:
    """Raise InputError where this machine cannot give what the recipe asks for."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("this machine has no usable CUDA device, but the job needs one")
    lacking = missing(recipe.model_dump(), device)
    if lacking:
        raise InputError(f"recipe.{lacking}: not to be had with this machine's {device}")


def _unavailable(device: str) -> list[str]:
    compiler = any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++")))
    if device == "cpu":
        return ["fp16", "tf32"] + ([] if compiler else ["compile"])
    modern = torch.cuda.get_device_capability() >= (8, 0)  # Ampere brought both
    can_compile = compiler and importlib.util.find_spec("triton") is not None
    return ([] if modern else ["bf16", "tf32"]) + ([] if can_compile else ["compile"])
