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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..base import ModelError
from .containers import EMA, MAIN, State, without_counters
from .metadata import KEY, Metadata, parse_metadata
from .parts import PARTS, RAW, Network, networks_in, taken, unwrapped
from .reading import read
from .variants import small_resnet

LIGHTNING = "pytorch-lightning_version"
OPENMMLAB = ("backbone.", "neck.", "head.")
ROUNDED = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Checkpoint:
    """One network's weights, as read from a file.

    format    the program that wrote the file, in words
    state     tensors by name, without the prefixes of wrappers
    stripped  those prefixes, outermost first
    part      which of `PARTS` this is, if the file holds several; else None
    extra     the file's other content: numbers and short texts as is, descriptions of the rest
    metadata  of our own files, else None
    hint      the architecture named by the file ("arch"): a candidate to try, never trusted
    notes     what a reader should know: what was left out or not taken, the precision
    transform_input  see `models.torchvision_path`; None: as the file says or its kind suggests
    """

    path: Path
    format: str
    state: State
    stripped: tuple[str, ...] = ()
    part: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    metadata: Metadata | None = None
    hint: str | None = None
    notes: tuple[str, ...] = ()
    transform_input: bool | None = None


def read_checkpoint(
    path: str | os.PathLike[str],
    part: str = MAIN,
    renamed: Sequence[tuple[str, str]] = (),
    transform_input: bool | None = None,
) -> Checkpoint:
    """Read any known format; of several networks in a file, the given ``part``.

    ``renamed`` are (old, new): wherever a part of a name begins with old, it then begins with new.
    Raises ModelError in one line if the file is missing, broken, refused, or has no weights.
    """
    if part not in PARTS:
        raise ModelError(f"part {part!r}: expected one of {', '.join(map(repr, PARTS))}")
    path = Path(path)
    content, header = read(path)
    networks = networks_in(content, path)
    one = taken(networks, part, path)
    state, counters = without_counters(one.state)
    state, stripped = unwrapped(_renamed(state, renamed))
    state, translated = _from_openmmlab(state)
    arch = content.get("arch") if isinstance(content, Mapping) else None
    return Checkpoint(
        path=path,
        format=_format(content, one, KEY in header, bool(translated)),
        state=state,
        stripped=(*one.prefixes, *stripped, *translated),
        part=one.called,
        extra={**_other_content(content, one.keys[0] if one.keys else None), **one.others},
        metadata=parse_metadata(header, path),
        hint=arch if isinstance(arch, str) and arch.isprintable() else None,
        notes=(*_notes_on(one, networks), *_notes_about(state, counters)),
        transform_input=transform_input,
    )


def _renamed(state: State, pairs: Sequence[tuple[str, str]]) -> State:
    for old, new in pairs:
        at_start = re.compile(rf"(?:(?<=\.)|^){re.escape(old)}")
        state = {at_start.sub(lambda _, new=new: new, k): v for k, v in state.items()}  # type: ignore[misc]
    return state


def _starts(state: State, prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state)


# ---- notes ---------------------------------------------------------------------------------------


def _notes_on(taken: Network, networks: Sequence[Network]) -> Iterator[str]:
    """Which network was taken, and what else could be."""
    others = list(dict.fromkeys(n.part for n in networks if n.part != taken.part))
    if taken.called == RAW:
        yield "these are the raw weights; averaged ones (EMA) are there, too: --part ema"
    elif taken.part == EMA:
        yield "these are averaged weights (EMA)" + "; raw ones: --part raw" * bool(others)
    elif others:
        there = " and ".join(f"--part {name}" for name in others)
        yield f"this is the {taken.part}; also there: {there}"
    same = [str(n) for n in networks if n.part == taken.part and n.keys != taken.keys]
    if same:
        yield f"taken from {str(taken)!r}; weights are also under {', '.join(map(repr, same[:3]))}"


def _notes_about(state: State, counters: Sequence[str]) -> Iterator[str]:
    if counters:
        kinds = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in counters))
        yield f"left out: {kinds} ({len(counters)} counters, which are no weights)"
    kinds_of = {value.dtype for value in state.values() if value.is_floating_point()}
    for kind in ROUNDED:
        if kind in kinds_of:
            yield f"stored in half precision ({str(kind).removeprefix('torch.')})"
    if torch.float64 in kinds_of:
        yield "stored in double precision, rounded to single"


def _from_openmmlab(state: State) -> tuple[State, tuple[str, ...]]:
    """Translate mmcls' names: ResNet to torchvision's, ResNet_CIFAR to pytorch-cifar's.

    The names of other backbones only lose "backbone.", and then match no network.
    """
    if not (_starts(state, "backbone.") and all(key.startswith(OPENMMLAB) for key in state)):
        return state, ()
    renamed: State = {
        key.removeprefix("backbone.").replace("head.fc.", "fc."): value
        for key, value in state.items()
    }
    stem = renamed.get("conv1.weight")
    if stem is not None and stem.shape[-1] == 3 and _starts(renamed, "layer4."):
        renamed = small_resnet(renamed)  # a 3×3 stem and four stages: ResNet_CIFAR
    return renamed, ("backbone.", "head.")


# ---- descriptions --------------------------------------------------------------------------------


def _format(content: Any, taken: Network, is_ours: bool, is_openmmlab: bool) -> str:
    """The format in words, told by its nesting: file names and suffixes are unreliable."""
    key = ".".join(taken.keys)
    if is_ours:
        return "ours (safetensors)"
    if is_openmmlab:
        return "OpenMMLab's" + (", a whole distiller" if taken.whole else "")
    if isinstance(content, Mapping) and LIGHTNING in content:
        return "Lightning's" + (", a whole distiller" if taken.whole else "")
    if taken.whole:
        whose = {"model": "mdistiller's, ", "state_dict": "OpenMMLab's, "}.get(key, "")
        return f"{whose}a whole distiller"
    if not key:
        return "a bare state dict"
    if key == "net":
        return """pytorch-cifar's {"net": …}"""
    if key == "state_dict":
        return """a state dict under "state_dict" (timm, OpenMMLab, PyTorch's examples)"""
    if key != "model":
        return f"a state dict under {key!r}"
    if len(content) == 1:
        return """mdistiller's student {"model": …}"""
    return """RepDistiller's or SimKD's {"model": …}"""


def _other_content(content: Any, key: str | None) -> dict[str, Any]:
    """What a file holds besides the weights."""
    if key is None or not isinstance(content, Mapping):
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
