"""Match weights to networks: check them against one, or find which network of the zoo they fit."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from ..base import PREFIXES, Factory, ModelError, build, find, names
from .formats import Checkpoint, State

# Ignored in comparisons: files from before torch 0.4.1 lack it, and BatchNorm then keeps its own.
COUNTER = "num_batches_tracked"
BUFFERS = ("running_mean", "running_var", COUNTER, "relative_coords_table")
LIBRARIES = ("torchvision/", "timm/")  # hundreds of networks: too many to build them all
MAX_SHOWN = 3  # tensor names per kind in an error

Signature = dict[str, tuple[int, ...]]


class Fit(NamedTuple):
    """A network of the zoo whose tensors have exactly the names and shapes of the weights."""

    name: str
    num_classes: int | None  # None if unknown: the network's head is not one linear layer

    def __str__(self) -> str:
        return f"{self.name} with {self.num_classes} classes" if self.num_classes else self.name


class Template(NamedTuple):
    """A network's tensor names and shapes; the shapes of the head omit the number of classes."""

    signature: Signature
    head: tuple[str, ...]


def checked_state(model: nn.Module, checkpoint: Checkpoint) -> State:
    """The state to load into ``model``: every name and shape matches, every value is finite.

    Raises ModelError naming what is missing or unexpected, and the networks the weights fit.
    """
    _check_architecture(model, checkpoint)
    _check_classes(model, checkpoint)
    for key, value in checkpoint.state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelError(f"{checkpoint.path}: {key!r} holds NaN or infinite values")
    return checkpoint.state


def _check_architecture(model: nn.Module, checkpoint: Checkpoint) -> None:
    head = _head(model)
    actual, expected = _signature(checkpoint.state, head), _signature(model.state_dict(), head)
    problems = [difference(actual, expected)] if actual != expected else []
    name = getattr(model, "name", "") or type(model).__name__
    metadata = checkpoint.metadata
    if metadata and metadata.architecture != name:
        problems.append(f"the file says that it is {metadata}")
    if problems:
        part = f"its {checkpoint.part}: " if checkpoint.part else ""
        raise ModelError(
            f"{checkpoint.path}: {part}not the weights of {name}: {'; '.join(problems)}; "
            f"{describe_fits(checkpoint)}"
        )


