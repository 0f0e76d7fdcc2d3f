"""What each method costs on a pair of networks, measured side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import distillers
import models
from datasets import Batch, Info
from experiments.matrix.recipe import Recipe
from experiments.matrix.schema import PairEntry
from experiments.train import networks

CLASSES, SIZE, BATCH = 100, 32, 64  # as on CIFAR-100
REPEATS = 5


def measure(pair: str) -> dict[str, tuple[str, str]]:
    """Method -> extra parameters and time per step relative to KD; or "n/a" and the reason.

    The time covers the student's forward and backward pass with the loss, on noise of CIFAR's size.
    The teacher's pass is left out, since runs share it.
    """
    entry = PairEntry.model_validate(pair)
    torch.set_num_threads(1)
    with networks.seeded("catalogue"):
        student, teacher = (models.build(n, CLASSES) for n in (entry.student, entry.teacher))
        networks.freeze(teacher)
        methods = {name: _built(name, student, teacher) for name in distillers.names()}
    steps = {n: _step(m, student, teacher) for n, m in methods.items() if not isinstance(m, str)}
    times = _times(steps)
    return {
        name: ("n/a", method)
        if isinstance(method, str)
        else (f"{_extra(method):,}", f"{times[name] / times['kd']:.2f}")
        for name, method in methods.items()
    }


def _built(name: str, student: nn.Module, teacher: nn.Module) -> distillers.Distiller | str:
    labels = torch.arange(50 * CLASSES) % CLASSES
    names = tuple(map(str, range(CLASSES)))
    info = Info("noise", CLASSES, SIZE, names, len(labels), labels, BATCH)
    try:
        return distillers.build(name, student, teacher, info)
    except distillers.Unsupported as reason:
        return str(reason)


def _extra(method: distillers.Distiller) -> int:
    return sum(p.numel() for p in method.parameters() if p.requires_grad)


def _step(
    method: distillers.Distiller, student: models.Classifier, teacher: models.Classifier
) -> Callable[[], None]:
    """Forward and backward of the student under the method's loss."""
    needs, recipe = method.needs, Recipe()
    labels = torch.arange(BATCH) // 8
    views = tuple(torch.randn(BATCH, 3, SIZE, SIZE) for _ in needs.views)
    indices = 50 * labels + torch.arange(BATCH)
    batch = Batch(torch.randn(BATCH, 3, SIZE, SIZE), labels, indices, 1, 0, views, BATCH)
    with torch.no_grad():
        known = networks.run(teacher, batch, needs, recipe)

    def action() -> None:
        losses = method(networks.run(student, batch, needs, recipe), known, batch)
        torch.stack(list(losses.values())).sum().backward()

    return action


def _times(actions: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median seconds of each; taking turns spreads a slow moment of the machine over all."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(REPEATS + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if repeat:  # the first is to warm up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
