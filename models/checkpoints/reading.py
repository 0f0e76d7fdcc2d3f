"""Read a checkpoint file's content without running any code from it."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ..base import ModelError
from . import impostors, plain_classes

# Explanations of classes that known programs store and torch refuses to unpickle.
KNOWN_CLASSES = {
    "numpy": "a NumPy array of objects",
    "mmengine": "OpenMMLab's training state; its publish_model.py leaves it out",
    "mmcv": "OpenMMLab's training state; its publish_model.py leaves it out",
    "torch.nn.modules": "a whole pickled network",
    "models": "a whole pickled network",
}


def require_file(path: str | os.PathLike[str]) -> Path:
    """The path, if it is a file; otherwise raises ModelError."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: this checkpoint {impostors.no_file(path)}")
    return path


def read(path: Path) -> tuple[Any, dict[str, str]]:
    """The file's content on the CPU, and the header metadata of a safetensors file.

    Raises ModelError in one line for a file that is missing or broken, or that would run code.
    """
    try:
        what = impostors.named(require_file(path))
        if what is not None:
            raise ModelError(f"{path}: this is {what}".replace("FILE", str(path)))
        return _decode(path)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        # torch's own message recommends switching the protection off, so it is not shown.
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = _named(named[1]) if named else "it is corrupt, or a pickle of something else"
        raise _refused(path, reason) from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a broken file raises anything: KeyError, EOFError, …
        reason = (str(error).strip().splitlines() or ["it ends too early"])[0]
        raise ModelError(
            f"{path}: truncated, corrupt or not a checkpoint "
            f"({type(error).__name__}: {printable(reason[:160])}); download it again"
        ) from error


def _decode(path: Path) -> tuple[Any, dict[str, str]]:
    with path.open("rb") as file:
        head = file.read(9)
    # Published files have arbitrary suffixes, so safetensors is recognised by its first bytes: a
    # length, then JSON.
    if path.suffix == ".safetensors" or head[8:] == b"{":
        with safetensors.safe_open(path, "pt") as opened:
            header = opened.metadata() or {}
        return safetensors.torch.load_file(path), header
    if head[:1] == b"\x80" and head[1:2] > b"\x02":  # torch.save writes protocol 2
        raise _refused(path, f"it is a bare pickle of protocol {head[1]}")
    with torch.serialization.safe_globals(plain_classes.allowed()):
        return torch.load(path, map_location="cpu", weights_only=True), {}


def printable(text: str) -> str:
    """The text with escapes in place of what would move a cursor or change colors."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _named(name: str) -> str:
    name = printable(name)
    meaning = next(
        (m for prefix, m in KNOWN_CLASSES.items() if f"{name}.".startswith(f"{prefix}.")), ""
    )
    return f"it names {name}" + (f" ({meaning})" if meaning else "")


def _refused(path: Path, reason: str) -> ModelError:
    return ModelError(
        f"{path}: refused, because reading it could run code: {reason}; expected only tensors and "
        "plain containers; if you trust it, re-save only its state dict: "
        "torch.save(model.state_dict(), FILE)"
    )
