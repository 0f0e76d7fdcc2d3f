"""Whose checkpoint is it? From a file's content to one network's weights, wrappers taken off.

What is known, with the training programs' own nesting:

    ours                        safetensors; `about` says which network
    RepDistiller, SimKD         {"model": …, "epoch": …, "accuracy" or "best_acc": …, perhaps
                                "optimizer" and "opt"}
    mdistiller, student         {"model": …}
    mdistiller, distiller       {"model": {"module.student.…", "module.teacher.…", …}, …}
    OpenMMLab (mmcls, mmrazor)  {"state_dict": {"backbone.…", "head.fc.…"}, "meta": …}; distillers
                                with "student.", "teacher." and "distill_losses." before each
    pytorch-cifar               {"net": …, "acc": …, "epoch": …}
    torchvision, timm, …        a bare state dict, or one under "model" or "state_dict"

each of them with the prefixes of DataParallel and torch.compile, too.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..base import ModelError
from .metadata import KEY, About, about
from .reading import read

State = Mapping[str, Tensor]

WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and its heirs; torch.compile
NESTED = ("model", "state_dict", "net")  # where training scripts keep the weights
PARTS = ("student", "teacher")  # of a distiller that was saved as a whole
OPENMMLAB = ("backbone.", "neck.", "head.")


@dataclass(frozen=True)
class Checkpoint:
    """One network's weights as a file holds them.

    format    whose it is, in words
    state     tensors by name, without the prefixes of wrappers
    stripped  those prefixes, outermost first
    part      "student" or "teacher" if the file holds a whole distiller, else None
    extra     what else is in the file: numbers and texts as they are, of the rest a description
    about     what our own files say of themselves
    hint      the architecture's name as the file gives it ("arch"): worth a try, never believed
    """

    path: Path
    format: str
    state: State
    stripped: tuple[str, ...] = ()
    part: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    about: About | None = None
    hint: str | None = None


def read_checkpoint(path: str | os.PathLike[str], part: str = "student") -> Checkpoint:
    """Read any known format; of a distiller saved as a whole, that ``part``.

    Raises ModelError in one line for a file that is missing, broken, refused, or without weights.
    """
    if part not in PARTS:
        raise ModelError(f"part {part!r}: expected {' or '.join(map(repr, PARTS))}")
    path = Path(path)
    content, metadata = read(path)
    key, nested = _nested(content, path)
    state, stripped = _unwrapped(nested)
    extra = _beside(content, key)
    held = tuple(name for name in PARTS if _starts(state, f"{name}."))
    if not held and part != PARTS[0]:
        raise ModelError(f"{path}: has no part {part!r}: it holds one network, no distiller")
    if held:
        extra |= _modules_beside(state, part)
        state, taken = _part(state, part, held, path)
        stripped = (*stripped, *taken)
    state, translated = _from_openmmlab(state)
    return Checkpoint(
        path=path,
        format=_format(content, key, metadata, held, translated),
        state=state,
        stripped=(*stripped, *translated),
        part=part if held else None,
        extra=extra,
        about=about(metadata, path),
        hint=_hint(content),
    )


# ---- nesting and prefixes ------------------------------------------------------------------------


def _nested(content: Any, path: Path) -> tuple[str | None, State]:
    """The state dict in a file's content, and under which key it was."""
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
        f"{path}: no state dict: it holds {holds}; expected tensors by name, or such a dict "
        f"under {', '.join(map(repr, NESTED[:-1]))} or {NESTED[-1]!r}"
    )


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _unwrapped(state: State) -> tuple[State, tuple[str, ...]]:
    """Plain names, and the prefixes taken off. A plain dict: torch's knows versions of modules."""
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
    """One network out of a distiller."""
    if part not in held:
        raise ModelError(f"{path}: a distiller without {part!r}: it holds {held[0]!r} only")
    prefix = f"{part}."
    taken = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    inner, prefixes = _unwrapped(taken)
    return inner, (prefix, *prefixes)


def _from_openmmlab(state: State) -> tuple[State, tuple[str, ...]]:
    """mmcls' names as the zoo has them: ResNet is torchvision's, ResNet_CIFAR pytorch-cifar's.

    Names of other backbones are left as they are behind "backbone.", and then fit nothing.
    """
    if not (_starts(state, "backbone.") and all(key.startswith(OPENMMLAB) for key in state)):
        return state, ()
    renamed = {
        key.removeprefix("backbone.").replace("head.fc.", "fc."): value
        for key, value in state.items()
    }
    stem = renamed.get("conv1.weight")
    if stem is not None and stem.shape[-1] == 3 and _starts(renamed, "layer4."):
        renamed = {_cifar_name(key): value for key, value in renamed.items()}
    return renamed, ("backbone.", "head.")


def _cifar_name(key: str) -> str:
    if key.startswith("fc."):
        return key.replace("fc.", "linear.")
    return key.replace(".downsample.", ".shortcut.")


# ---- what else is known --------------------------------------------------------------------------


def _format(
    content: Any,
    key: str | None,
    metadata: Mapping[str, str],
    held: tuple[str, ...],
    translated: tuple[str, ...],
) -> str:
    """Whose file this is, in words: by its nesting, since suffixes and folders say anything."""
    if KEY in metadata:
        return "ours (safetensors)"
    if translated:
        return "OpenMMLab's" + (", a whole distiller" if held else "")
    if held:
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


def _beside(content: Any, key: str | None) -> dict[str, Any]:
    """What a file holds beside the weights."""
    if key is None:
        return {}
    named = ((str(name), value) for name, value in content.items() if name != key)
    return {n if n.isprintable() else repr(n): _described(value) for n, value in named}


def _described(value: Any) -> Any:
    """A number or a short text as it is; of anything bigger what it is."""
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


def _modules_beside(state: State, part: str) -> dict[str, Any]:
    """A distiller's other modules, with the number of their tensors."""
    modules = [key.partition(".")[0] for key in state]
    return {f"{m}.": f"{modules.count(m)} tensors" for m in dict.fromkeys(modules) if m != part}


def _hint(content: Any) -> str | None:
    found = content.get("arch") if isinstance(content, Mapping) else None
    return found if isinstance(found, str) else None
