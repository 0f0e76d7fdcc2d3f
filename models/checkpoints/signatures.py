"""Names and shapes of tensors, by which weights and networks are compared."""

from __future__ import annotations

import math

from torch import nn

from .containers import State
from .libraries import COUNTER

# COUNTER is ignored in comparisons: files from before torch 0.4.1 lack it, and BatchNorm then
# keeps its own.
BUFFERS = ("running_mean", "running_var", COUNTER, "relative_coords_table")
MAX_SHOWN = 3  # tensor names per kind in an error

Signature = dict[str, tuple[int, ...]]


def head_of(model: nn.Module) -> tuple[str, ...]:
    """Parameter names of the last linear layer: their first dimension is the number of classes."""
    classifier = getattr(model, "classifier", None)
    for name, module in model.named_modules():
        if module is classifier and isinstance(module, nn.Linear):
            return tuple(f"{name}.{key}" for key, _ in module.named_parameters())
    return ()


def signature_of(state: State, head: tuple[str, ...]) -> Signature:
    """Names and shapes, without the number of classes in those of ``head``."""
    return {
        key: tuple(value.shape[1:] if key in head else value.shape)
        for key, value in state.items()
        if not key.endswith(COUNTER)
    }


def difference(actual: Signature, expected: Signature) -> str:
    """What the file lacks, what the model does not have, or the first shape that differs."""
    missing = [key for key in expected if key not in actual]
    unexpected = [key for key in actual if key not in expected]
    parts = [f"the file lacks {_listed(missing)}"] if missing else []
    parts += [f"the model has no {_listed(unexpected)}"] if unexpected else []
    if parts:
        return " and ".join(parts)
    key = next(key for key in expected if actual[key] != expected[key])
    return f"{key!r} is {actual[key]} in the file, {expected[key]} in the model"


def _listed(keys: list[str]) -> str:
    more = f" (and {len(keys) - MAX_SHOWN} more)" if len(keys) > MAX_SHOWN else ""
    return ", ".join(map(repr, keys[:MAX_SHOWN])) + more


def parameters(state: State) -> int:
    """Number of trained values: all but the buffers, such as BatchNorm statistics."""
    return sum(value.numel() for key, value in state.items() if not key.endswith(BUFFERS))


def values_in(signature: Signature) -> int:
    return max(1, sum(math.prod(shape) for shape in signature.values()))
