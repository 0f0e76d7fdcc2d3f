"""Weights in files: ours (safetensors) and published ones, read without running anyone's code."""

from __future__ import annotations

import errno
import hashlib
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
from .matching import checked_state
from .metadata import About
from .reading import existing

StrPath = str | os.PathLike[str]


def load_checkpoint(model: nn.Module, path: StrPath, part: str = "student") -> None:
    """Load weights into ``model``; every name and shape must fit and every value be finite.

    Accepts every format of `models.formats`; what a safetensors file of ours says of itself must
    be what is asked. Of a distiller that was saved whole, ``part`` ("student" or "teacher") is
    taken. Pickles are read with weights_only=True. Raises ModelError in one line, and then has
    not touched the model.
    """
    load(model, read_checkpoint(path, part))


def load(model: nn.Module, checkpoint: Checkpoint) -> None:
    """`load_checkpoint` of a file that is already read."""
    model.load_state_dict(checked_state(model, checkpoint), strict=True)


def save_weights(model: nn.Module, path: StrPath, facts: Mapping[str, Any] | None = None) -> None:
    """Write the model's state as safetensors: after a crash the old file is there, or the new.

    A network of the zoo is saved with its name and number of classes, and with ``facts`` of
    `about.About` where they are known. The same weights and facts give the same bytes.
    Raises OSError with its errno where the disk refuses; then the old file is there.
    """
    path = Path(path)
    # Contiguous copies on the CPU: safetensors takes neither channels_last nor shared memory.
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in model.state_dict().items()
    }
    metadata = _metadata(model, facts or {})
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(safetensors.torch.save(state, metadata))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _metadata(model: nn.Module, facts: Mapping[str, Any]) -> dict[str, str] | None:
    """A method's modules, and a network that nobody registered, are tensors without a story."""
    if not (isinstance(model, Classifier) and model.name):
        return None
    return About(architecture=model.name, num_classes=model.num_classes, **facts).metadata()


def sha256(path: StrPath) -> str:
    """The file's SHA-256 in hexadecimal, which identifies given weights wherever they lie."""
    digest = hashlib.sha256()
    with existing(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _sync_directory(path: Path) -> None:
    """Make a rename survive a power failure, where the file system offers that for directories."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
