"""Find the state dicts in what a training script saved, and whose weights each of them holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

State = Mapping[str, Tensor]

NESTED = ("model", "state_dict", "net")  # the usual keys, most usual first
MAIN, TEACHER, EMA = "student", "teacher", "ema"  # whose weights; a network alone counts as MAIN
DEPTH = 4  # of containers: {"checkpoint": {"model": …}} has two
# Keys of what is trained beside the network, or is no network at all.
OTHERS = re.compile(r"optim|^opt$|sched|scaler|criterion|loss|rng|hyper|config|^meta$|^args$", re.I)
_NET = "model|net|network|backbone|state_dict|weights"
_ROLE = re.compile(
    rf"^(?:(?:{_NET})_)?(student|teacher|s|t|ema|averaged|swa|shadow)(?:_(?:{_NET}))*$", re.I
)
_ROLES = {"student": MAIN, "s": MAIN, "teacher": TEACHER, "t": TEACHER}
COUNTERS = ("total_ops", "total_params")  # buffers that THOP registers to count operations
AVERAGED = "n_averaged"  # of torch.optim.swa_utils.AveragedModel


@dataclass(frozen=True)
class Found:
    """A state dict, the keys that lead to it, and whose weights it holds."""

    keys: tuple[str, ...]
    state: State
    part: str

    def __str__(self) -> str:
        return ".".join(self.keys)


def role(name: str) -> str | None:
    """Whose weights a key or the first part of a parameter's name speaks of: "model_t", "ema".

    None if of nobody in particular.
    """
    match = _ROLE.match(name)
    if match is None or name in ("s", "t"):
        return None
    return _ROLES.get(match[1].lower(), EMA)


def state_dicts(content: Any) -> list[Found]:
    """All state dicts in a file's content, the most usual places first."""
    return list(_walk(content, (), MAIN))


def _walk(content: Any, keys: tuple[str, ...], part: str) -> Iterator[Found]:
    state = _as_state(content)
    if state is not None:
        yield Found(keys, state, part)
        return
    if len(keys) == DEPTH:
        return
    for key, inner in _items(content):
        if not OTHERS.search(key):
            yield from _walk(inner, (*keys, key), role(key) or part)


def _items(content: Any) -> list[tuple[str, Any]]:
    """The containers in a container; lists as {"0": …, "1": …}."""
    if isinstance(content, (list, tuple)):
        content = {str(place): inner for place, inner in enumerate(content[:8])}
    if not isinstance(content, Mapping):
        return []
    held = [(k, v) for k, v in content.items() if isinstance(k, str) and _is_container(v)]
    return sorted(held, key=lambda item: NESTED.index(item[0]) if item[0] in NESTED else 9)


def _is_container(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple)) and len(value) > 0


def _as_state(value: Any) -> State | None:
    """A dict with a tensor per name; scripts put an epoch or the like among them."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        return None
    if any(_is_container(inner) for inner in value.values()):
        return None
    tensors = {key: tensor for key, item in value.items() if (tensor := _tensor(item)) is not None}
    return tensors or None


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" and value.ndim:
        return torch.from_numpy(np.ascontiguousarray(value))
    return None


def without_counters(state: State) -> tuple[State, list[str]]:
    """The state without what is nobody's weights, and the names of what was left out."""
    counters = [name for name in state if name.rpartition(".")[2] in (*COUNTERS, AVERAGED)]
    return {name: state[name] for name in state if name not in set(counters)}, counters
