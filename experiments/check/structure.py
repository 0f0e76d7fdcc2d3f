"""What a method holds and trains: its modules, its state, and the leaves of a loss's graph."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from distillers import Distiller


def stored_parts(method: Distiller, student: nn.Module, teacher: nn.Module | None) -> Iterator[str]:
    """Sentences about modules and parameters of the networks that the method registered."""
    for who, network in (("student", student), ("teacher", teacher)):
        if network is None:
            continue
        modules = {id(module) for module in network.modules()}
        parameters = {id(parameter) for parameter in network.parameters()}
        mine = [
            *((name, id(module) in modules) for name, module in method.named_modules()),
            *((name, id(p) in parameters) for name, p in method.named_parameters()),
        ]
        names = [name for name, is_theirs in mine if is_theirs]
        if names:
            yield (
                f"self.{names[0]} of {method.name} is a part of the {who}: it would be trained, "
                "saved and counted as the method's own. Read the network's outputs in loss(), or "
                "keep a copy"
            )


def hidden_parameters(
    method: Distiller, student: nn.Module, teacher: nn.Module | None
) -> Iterator[tuple[int, str]]:
    """(id of a tensor, attribute) of trainable tensors in lists, dicts or plain attributes."""
    networks = [network for network in (student, teacher) if network is not None]
    known = {id(p) for module in (method, *networks) for p in module.parameters()}
    for name, value in vars(method).items():
        if name in ("_parameters", "_buffers", "_modules"):
            continue
        for tensor in _tensors(value, networks):
            if tensor.requires_grad and tensor.is_leaf and id(tensor) not in known:
                yield id(tensor), name


def _tensors(value: Any, networks: list[nn.Module]) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, nn.Module):
        if not any(value is network for network in networks):
            yield from value.parameters()
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item, networks)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _tensors(item, networks)


def own_state(method: Distiller) -> dict[str, Any]:
    """Shape of every parameter and buffer by name."""
    return {name: tuple(tensor.shape) for name, tensor in method.state_dict().items()}


def trained_leaves(losses: Iterable[Tensor]) -> list[Tensor]:
    """The leaf tensors that a backward pass of these losses would give a gradient to."""
    waiting = [loss.grad_fn for loss in losses if loss.grad_fn is not None]
    seen: set[Any] = set(waiting)
    leaves: dict[int, Tensor] = {}
    while waiting:
        node = waiting.pop()
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            leaves[id(leaf)] = leaf
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return list(leaves.values())


@contextlib.contextmanager
def parameters_made() -> Iterator[list[nn.Module]]:
    """Inside, the modules that get a parameter from a method's `loss` are collected."""
    made: list[nn.Module] = []

    def note(module: nn.Module, name: str, parameter: Any) -> None:
        if not isinstance(module, Distiller) and module not in made and _in_loss():
            made.append(module)

    handle = register_module_parameter_registration_hook(note)
    try:
        yield made
    finally:
        handle.remove()


def _in_loss() -> bool:
    """Whether the code that runs was called by a method's `forward` or `initial`."""
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code in (Distiller.forward.__code__, Distiller.initial.__code__):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
