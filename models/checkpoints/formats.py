"""Recognise a checkpoint's format and extract one network's weights, without wrappers.

Known formats, with the nesting that each training program writes:

    ours                        safetensors; the metadata says which network
    RepDistiller, SimKD         {"model": …, "epoch": …, "accuracy" or "best_acc": …, perhaps
                                "optimizer" and "opt"}
    mdistiller, student         {"model": …}
    mdistiller, distiller       {"model": {"module.student.…", "module.teacher.…", …}, …}
    OpenMMLab (mmcls, mmrazor)  {"state_dict": {"backbone.…", "head.fc.…"}, "meta": …}; distillers
                                with the prefixes "student.", "teacher.", "distill_losses."
    pytorch-cifar               {"net": …, "acc": …, "epoch": …}
    torchvision, timm, …        a bare state dict, or one under "model" or "state_dict"

Each may also carry the prefixes of DataParallel and torch.compile.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..base import ModelError
from .metadata import KEY, Metadata, parse_metadata
from .reading import read

State = Mapping[str, Tensor]

WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and its subclasses; torch.compile
NESTED = ("model", "state_dict", "net")  # keys under which training scripts store the weights
PARTS = ("student", "teacher")  # of a distiller that was saved whole
OPENMMLAB = ("backbone.", "neck.", "head.")


@dataclass(frozen=True)
class Checkpoint:
    """One network's weights, as read from a file.

    format    the program that wrote the file, in words
    state     tensors by name, without the prefixes of wrappers
    stripped  those prefixes, outermost first
    part      "student" or "teacher" if the file holds a whole distiller, else None
    extra     the file's other content: numbers and short texts as is, descriptions of the rest
    metadata  of our own files, else None
    hint      the architecture named by the file ("arch"): a candidate to try, never trusted
    """

    path: Path
    format: str
    state: State
    stripped: tuple[str, ...] = ()
    part: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    metadata: Metadata | None = None
    hint: str | None = None


def read_checkpoint(path: str | os.PathLike[str], part: str = "student") -> Checkpoint:
    """Read any known format; from a whole distiller, the given ``part``.

    Raises ModelError in one line if the file is missing, broken, refused, or has no weights.
    """
    if part not in PARTS:
        raise ModelError(f"part {part!r}: expected {' or '.join(map(repr, PARTS))}")
    path = Path(path)
    content, header = read(path)
    arch = content.get("arch") if isinstance(content, Mapping) else None
    key, nested = _nested(content, path)
    state, stripped = _unwrapped(nested)
    extra = _other_content(content, key)
    held = tuple(name for name in PARTS if _starts(state, f"{name}."))
    if not held and part != PARTS[0]:
        raise ModelError(f"{path}: has no part {part!r}: it holds one network, not a distiller")
    if held:
        extra |= _other_modules(state, part)
        state, taken = _part(state, part, held, path)
        stripped = (*stripped, *taken)
    state, translated = _from_openmmlab(state)
    return Checkpoint(
        path=path,
        format=_format(content, key, KEY in header, bool(held), bool(translated)),
        state=state,
        stripped=(*stripped, *translated),
        part=part if held else None,
        extra=extra,
        metadata=parse_metadata(header, path),
        hint=arch if isinstance(arch, str) else None,
    )


# ---- nesting and prefixes ------------------------------------------------------------------------


def _nested(content: Any, path: Path) -> tuple[str | None, State]:
    """The key under which the content holds a state dict (None: it is one), and the state dict."""
    if _is_state(content):
        return None, content
    if isinstance(content, Mapping):
        for key in NESTED:
            if _is_state(content.get(key)):
                return key, content[key]
    holds = type(content).__name__
    if isinstance(content, Mapping):
        holds = f"a dict of {', '.join(map(repr, list(content)[:6])) or 'nothing'}"
    raise ModelError(
        f"{path}: no state dict: it holds {holds}; expected a dict of tensors by name, or one "
        f"under {', '.join(map(repr, NESTED[:-1]))} or {NESTED[-1]!r}"
    )


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _unwrapped(state: State) -> tuple[State, tuple[str, ...]]:
    """The state without the prefixes of wrappers, and these prefixes.

    Returns a plain dict: torch's OrderedDict carries module versions that loading would act on.
    """
    # Recursive, because wrappers may be nested in either order.
    for prefix in WRAPPERS:
        if all(key.startswith(prefix) for key in state):
            inner, prefixes = _unwrapped({k.removeprefix(prefix): v for k, v in state.items()})
            return inner, (prefix, *prefixes)
    return dict(state), ()


def _starts(state: State, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state)


def _part(
    state: State, part: str, held: tuple[str, ...], path: Path
) -> tuple[State, tuple[str, ...]]:
    """One network of a distiller, and the prefixes removed from its names."""
    if part not in held:
        raise ModelError(f"{path}: a distiller without {part!r}: it holds {held[0]!r} only")
    prefix = f"{part}."
    taken = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    inner, prefixes = _unwrapped(taken)
    return inner, (prefix, *prefixes)


def _from_openmmlab(state: State) -> tuple[State, tuple[str, ...]]:
    """Translate mmcls' names: ResNet to torchvision's, ResNet_CIFAR to pytorch-cifar's.

    The names of other backbones only lose "backbone.", and then match no network.
    """
    if not (_starts(state, "backbone.") and all(key.startswith(OPENMMLAB) for key in state)):
        return state, ()
    renamed = {
        key.removeprefix("backbone.").replace("head.fc.", "fc."): value
        for key, value in state.items()
    }
    stem = renamed.get("conv1.weight")
    if stem is not None and stem.shape[-1] == 3 and _starts(renamed, "layer4."):
        renamed = {  # a 3×3 stem and four stages: ResNet_CIFAR
            re.sub(r"^fc\.", "linear.", key).replace(".downsample.", ".shortcut."): value
            for key, value in renamed.items()
        }
    return renamed, ("backbone.", "head.")


# ---- descriptions --------------------------------------------------------------------------------


def _format(
    content: Any, key: str | None, is_ours: bool, is_distiller: bool, is_openmmlab: bool
) -> str:
    """The format in words, told by its nesting: file names and suffixes are unreliable."""
    if is_ours:
        return "ours (safetensors)"
    if is_openmmlab:
        return "OpenMMLab's" + (", a whole distiller" if is_distiller else "")
    if is_distiller:
        whose = {"model": "mdistiller's, ", "state_dict": "OpenMMLab's, "}.get(key or "", "")
        return f"{whose}a whole distiller"
    if key is None:
        return "a bare state dict"
    if key == "net":
        return """pytorch-cifar's {"net": …}"""
    if key == "state_dict":
        return """a state dict under "state_dict" (timm, OpenMMLab, PyTorch's examples)"""
    if len(content) == 1:
        return """mdistiller's student {"model": …}"""
    return """RepDistiller's or SimKD's {"model": …}"""


def _other_content(content: Any, key: str | None) -> dict[str, Any]:
    """What a file holds besides the weights."""
    if key is None:
        return {}
    named = ((str(name), value) for name, value in content.items() if name != key)
    return {n if n.isprintable() else repr(n): _described(value) for n, value in named}


def _described(value: Any) -> Any:
    """A number or a short text as is, a description of anything larger."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else f"a tensor {tuple(value.shape)}"
    if isinstance(value, argparse.Namespace):
        settings = ", ".join(f"{k}={v!r}" for k, v in list(vars(value).items())[:4])
        return f"{len(vars(value))} settings: {settings[:120]}"
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str) and len(value) <= 80 and value.isprintable():
        return value
    size = f" of {len(value)}" if hasattr(value, "__len__") else ""
    return f"a {type(value).__name__}{size}"


def _other_modules(state: State, part: str) -> dict[str, Any]:
    """A distiller's other modules, with their numbers of tensors."""
    modules = [key.partition(".")[0] for key in state]
    return {f"{m}.": f"{modules.count(m)} tensors" for m in dict.fromkeys(modules) if m != part}
