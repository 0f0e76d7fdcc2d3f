"""Load and save weight files: safetensors of our own, and published formats read safely."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from ..base import Classifier
from .formats import Checkpoint, read_checkpoint
from .hashing import sha256 as sha256  # where others look for it
from .matching import checked_state
from .metadata import Metadata

StrPath = str | os.PathLike[str]


def load_checkpoint(model: nn.Module, path: StrPath, part: str = "student") -> None:
    """Load weights into ``model``; every name and shape must match and every value be finite.

    Accepts every format of `models.checkpoints.formats`; the metadata of our own files must
    describe ``model``. Of several networks in a file, ``part`` is loaded: "student" or "teacher" of
    a whole distiller, "raw" or "ema" weights.
    Pickles are read with weights_only=True. Raises ModelError in one line, leaving ``model``
    unchanged.
    """
    load(model, read_checkpoint(path, part))


def load(model: nn.Module, checkpoint: Checkpoint) -> None:
    """`load_checkpoint` from a checkpoint that has already been read."""
    model.load_state_dict(checked_state(model, checkpoint), strict=True)
    if hasattr(model, "transform_input"):
        setattr(model, "transform_input", _transforms_input(checkpoint))  # noqa: B010  (no tensor)


def _transforms_input(checkpoint: Checkpoint) -> bool:
    """Whether weights of GoogLeNet or Inception want their input as TensorFlow normalises it.

    torchvision's do, and the files that it publishes cannot say so. Ours say it if they do.
    """
    if checkpoint.transform_input is not None:
        return checkpoint.transform_input
    return bool(checkpoint.metadata.transform_input) if checkpoint.metadata else True


def save_weights(model: nn.Module, path: StrPath, facts: Mapping[str, Any] | None = None) -> None:
    """Write the model's state as safetensors, atomically: a crash leaves the old file or the new.

    A network of the zoo is saved with its name, its number of classes, and ``facts``: the further
    fields of `Metadata` that are known. The same weights and facts give the same bytes.
    Raises OSError with its errno if the disk refuses, leaving the old file.
    """
    path = Path(path)
    # Contiguous copies on the CPU: safetensors takes neither channels_last nor shared memory.
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in model.state_dict().items()
    }
    header = None  # a method's modules and unregistered networks are saved as bare tensors
    if isinstance(model, Classifier) and model.name:
        own = {"transform_input": True} if getattr(model, "transform_input", False) else {}
        about = {"architecture": model.name, "num_classes": model.num_classes}
        header = Metadata(**{**(facts or {}), **about, **own}).header()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(safetensors.torch.save(state, header))
            file.flush()
            os.fsync(file.fileno())  # before the rename, which could otherwise reach the disk first
        temporary.replace(path)
        _sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    """Make a rename survive a power failure, on file systems that can sync directories."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
