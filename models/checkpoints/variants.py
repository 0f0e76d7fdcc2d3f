"""Other names for the same weights: a state dict as it is without the prefixes of its wrappers.

Whether a prefix belongs to a wrapper or to the network is decided by what then fits: `matching`
takes the first variant that agrees with a network in every name and shape.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .containers import State

DEPTH = 5  # prefixes, one within the other
COVERED = 0.9  # of all values, at least, must lie below a prefix that is stripped
# Of DataParallel, torch.compile, FSDP and activation checkpointing, which wrap inner modules, too.
_INNER = re.compile(
    r"(?:(?<=\.)|^)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)

# As VGG was trained in 2014: the features in parallel, the classifier on one device.
_PARALLEL = re.compile(r"^\w+\.module\.")


class Variant(NamedTuple):
    """A state, and what was done to the file's names, in words."""

    state: State
    notes: tuple[str, ...] = ()


def variants(state: State) -> Iterator[Variant]:
    """The state as it is, then with fewer and fewer prefixes."""
    current = Variant(state)
    for _ in range(DEPTH):
        yield current
        yield from _respelled(current)
        inner = _within(current)
        if inner is None:
            return
        current = inner


def _respelled(variant: Variant) -> Iterator[Variant]:
    """Wrappers of inner modules left out; a ResNet for small images in the zoo's names."""
    state, notes = variant
    unwrapped = {_INNER.sub("", name): value for name, value in state.items()}
    if unwrapped.keys() != state.keys() and len(unwrapped) == len(state):
        yield Variant(unwrapped, (*notes, "without the prefixes of wrapped modules"))
    some = {_PARALLEL.sub("", name): value for name, value in state.items()}
    if some.keys() != state.keys() and len(some) == len(state):
        yield Variant(some, (*notes, "without the prefix of its parallel features"))
    stem = state.get("conv1.weight")
    if stem is not None and tuple(stem.shape[1:]) == (3, 3, 3) and "fc.weight" in state:
        yield Variant(small_resnet(state), (*notes, "torchvision's names of a ResNet"))


def small_resnet(state: State) -> State:
    """torchvision's names of a ResNet as those of pytorch-cifar, which the zoo's ResNet18 has."""
    return {
        re.sub(r"^fc\.", "linear.", name).replace(".downsample.", ".shortcut."): value
        for name, value in state.items()
    }


def _within(variant: Variant) -> Variant | None:
    """The state below the prefix under which nearly all values lie, if there is one."""
    state, notes = variant
    sizes: dict[str, int] = {}
    for name, value in state.items():
        first, dot, _ = name.partition(".")
        if dot:
            sizes[first] = sizes.get(first, 0) + value.numel()
    if not sizes:
        return None
    prefix = max(sizes, key=lambda name: sizes[name]) + "."
    inside = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    left = [name for name in state if not name.startswith(prefix)]
    if sizes[prefix[:-1]] < COVERED * sum(value.numel() for value in state.values()):
        return None
    beside = (f"left out: {', '.join(map(repr, left[:3]))}{', …' * (len(left) > 3)}",)
    return Variant(inside, (*notes, f"without the prefix {prefix!r}", *beside[: len(left)]))
