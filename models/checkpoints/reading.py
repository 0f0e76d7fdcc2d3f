"""From a checkpoint file to what it holds, without running anyone's code."""

from __future__ import annotations

import argparse
import os
import pickle
import re
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ..base import ModelError

MEANINGS = {  # of names that files of known programs hold, and torch does not read
    "numpy": "a NumPy number or array, often an accuracy",
    "mmengine": "OpenMMLab's training state; its publish_model.py leaves it out",
    "mmcv": "OpenMMLab's training state; its publish_model.py leaves it out",
    "torch.nn.modules": "a whole pickled network",
    "models": "a whole pickled network",
}


def existing(path: str | os.PathLike[str]) -> Path:
    """The path, if it is a file; ModelError otherwise."""
    path = Path(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise ModelError(f"{path}: this checkpoint {what}")
    return path


def read(path: Path) -> tuple[Any, dict[str, str]]:
    """What the file holds, on the CPU, and the metadata of a safetensors file.

    Raises ModelError in one line for what is missing, broken, or would run code.
    """
    try:
        return _decode(existing(path))
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        # Its text advises to switch the protection off, which is not passed on.
        named = re.search(r"GLOBAL (\S+)", str(error))
        why = "it is corrupt, or a pickle of something else"
        raise _refused(path, _named(named[1]) if named else why) from error
    except Exception as error:  # a broken file raises anything: KeyError, EOFError, …
        reason = (str(error).strip().splitlines() or ["it ends too early"])[0]
        raise ModelError(
            f"{path}: truncated, corrupt or no checkpoint ({type(error).__name__}: {reason[:160]})"
        ) from error


def _decode(path: Path) -> tuple[Any, dict[str, str]]:
    with path.open("rb") as file:
        head = file.read(9)
    # Told by its beginning (a length, then JSON), since published files have all sorts of suffixes.
    if path.suffix == ".safetensors" or head[8:] == b"{":
        with safetensors.safe_open(path, "pt") as opened:
            metadata = opened.metadata() or {}
        return safetensors.torch.load_file(path), metadata
    if head[:1] == b"\x80" and head[1:2] > b"\x02":  # torch.save writes protocol 2
        raise _refused(path, f"it is a bare pickle of protocol {head[1]}")
    # RepDistiller's *_last.pth hold their command line as `opt`. A Namespace is a bag of attributes
    # with no method that unpickling would call, and what is put into it is read by these rules.
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True), {}


def _named(name: str) -> str:
    meaning = next((m for prefix, m in MEANINGS.items() if f"{name}.".startswith(f"{prefix}.")), "")
    return f"it names {name}" + (f" ({meaning})" if meaning else "")


def _refused(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path}: refused, because reading it could run code: {why}; expected nothing but tensors "
        "and plain containers; whoever can trust it may save its weights alone: "
        "torch.save(model.state_dict(), FILE)"
    )
