"""Match weights to networks: check them against one, or find which network of the zoo they fit."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from ..base import PREFIXES, Factory, ModelError, build, find, names
from .containers import State
from .formats import Checkpoint
from .libraries import AUXILIARY, COUNTER, translated
from .signatures import BUFFERS, Signature, difference, head_of, signature_of, values_in
from .variants import variants

LIBRARIES = ("torchvision/", "timm/")  # hundreds of networks: too many to build them all
FAR = 0.75  # of names and shapes differ: such a network is not called near
WEIGHTS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Fit(NamedTuple):
    """A network of the zoo whose tensors have exactly the names and shapes of the weights."""

    name: str
    num_classes: int | None  # None if unknown: the network's head is not one linear layer

    def __str__(self) -> str:
        return f"{self.name} with {self.num_classes} classes" if self.num_classes else self.name


class Match(NamedTuple):
    """A network that the weights fit, the state in its names, and what was done to the file's."""

    fit: Fit
    state: State
    notes: tuple[str, ...]


class Template(NamedTuple):
    """A network's tensor names and shapes; those of the head omit the number of classes."""

    signature: Signature
    head: tuple[str, ...]
    floating: frozenset[str]  # names of tensors that hold floating-point numbers


def checked_state(model: nn.Module, checkpoint: Checkpoint) -> State:
    """The state to load into ``model``: every name and shape matches, every value is finite.

    Raises ModelError naming what is missing or unexpected, and the networks the weights fit.
    """
    expected, head = model.state_dict(), head_of(model)
    template = _template_of(expected, head)
    name = getattr(model, "name", "")
    states = (_agreeing(name, template, variant.state) for variant in variants(checkpoint.state))
    state = next((found for found in states if found is not None), None)
    _check_architecture(model, checkpoint, state is not None)
    assert state is not None  # or the check has raised
    _check_classes(model, checkpoint, state)
    _check_values(state, template.floating, checkpoint)
    _check_counters(state, expected, checkpoint)
    # Auxiliary heads that the file does without never run.
    kept = {key: value for key, value in expected.items() if key.startswith(AUXILIARY)}
    return {**kept, **state}


def check_values(checkpoint: Checkpoint, match: Match) -> None:
    """Raise ModelError unless every tensor of a match is plain, of numbers, and finite."""
    template = _template(match.fit.name)
    assert template is not None  # the weights fit it
    _check_values(match.state, template.floating, checkpoint)


def _check_values(state: State, floating: frozenset[str], checkpoint: Checkpoint) -> None:
    for key, value in state.items():
        problem = _problem(value, key in floating)
        if problem:
            raise ModelError(f"{checkpoint.path}: {key!r} {problem}")


def _check_counters(state: State, expected: State, checkpoint: Checkpoint) -> None:
    """BatchNorm's counters may be missing (see `signatures`), but none may be of another layer."""
    for key in (key for key in state if key.endswith(COUNTER)):
        if key not in expected or state[key].shape not in ((), (1,)):  # (1,): torch 0.3
            what = f"{key!r} of shape {tuple(state[key].shape)}"
            raise ModelError(f"{checkpoint.path}: the model has no {what}")


def _problem(value: torch.Tensor, is_floating: bool) -> str | None:
    """Why a tensor is no part of the weights, if it is none."""
    if value.layout is not torch.strided or value.is_quantized:
        kind = "quantized" if value.is_quantized else str(value.layout).removeprefix("torch.")
        return f"is {kind}; expected a plain tensor"
    if value.is_meta:
        return "has no values (it was saved from the meta device)"
    if is_floating and value.dtype not in WEIGHTS:
        return f"holds {str(value.dtype).removeprefix('torch.')}; expected floating-point weights"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "claims more values than the file holds"
    if value.is_floating_point() and not value.isfinite().all():
        return "holds NaN or infinite values"
    return None


def _check_architecture(model: nn.Module, checkpoint: Checkpoint, agrees: bool) -> None:
    head = head_of(model)
    actual, expected = signature_of(checkpoint.state, head), signature_of(model.state_dict(), head)
    problems = [] if agrees else [difference(actual, expected)]
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


def _check_classes(model: nn.Module, checkpoint: Checkpoint, state: State) -> None:
    """Compare the heads, whose names are known to agree, and what the metadata says of them."""
    expected, head = model.state_dict(), head_of(model)
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
    return [match.fit for match in matches(checkpoint, only)]


