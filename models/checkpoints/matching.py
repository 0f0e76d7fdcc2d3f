"""Do these weights fit that network, and if not, which one of the zoo?"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from ..base import PREFIXES, Factory, ModelError, build, find, names
from .formats import Checkpoint, State

COUNTER = "num_batches_tracked"  # absent before torch 0.4.1; BatchNorm then keeps its own
BUFFERS = ("running_mean", "running_var", COUNTER, "relative_coords_table")
FOREIGN = ("torchvision/", "timm/")  # too many to build them all
SHOWN = 3  # names per kind in an error

Signature = dict[str, tuple[int, ...]]


class Fit(NamedTuple):
    """A network of the zoo with exactly these weights' names and shapes."""

    name: str
    num_classes: int | None  # None: the network's head is no linear layer, and does not tell

    def __str__(self) -> str:
        return f"{self.name} with {self.num_classes} classes" if self.num_classes else self.name


class Plan(NamedTuple):
    """A network's names and shapes; in those of the head the classes are left out."""

    signature: Signature
    head: tuple[str, ...]


def checked_state(model: nn.Module, checkpoint: Checkpoint) -> State:
    """The state to load into ``model``: every name and shape fits, every value is finite.

    Raises ModelError with what is missing and unexpected, and what the weights would fit.
    """
    wanted, head = model.state_dict(), _head(model)
    state = checkpoint.state
    _check_architecture(model, checkpoint, _signature(state, head), _signature(wanted, head))
    _check_classes(checkpoint, state, wanted, head)
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelError(f"{checkpoint.path}: {key!r} holds NaN or infinite values")
    return state


def _check_architecture(
    model: nn.Module, checkpoint: Checkpoint, found: Signature, wanted: Signature
) -> None:
    name = getattr(model, "name", "") or type(model).__name__
    said = checkpoint.about
    faults = [difference(found, wanted)] if found != wanted else []
    if said and said.architecture != name:
        faults.append(f"the file says that it is {said}")
    if faults:
        part = f"its {checkpoint.part}: " if checkpoint.part else ""
        raise ModelError(
            f"{checkpoint.path}: {part}not the weights of {name}: {'; '.join(faults)}; "
            f"{fitting(checkpoint)}"
        )


def _check_classes(
    checkpoint: Checkpoint, state: State, wanted: State, head: tuple[str, ...]
) -> None:
    if any(state[key].shape != wanted[key].shape for key in head):
        found, expected = len(state[head[0]]), len(wanted[head[0]])
        raise ModelError(f"{checkpoint.path}: file has {found} classes, model has {expected}")
    said = checkpoint.about.num_classes if checkpoint.about else None
    if head and said not in (None, len(state[head[0]])):
        raise ModelError(
            f"{checkpoint.path}: says that it has {said} classes, but has {len(state[head[0]])}"
        )


# ---- which of the zoo? ---------------------------------------------------------------------------


def fits(checkpoint: Checkpoint, only: Iterable[str] = ()) -> list[Fit]:
    """Every network of the zoo (or of ``only``) with these names and shapes, whatever its classes.

    Where no own network fits, those of torchvision and timm are tried that have the file's size,
    or that the file names.
    """
    groups = [only] if only else [_own(), _foreign(checkpoint)]
    found = (list(_fits(checkpoint, group)) for group in groups)
    return next(filter(None, found), [])


def _fits(checkpoint: Checkpoint, group: Iterable[str]) -> Iterator[Fit]:
    for name in group:
        plan = _plan(name)
        if plan is None:
            continue
        if _signature(checkpoint.state, plan.head) == plan.signature:
            yield Fit(name, len(checkpoint.state[plan.head[0]]) if plan.head else None)


def fitting(checkpoint: Checkpoint) -> str:
    """`fits` as the end of an error message."""
    found = fits(checkpoint)
    if found:
        return f"they fit {' or '.join(map(str, found))}"
    known = " (of OpenMMLab's only ResNet and ResNet_CIFAR are known)"
    return "they fit no model of the zoo" + known * checkpoint.format.startswith("OpenMMLab")


