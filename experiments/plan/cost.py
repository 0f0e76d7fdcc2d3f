"""What a plan will cost: steps, disk and time, from past results or a few timed steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from datasets import Data
from experiments.activity import activity
from experiments.matrix.recipe import Recipe
from experiments.rundir.status import NOT_STARTED, Status
from experiments.train import networks
from results.schema import Record

BATCH = 16  # images per timed step; enough for a rate, small enough for the largest net on a CPU
REPEATS = 3


@dataclass(frozen=True)
class Cost:
    """Totals over the runs that are to do.

    of       predicted seconds of each run on one worker, by run id; None if unknown
    seconds  their sum; None if any is unknown
    """

    steps: int
    disk_bytes: int
    of: dict[str, float | None]

    @property
    def seconds(self) -> float | None:
        known = [value for value in self.of.values() if value is not None]
        return sum(known) if known and len(known) == len(self.of) else None


def predict_cost(
    statuses: Iterable[Status], data: Data, device: str, timed: bool = True, processes: int = 1
) -> Cost:
    """Steps, bytes of weights and seconds of all runs that are to do, without what is saved.

    Seconds come from results of the same pair and method on the same kind of device, else (if
    ``timed``) from a few steps on this machine, if it has such a device. Several ``processes`` per
    run are assumed to speed it up linearly.
    """
    statuses = list(statuses)
    todo = [s for s in statuses if s.state in NOT_STARTED]
    left = {s.spec.id: s.spec.recipe.epochs - s.epoch for s in todo}
    steps = sum(left[s.spec.id] * data.steps_per_epoch() for s in todo)
    rates = _Rates(statuses, data, device, timed)
    images_per_second = {s.spec.id: rates.of(s) for s in todo}
    images = data.info.train_size
    seconds = {
        run: left[run] * images / (rate * processes) if rate else None
        for run, rate in images_per_second.items()
    }
    return Cost(steps, sum(_bytes(s, rates) for s in todo), seconds)


class _Rates:
    """Training speed in images per second: recorded for the same pair and method, else measured."""

    def __init__(self, statuses: Sequence[Status], data: Data, device: str, timed: bool) -> None:
        self.data, self.device = data, torch.device(device)
        self.timed = timed and (device == "cpu" or torch.cuda.is_available())
        if device == "cpu" and statuses:
            torch.set_num_threads(min(s.spec.recipe.threads for s in statuses))
        recorded: dict[tuple[str, ...], list[float]] = {}
        for s in statuses:
            rate = s.record.images_per_second if s.record else None
            if s.record and rate and _device(s.record) == device:
                recorded.setdefault(self._kind(s), []).append(rate / _processes(s.record))
        self.recorded = {kind: statistics.median(rates) for kind, rates in recorded.items()}
        self.measured: dict[tuple[str, bool], float] = {}
        self.parameters: dict[str, int] = {}

    def of(self, status: Status) -> float | None:
        known = self.recorded.get(self._kind(status))
        if known or not self.timed:
            return known
        spec = status.spec
        seconds = 1 / self._speed(spec.student, spec.recipe, training=True)
        if spec.teacher:  # an upper bound: in a cohort runs share the teacher's pass
            seconds += 1 / self._speed(spec.teacher.name, spec.recipe, training=False)
        return 1 / seconds

    @staticmethod
    def _kind(status: Status) -> tuple[str, ...]:
        return (status.spec.pair, status.spec.method)

    def _speed(self, name: str, recipe: Recipe, training: bool) -> float:
        """Images per second of a bare training step, or of a forward pass."""
        if (name, training) not in self.measured:
            model = networks.build(name, self.data.info.num_classes, recipe, self.device)
            side = self.data.info.image_size
            images = torch.rand(BATCH, 3, side, side, device=self.device)
            action = _training(model, images) if training else _forward(model, images)
            with activity(f"timing {'steps' if training else 'forward passes'} of {name}"):
                self.measured[name, training] = BATCH / _seconds(action, self.device)
        return self.measured[name, training]

    def size(self, name: str) -> int:
        """Number of parameters."""
        if name not in self.parameters:
            model = networks.build(name, self.data.info.num_classes, Recipe(), torch.device("meta"))
            self.parameters[name] = sum(p.numel() for p in model.parameters())
        return self.parameters[name]


def _training(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    return lambda: model(images).square().mean().backward()


def _forward(model: nn.Module, images: torch.Tensor) -> Callable[[], None]:
    def action() -> None:
        with torch.no_grad():
            model(images)

    return action


def _seconds(action: Callable[[], None], device: torch.device) -> float:
    """Median time of a few calls after one to warm up."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _bytes(status: Status, rates: _Rates) -> int:
    """The weights that a run leaves. While it trains, a checkpoint takes three times that."""
    return 4 * rates.size(status.spec.student)


def _processes(record: Record) -> int:
    """How many processes shared a finished run's last start."""
    return record.starts[-1].processes if record.starts else 1


def _device(record: Record) -> str:
    """The kind of device of a finished run's last start."""
    device = record.starts[-1].device if record.starts else None
    return "cpu" if (device or "cpu").startswith("cpu") else "cuda"
