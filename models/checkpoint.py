"""Weights in files: ours (safetensors) and published ones, read without running anyone's code."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from .base import ModelError, build, names

State = Mapping[str, Tensor]
StrPath = str | os.PathLike[str]

WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and its heirs; torch.compile
NESTED = ("model", "state_dict")  # where training scripts keep the weights
COUNTER = "num_batches_tracked"  # absent before torch 0.4.1; BatchNorm then keeps its own


def load_checkpoint(model: nn.Module, path: StrPath) -> None:
    """Load weights into ``model``; every name and shape must fit and every value be finite.

    Accepts our own safetensors files, RepDistiller's and mdistiller's {"model": …}, bare state
    dicts, and each of them with DataParallel's prefix. Pickles are read with weights_only=True.
    Raises ModelError in one line, and then has not touched the model.
    """
    path = _existing(path)
    state = _state_in(_read(path), path)
    _check_fit(model, state, path)
    _check_finite(state, path)
    model.load_state_dict(state, strict=True)


def save_weights(model: nn.Module, path: StrPath) -> None:
    """Write the model's state as safetensors: after a crash the old file is there, or the new.

    Raises OSError with its errno where the disk refuses; then the old file is there.
    """
    path = Path(path)
    # Contiguous copies on the CPU: safetensors takes neither channels_last nor shared memory.
    state = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, value in model.state_dict().items()
    }
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(safetensors.torch.save(state))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: StrPath) -> str:
    """The file's SHA-256 in hexadecimal, which identifies given weights wherever they lie."""
    digest = hashlib.sha256()
    with _existing(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# ---- from a file to a state dict ----------------------------------------------------------------


def _existing(path: StrPath) -> Path:
    path = Path(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise ModelError(f"{path}: this checkpoint {what}")
    return path


def _read(path: Path) -> Any:
    """What the file holds, on the CPU."""
    try:
        return _decode(path)
    except ModelError:
        raise
    except pickle.UnpicklingError as error:
        # Its text advises to switch the protection off, which is not passed on.
        named = re.search(r"GLOBAL (\S+)", str(error))
        why = f"it names {named[1]}" if named else "it is corrupt, or a pickle of something else"
        raise _refused(path, why) from error
    except Exception as error:  # a broken file raises anything: KeyError, EOFError, …
        reason = (str(error).strip().splitlines() or ["it ends too early"])[0]
        raise ModelError(
            f"{path}: truncated, corrupt or no checkpoint ({type(error).__name__}: {reason[:160]})"
        ) from error


def _decode(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(9)
    # Told by its beginning (a length, then JSON), since published files have all sorts of suffixes.
    if path.suffix == ".safetensors" or head[8:] == b"{":
        return safetensors.torch.load_file(path)
    if head[:1] == b"\x80" and head[1:2] > b"\x02":  # torch.save writes protocol 2
        raise _refused(path, f"it is a bare pickle of protocol {head[1]}")
    return torch.load(path, map_location="cpu", weights_only=True)


def _refused(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path}: refused, because reading it could run code: {why}; "
        "expected nothing but tensors and plain containers"
    )


def _state_in(content: Any, path: Path) -> State:
    """The state dict in a file's content, without the prefixes of wrappers."""
    candidates = [content]
    if isinstance(content, Mapping):
        candidates += [content.get(key) for key in NESTED]
    for candidate in candidates:
        if _is_state(candidate):
            return _unwrapped(candidate)
    holds = type(content).__name__
    if isinstance(content, Mapping):
        holds = f"a dict of {', '.join(map(repr, list(content)[:6])) or 'nothing'}"
    raise ModelError(
        f"{path}: no state dict: it holds {holds}; expected tensors by name, or such a dict "
        f"under {' or '.join(map(repr, NESTED))}"
    )


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _unwrapped(state: State) -> State:
    for prefix in WRAPPERS:
        if all(key.startswith(prefix) for key in state):
            return _unwrapped({key.removeprefix(prefix): state[key] for key in state})
    return state


# ---- does it fit? -------------------------------------------------------------------------------

Signature = dict[str, tuple[int, ...]]


def _check_fit(model: nn.Module, state: State, path: Path) -> None:
    wanted, head = model.state_dict(), _head(model)
    if _signature(state, head) != _signature(wanted, head):
        name = getattr(model, "name", "") or type(model).__name__
        difference = _difference(_signature(state, head), _signature(wanted, head))
        raise ModelError(f"{path}: not the weights of {name}: {difference}; {_fitting(state)}")
    if any(state[key].shape != wanted[key].shape for key in head):
        found, expected = len(state[head[0]]), len(wanted[head[0]])
        raise ModelError(f"{path}: file has {found} classes, model has {expected}")


def _check_finite(state: State, path: Path) -> None:
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelError(f"{path}: {key!r} holds NaN or infinite values")


def _head(model: nn.Module) -> tuple[str, ...]:
    """The names of the last linear layer's parameters, whose first dimension is the classes."""
    classifier = getattr(model, "classifier", None)
    for name, module in model.named_modules():
        if module is classifier and isinstance(module, nn.Linear):
            return tuple(f"{name}.{key}" for key, _ in module.named_parameters())
    return ()


def _signature(state: State, head: tuple[str, ...]) -> Signature:
    """Names and shapes, whatever the number of classes."""
    return {
        key: tuple(value.shape[1:] if key in head else value.shape)
        for key, value in state.items()
        if not key.endswith(COUNTER)
    }


def _difference(found: Signature, wanted: Signature) -> str:
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    parts = [f"the file lacks {missing[0]!r}"] if missing else []
    parts += [f"the model has no {unexpected[0]!r}"] if unexpected else []
    if parts:
        return " and ".join(parts)
    key = next(key for key in wanted if found[key] != wanted[key])
    return f"{key!r} is {found[key]} in the file, {wanted[key]} in the model"


def _fitting(state: State) -> str:
    """Which of the zoo's own models these weights would fit, tried without allocating any.

    Foreign ones ("torchvision/…") are left out: some cannot be built on the meta device.
    """
    fits = []
    for name in (name for name in names() if "/" not in name):
        with torch.device("meta"):
            model = build(name, num_classes=2)
        head = _head(model)
        if _signature(state, head) == _signature(model.state_dict(), head):
            fits.append(f"{name} with {len(state[head[0]])} classes" if head else name)
    return f"they fit {' or '.join(fits)}" if fits else "they fit no model of the zoo"


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