def _check_classes(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Compare the heads, whose names are known to agree, and what the metadata says of them."""
    state, expected, head = checkpoint.state, model.state_dict(), _head(model)
    if not head:
        return
    classes = len(state[head[0]])
    if any(state[key].shape != expected[key].shape for key in head):
        raise ModelError(
            f"{checkpoint.path}: file has {classes} classes, model has {len(expected[head[0]])}"
        )
    metadata = checkpoint.metadata
    if metadata and metadata.num_classes != classes:
        raise ModelError(
            f"{checkpoint.path}: says that it has {metadata.num_classes} classes, but has {classes}"
        )


# ---- search the zoo ------------------------------------------------------------------------------


def fits(checkpoint: Checkpoint, only: Iterable[str] = ()) -> list[Fit]:
    """Every network of the zoo (or of ``only``) that the weights fit, with any number of classes.

    If none of our own networks fits, those of torchvision and timm are tried that have the file's
    number of parameters, or the name stored in the file.
    """
    for names_to_try in [only] if only else [_own_names(), _library_names(checkpoint)]:
        matches = []
        for name in names_to_try:
            template = _template(name)
            if template and _signature(checkpoint.state, template.head) == template.signature:
                head = template.head
                matches.append(Fit(name, len(checkpoint.state[head[0]]) if head else None))
        if matches:
            return matches
    return []


def describe_fits(checkpoint: Checkpoint) -> str:
    """`fits` as the end of an error message."""
    matches = fits(checkpoint)
    if matches:
        return f"they fit {' or '.join(map(str, matches))}"
    known = " (of OpenMMLab's networks only ResNet and ResNet_CIFAR are known)"
    return "they fit no model of the zoo" + known * checkpoint.format.startswith("OpenMMLab")


def nearest(checkpoint: Checkpoint) -> tuple[str, str] | None:
    """The network that disagrees with the file in the fewest tensors, and a description how.

    None if no network has a tensor in common with the file.
    """
    best, fewest = None, 0
    for name in (*_own_names(), *_library_names(checkpoint)):
        template = _template(name)
        if template is None:
            continue
        actual, expected = _signature(checkpoint.state, template.head), template.signature
        # Pairs of name and shape that only one side has.
        disagreeing = len(actual.items() ^ expected.items())
        if actual.items() & expected.items() and (best is None or disagreeing < fewest):
            best, fewest = (name, difference(actual, expected)), disagreeing
    return best


def _own_names() -> list[str]:
    return [name for name in names() if not name.startswith(LIBRARIES)]


def _library_names(checkpoint: Checkpoint) -> Iterator[str]:
    """The few library networks with the file's number of parameters, or the name it stores."""
    sizes, known = _possible_sizes(checkpoint.state), names()
    for name in filter(lambda known: known.startswith(LIBRARIES), known):
        if _catalogued_size(name) in sizes or name.partition("/")[2] == checkpoint.hint:
            yield name
    if checkpoint.hint:
        yield from (p + checkpoint.hint for p in PREFIXES if p + checkpoint.hint not in known)


def _possible_sizes(state: State) -> set[int]:
    """Parameter counts the network might have with the catalogue's 1000 classes.

    Any matrix might be the head, so every matrix gives one count.
    """
    kept = [v for k, v in state.items() if v.is_floating_point() and not k.endswith(BUFFERS)]
    total = sum(value.numel() for value in kept)
    heads = {(len(value), value[0].numel()) for value in kept if value.dim() > 1}
    # width + 1, since each class also has a bias.
    return {total} | {total + (1000 - classes) * (width + 1) for classes, width in heads}


@functools.cache
def _catalogued_size(name: str) -> int | None:
    """The parameter count of a torchvision network from its catalogue, without building it."""
    family, _, name = name.partition("/")
    if family != "torchvision":
        return None
    from torchvision import models as torchvision  # takes a second, and is rarely needed

    try:
        weights = list(torchvision.get_model_weights(name))
    except ValueError:  # not in the catalogue
        return None
    return int(weights[0].meta["num_params"]) if weights else None


def _template(name: str) -> Template | None:
    """The template of a network; None if it is unknown (a file may name anything) or broken."""
    try:
        factory = find(name)
    except ModelError:
        return None
    return _build_template(name, factory)


@functools.cache
def _build_template(name: str, factory: Factory) -> Template | None:
    """Cached by ``factory`` too, because a name may be registered anew."""
    model = _unallocated(name, classes=2)  # any number: signatures omit it
    if model is None:
        return None
    state, head = model.state_dict(), _head(model)
    if name.startswith(LIBRARIES):  # these may end in a convolution, or in several heads
        other = _unallocated(name, classes=3)
        assert other is not None  # it was built with two classes
        shapes = other.state_dict()
        head = tuple(key for key in state if state[key].shape != shapes[key].shape)
    return Template(_signature(state, head), head)


def _unallocated(name: str, classes: int) -> nn.Module | None:
    """The network on the meta device, or allocated if its constructor reads weight values."""
    # Constructors draw initial weights; the global generator must not advance by looking.
    with torch.random.fork_rng(devices=[]):
        for device in ("meta", "cpu"):
            try:
                with torch.device(device):
                    return build(name, num_classes=classes)
            except Exception:  # noqa: BLE001  (a user's factory; if it fails, it is not proposed)
                continue
    return None


# ---- names and shapes ----------------------------------------------------------------------------


def _head(model: nn.Module) -> tuple[str, ...]:
    """Parameter names of the last linear layer: their first dimension is the number of classes."""
    classifier = getattr(model, "classifier", None)
    for name, module in model.named_modules():
        if module is classifier and isinstance(module, nn.Linear):
            return tuple(f"{name}.{key}" for key, _ in module.named_parameters())
    return ()


def _signature(state: State, head: tuple[str, ...]) -> Signature:
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
