"""The steps of `tools/reports/cost.py`, each behind a clock: in a cohort, one by one, and bare."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import distillers
from datasets import Batch, Data, Stream
from datasets.base import MAIN
from experiments.errors import InputError
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, RunSpec, TeacherSpec
from experiments.train import networks, numerics, trainer
from experiments.train.cohort import Cohort, Member
from experiments.train.learner import Learner
from experiments.train.meter import Meter
from experiments.train.teachers import Teacher
from models import Outputs
from results.schema import TeacherUsed

METHODS = ("vanilla", "kd", "fitnet", "at", "rkd", "irg", "crd", "dkd", "gk_dfd")
FORMATS = {"contiguous": False, "channels_last": True}
FORMAT_REPEATS = 2  # of the measurement that only chooses a memory format
NO_FILE = "0" * 64  # stands for the hash of the teacher's weights

Action = Callable[[int], None]  # takes that many steps
Times = dict[str, list[float]]  # seconds per step, one number per repeat


@dataclass(frozen=True)
class Setting:
    """What all measurements have in common. ``scratch`` is where the runs' files go."""

    data: Data
    device: torch.device
    recipe: Recipe
    warmup: int
    steps: int
    repeats: int
    scratch: Path

    def formatted(self, name: str) -> Recipe:
        """The recipe in the memory format of that name."""
        return self.recipe.model_copy(update={"channels_last": FORMATS[name]})

    def batch(self, recipe: Recipe, stream: Stream = MAIN) -> Batch:
        """The first batch of a stream."""
        return networks.formatted(next(self.data.train_stream(0, 1, 0, stream)), recipe)


@dataclass(frozen=True)
class Pair:
    teacher: str
    student: str

    def __str__(self) -> str:
        return f"{self.teacher} -> {self.student}"


@dataclass(frozen=True)
class Measured:
    """A pair's times; ``layout`` is the memory format that its runs were measured in."""

    pair: Pair
    formats: Times
    times: Times
    layout: str


# ---- the three ways ------------------------------------------------------------------------------


class Runs:
    """Runs that take the trainer's own steps together, on the streams that they ask for."""

    def __init__(
        self, setting: Setting, recipe: Recipe, pair: Pair, teacher: Teacher, methods: Sequence[str]
    ) -> None:
        self.setting, self.recipe, self.pair, self.teacher = setting, recipe, pair, teacher
        specs = [_spec(setting.data, pair, recipe, method) for method in methods]
        directory = Path(tempfile.mkdtemp(dir=setting.scratch))
        self.cohort = Cohort(
            specs, directory, setting.data, teacher, setting.device, report=_refuse
        )
        # The trainer's inside: `trainer.train` leaves no place for a clock around single steps.
        numerics.set_numerics(recipe, setting.device)
        for spec in specs:
            self.cohort.join(spec)
        self.streams: dict[Stream, list[Member]] = {}
        for member in self.cohort.members:
            member.learner.start_epoch()
            self.streams.setdefault(member.learner.stream, []).append(member)
        self.batches = {s: setting.data.train_stream(0, 1, 0, s) for s in self.streams}

    def like(self, methods: Sequence[str]) -> Runs:
        """Fresh runs of other methods, everything else as here."""
        return Runs(self.setting, self.recipe, self.pair, self.teacher, methods)

    def take(self, count: int) -> None:
        """So many steps of every stream."""
        for _ in range(count):
            for stream, present in self.streams.items():
                trainer.step(self.cohort, present, next(self.batches[stream]))

    def teach(self, stream: Stream, batch: Batch) -> Outputs | None:
        """The teacher's outputs that the runs of a stream share."""
        return trainer.teacher_outputs(self.cohort, self.streams[stream], batch, self.recipe)


def _refuse(spec: RunSpec, row: dict[str, Any]) -> None:
    """A run that leaves its cohort would make the others look fast."""
    raise InputError(f"{spec}: {row.get('error', row['state'])}")


def _spec(data: Data, pair: Pair, recipe: Recipe, method: str) -> RunSpec:
    taught = distillers.find(method).needs.teacher
    return RunSpec(
        dataset=DataSpec(name=data.info.name),
        teacher=TeacherSpec(name=pair.teacher, sha256=NO_FILE) if taught else None,
        student=pair.student,
        method=method,
        options=distillers.defaults(method),
        recipe=recipe,
    )


def stand_in(name: str, setting: Setting, recipe: Recipe) -> Teacher:
    """A teacher with random weights.

    Its BatchNorms know the statistics of one batch, so that its outputs are of the usual size.
    """
    with networks.seeded("cost", name):
        module = networks.build(name, setting.data.info.num_classes, recipe, setting.device)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    with torch.no_grad():
        module.train()(setting.batch(recipe).images)
    return Teacher(networks.freeze(module), TeacherUsed(name=name, accuracy=0.0, sha256=NO_FILE))


