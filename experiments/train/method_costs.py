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
from experiments.errors import InputError
from experiments.matrix.pairs import parse_pair
from experiments.matrix.recipe import Recipe
from experiments.train import networks

CLASSES, SIZE, BATCH = 100, 32, 64  # as on CIFAR-100
REPEATS = 3
PATIENCE = 2.0  # seconds of measuring after which a method is not repeated any more


class Bench:
    """Measures methods on one pair, one after the other, each in turns with KD.

    The time covers the student's forward and backward pass with the loss, on noise of CIFAR's size.
    The teacher's pass is left out, since runs share it. Raises InputError for a wrong
    ``pair``.
    """

    def __init__(self, pair: str) -> None:
        entry = parse_pair(pair, "--pair")
        torch.set_num_threads(1)
        with networks.seeded("catalogue"):
            names = (entry.student, entry.teacher)
            self.student, self.teacher = (models.build(name, CLASSES) for name in names)
        networks.freeze(self.teacher)
        kd = _built("kd", self.student, self.teacher)
        if isinstance(kd, str):
            raise InputError(f"--pair {pair!r}: {kd}")
        self._kd = _step(kd, self.student, self.teacher)
        self._kd()  # to warm up
        self.kd_seconds = _seconds(self._kd)

    def estimate(self, methods: int) -> float:
        """About how many seconds it takes to measure that many methods.

        Each has a step to warm up, the teacher's pass, and its repeats beside KD's; a method's step
        takes about 1.5 times KD's on the average of the registry.
        """
        each = (1 + REPEATS) * 1.5 * self.kd_seconds + min(REPEATS * self.kd_seconds, PATIENCE)
        return methods * (each + self.kd_seconds)

    def cost(self, name: str) -> tuple[str, str]:
        """Extra parameters and time per step relative to KD; or "n/a" and the reason."""
        with networks.seeded("catalogue", name):
            method = _built(name, self.student, self.teacher)
            if isinstance(method, str):
                return "n/a", method
            step = _step(method, self.student, self.teacher)
        return f"{_extra(method):,}", f"{_ratio(step, self._kd):.2f}"


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


def _ratio(action: Callable[[], None], other: Callable[[], None]) -> float:
    """Seconds of ``action`` by those of ``other``, as medians.

    Taking turns spreads a slow moment of the machine over both.
    """
    action()  # to warm up
    times: list[tuple[float, float]] = []
    while len(times) < REPEATS and sum(map(sum, times)) < PATIENCE:
        times.append((_seconds(action), _seconds(other)))
    mine, theirs = map(statistics.median, zip(*times, strict=True))
    return float(mine / theirs)


def _seconds(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