def matches(checkpoint: Checkpoint, only: Iterable[str] = ()) -> list[Match]:
    """`fits`, with the state as each network names it."""
    only = list(only)
    for state, notes in variants(checkpoint.state):
        for names_to_try in [only] if only else [_own_names(), _library_names(state, checkpoint)]:
            found = [match for name in names_to_try if (match := _match(name, state, notes))]
            if found:
                return found
    return []


def notes_on(checkpoint: Checkpoint, model: nn.Module) -> list[str]:
    """What was done to a file's weights before they were loaded into ``model``."""
    name = getattr(model, "name", "")
    found = matches(checkpoint, [name]) if name else []
    transforms = ["its input is normalised as TensorFlow does (--no-transform-input)"]
    done = transforms if getattr(model, "transform_input", False) else []
    return [*checkpoint.notes, *(found[0].notes if found else ()), *done]


def _match(name: str, state: State, notes: tuple[str, ...]) -> Match | None:
    template = _template(name)
    own = _agreeing(name, template, state) if template else None
    if template is None or own is None:
        return None
    if own is not state:
        notes = (*notes, f"older names, translated by {name.partition('/')[0]}")
    head = [key for key in template.head if key in own]  # auxiliary ones may be missing
    classes = len(own[head[0]]) if head else None
    return Match(Fit(name, classes), own, notes)


def _agreeing(name: str, template: Template, state: State) -> State | None:
    """The state in the names of the network ``name``, if it is its weights."""
    if _agrees(state, template):
        return state
    if not name.startswith(LIBRARIES):
        return None
    own = translated(name, state, _classes(state, template.head))
    return own if own is not None and _agrees(own, template) else None


def _agrees(state: State, template: Template) -> bool:
    """All names and shapes are equal; auxiliary heads may be missing as a whole."""
    actual, expected = signature_of(state, template.head), template.signature
    if actual == expected:
        return True
    missing = expected.keys() - actual.keys()
    return (
        bool(missing)
        and actual.items() <= expected.items()
        and all(key.startswith(AUXILIARY) for key in missing)
        and not any(key.startswith(AUXILIARY) for key in actual)
    )


def _classes(state: State, head: tuple[str, ...]) -> int | None:
    """The number of classes: rows of the head, or of the last matrix where it has an older name."""
    if head and head[0] in state and state[head[0]].dim():
        return len(state[head[0]])
    matrices = [v for k, v in state.items() if v.dim() == 2 and k.endswith("weight")]
    return len(matrices[-1]) if matrices else None


def describe_fits(checkpoint: Checkpoint) -> str:
    """`fits` as the end of an error message."""
    found = fits(checkpoint)
    if found:
        return f"they fit {' or '.join(map(str, found))}"
    known = " (of OpenMMLab's networks only ResNet and ResNet_CIFAR are known)"
    return "they fit no model of the zoo" + known * checkpoint.format.startswith("OpenMMLab")


def nearest(checkpoint: Checkpoint) -> tuple[str, str] | None:
    """The network that differs least from the file, relative to its size, and a description how.

    None if none is near: all differ in most of their names and shapes.
    """
    best: tuple[float, str, str] | None = None
    for name in (*_own_names(), *_library_names(checkpoint.state, checkpoint)):
        template = _template(name)
        if template is None:
            continue
        actual, expected = signature_of(checkpoint.state, template.head), template.signature
        apart = len(actual.items() ^ expected.items()) / (len(actual) + len(expected))
        if apart > FAR:
            continue
        # Networks of one family share most names: the nearest one has as many values, too.
        apart += abs(math.log(values_in(actual) / values_in(expected)))
        if best is None or apart < best[0]:
            best = (apart, name, difference(actual, expected))
    return best[1:] if best else None


def _own_names() -> list[str]:
    return [name for name in names() if not name.startswith(LIBRARIES)]


def _library_names(state: State, checkpoint: Checkpoint) -> Iterator[str]:
    """The few library networks with as many parameters as the state, or the name in the file."""
    sizes, known = _possible_sizes(state), names()
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
    heads = {(len(v), v.numel() // len(v)) for v in kept if v.dim() > 1 and len(v)}
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
    state, head = model.state_dict(), head_of(model)
    if name.startswith(LIBRARIES):  # these may end in a convolution, or in several heads
        other = _unallocated(name, classes=3)
        assert other is not None  # it was built with two classes
        shapes = other.state_dict()
        head = tuple(key for key in state if state[key].shape != shapes[key].shape)
    return _template_of(state, head)


def _template_of(state: State, head: tuple[str, ...]) -> Template:
    floating = frozenset(name for name, value in state.items() if value.is_floating_point())
    return Template(signature_of(state, head), head, floating)


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