class Bare:
    """One network's arithmetic with nothing around it, on a batch that lies in memory."""

    def __init__(self, name: str, setting: Setting, recipe: Recipe) -> None:
        self.network = networks.build(name, setting.data.info.num_classes, recipe, setting.device)
        self.optimizer = recipe.make_optimizer(self.network.parameters())
        self.batch, self.recipe, self.device = setting.batch(recipe), recipe, setting.device

    def train(self, count: int) -> None:
        self.network.train()
        for _ in range(count):
            self.optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(self._logits().float(), self.batch.labels).backward()
            self.optimizer.step()

    @torch.no_grad()
    def forward(self, count: int) -> None:
        self.network.eval()
        for _ in range(count):
            self._logits()

    def _logits(self) -> torch.Tensor:
        with networks.autocast(self.recipe, self.device):
            return self.network(self.batch.images)


# ---- measuring -----------------------------------------------------------------------------------


def measure(actions: dict[str, Action], setting: Setting, repeats: int) -> Times:
    """Seconds per step of every action, taken in turns ``repeats`` times after a warm-up."""
    for action in actions.values():
        action(setting.warmup)
    times: Times = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            _wait(setting.device)
            start = time.perf_counter()
            action(setting.steps)
            _wait(setting.device)
            times[name].append((time.perf_counter() - start) / setting.steps)
    return times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_pair(pair: Pair, setting: Setting, layouts: Sequence[str]) -> Measured:
    """Choose the cohort's memory format among ``layouts``, then measure everything in it."""
    cohorts = {name: _cohort(pair, setting, name) for name in layouts}
    actions: dict[str, Action] = {f"cohort {name}": runs.take for name, runs in cohorts.items()}
    for name in FORMATS:
        recipe = setting.formatted(name)
        actions[f"student {name}"] = Bare(pair.student, setting, recipe).train
        actions[f"teacher {name}"] = Bare(pair.teacher, setting, recipe).forward
    formats = measure(actions, setting, FORMAT_REPEATS)
    best = {what: _fastest(formats, what) for what in ("cohort", "student", "teacher")}
    runs = cohorts[best["cohort"]]
    student, teacher = (actions[f"{who} {best[who]}"] for who in ("student", "teacher"))
    actions = {
        "cohort": runs.take,
        **{f"alone {method}": runs.like([method]).take for method in METHODS},
        "bare students": _repeated(student, len(METHODS)),
        "bare teacher": _repeated(teacher, len(runs.streams)),
        **_parts(runs.like(METHODS)),
    }
    return Measured(pair, formats, measure(actions, setting, setting.repeats), best["cohort"])


def _cohort(pair: Pair, setting: Setting, layout: str) -> Runs:
    recipe = setting.formatted(layout)
    return Runs(setting, recipe, pair, stand_in(pair.teacher, setting, recipe), METHODS)


def _fastest(formats: Times, what: str) -> str:
    """The memory format with the smaller median, of those that were measured."""
    measured = [name for name in FORMATS if f"{what} {name}" in formats]
    return min(measured, key=lambda name: statistics.median(formats[f"{what} {name}"]))


def _repeated(action: Action, times: int) -> Action:
    return lambda count: action(count * times)


def _parts(runs: Runs) -> dict[str, Action]:
    """What a cohort's step consists of: every run's step, and per stream its batch and teacher.

    These runs' steps repeat one batch, so they can no longer go through `Runs.take`.
    """
    setting, recipe = runs.setting, runs.recipe
    actions: dict[str, Action] = {"metrics": _counting(setting)}
    for stream, present in runs.streams.items():
        batch = setting.batch(recipe, stream)
        outputs = runs.teach(stream, batch)
        name = stream.sampler or "plain"
        actions[f"batch {name}"] = _making(runs.batches[stream], recipe)
        actions[f"teacher {name}"] = _teaching(runs, stream, batch)
        for member in present:
            method = member.learner.spec.method
            actions[f"step {method}"] = _stepping(member.learner, batch, outputs)
    return actions


def _making(batches: Iterator[Batch], recipe: Recipe) -> Action:
    def action(count: int) -> None:
        for _ in range(count):
            networks.formatted(next(batches), recipe)

    return action


def _teaching(runs: Runs, stream: Stream, batch: Batch) -> Action:
    def action(count: int) -> None:
        for _ in range(count):
            runs.teach(stream, batch)

    return action


def _stepping(learner: Learner, batch: Batch, outputs: Outputs | None) -> Action:
    def action(count: int) -> None:
        for _ in range(count):
            learner.take_step(batch, outputs)

    return action


def _counting(setting: Setting) -> Action:
    """One run's metrics: two loss terms and the accuracy."""
    labels = setting.batch(setting.recipe).labels
    logits = torch.zeros(len(labels), setting.data.info.num_classes, device=setting.device)
    losses = {"ce": logits.sum(), "own": logits.sum()}
    meter = Meter(setting.device)

    def action(count: int) -> None:
        for step in range(count):
            meter.update(losses, logits, labels, step)

    return action


if __name__ == "__main__":
    print(f"{__doc__}\nNothing to run: it is a part of cost.py.")