def nearest(checkpoint: Checkpoint) -> tuple[str, str] | None:
    """The network with the fewest tensors that only one side has, and what differs.

    None if no network has any in common with the file.
    """
    best, fewest = None, 0
    for name in (*_own(), *_foreign(checkpoint)):
        plan = _plan(name)
        if plan is None:
            continue
        found = _signature(checkpoint.state, plan.head)
        apart = len(found.items() ^ plan.signature.items())
        common = found.items() & plan.signature.items()
        if common and (best is None or apart < fewest):
            best, fewest = (name, difference(found, plan.signature)), apart
    return best


def _own() -> Iterator[str]:
    return (name for name in names() if not name.startswith(FOREIGN))


def _foreign(checkpoint: Checkpoint) -> Iterator[str]:
    """Other programs' networks of this size, or of the name in the file: a few of hundreds."""
    sizes, known = _sizes(checkpoint.state), names()
    for name in filter(lambda known: known.startswith(FOREIGN), known):
        if _catalogued_size(name) in sizes or name.partition("/")[2] == checkpoint.hint:
            yield name
    if checkpoint.hint:
        yield from (p + checkpoint.hint for p in PREFIXES if p + checkpoint.hint not in known)


def _sizes(state: State) -> set[int]:
    """How many parameters these networks might have with torchvision's 1000 classes."""
    kept = [v for k, v in state.items() if v.is_floating_point() and not k.endswith(BUFFERS)]
    total = sum(value.numel() for value in kept)
    heads = {(len(value), value[0].numel()) for value in kept if value.dim() > 1}
    return {total} | {total + (1000 - classes) * (width + 1) for classes, width in heads}


@functools.cache
def _catalogued_size(name: str) -> int | None:
    """The parameters of a torchvision network, which its catalogue knows without building it."""
    family, _, name = name.partition("/")
    if family != "torchvision":
        return None
    from torchvision import models as torchvision  # a second: only where weights fit nothing asked

    try:
        weights = list(torchvision.get_model_weights(name))
    except ValueError:  # not in the catalogue
        return None
    return int(weights[0].meta["num_params"]) if weights else None


def _plan(name: str) -> Plan | None:
    try:
        return _plan_of(name, find(name))
    except ModelError:  # what a file says of itself need not be there
        return None


@functools.cache
def _plan_of(name: str, factory: Factory) -> Plan | None:
    """A network's plan, ``factory`` being what the name stands for; None if it cannot be built."""
    model = _unallocated(name, classes=2)
    if model is None:
        return None
    state, head = model.state_dict(), _head(model)
    if name.startswith(FOREIGN):  # which may end in a convolution, or in several heads
        other = _unallocated(name, classes=3)
        assert other is not None  # it was built with two classes
        shapes = other.state_dict()
        head = tuple(key for key in state if state[key].shape != shapes[key].shape)
    return Plan(_signature(state, head), head)


def _unallocated(name: str, classes: int) -> nn.Module | None:
    """The network on the meta device; allocated where it asks its weights for values."""
    with torch.random.fork_rng(devices=[]):
        for device in ("meta", "cpu"):
            try:
                with torch.device(device):
                    return build(name, num_classes=classes)
            except Exception:  # noqa: BLE001  (somebody's factory: it is not proposed then)
                continue
    return None


# ---- names and shapes ----------------------------------------------------------------------------


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


def difference(found: Signature, wanted: Signature) -> str:
    """What the file lacks, what the model does not have, or the first shape that differs."""
    missing = [key for key in wanted if key not in found]
    unexpected = [key for key in found if key not in wanted]
    parts = [f"the file lacks {_listed(missing)}"] if missing else []
    parts += [f"the model has no {_listed(unexpected)}"] if unexpected else []
    if parts:
        return " and ".join(parts)
    key = next(key for key in wanted if found[key] != wanted[key])
    return f"{key!r} is {found[key]} in the file, {wanted[key]} in the model"


def _listed(keys: list[str]) -> str:
    more = f" (and {len(keys) - SHOWN} more)" if len(keys) > SHOWN else ""
    return ", ".join(map(repr, keys[:SHOWN])) + more


def parameters(state: State) -> int:
    """How many numbers of these weights are trained: all but the statistics of BatchNorm."""
    return sum(value.numel() for key, value in state.items() if not key.endswith(BUFFERS))
