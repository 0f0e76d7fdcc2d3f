"""A cohort on the device that trains in seconds: noise images, two small nets, any methods."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import distillers
import models
from datasets import Batch
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import RunSpec
from experiments.rundir.layout import WEIGHTS
from experiments.train import networks, trainer
from experiments.train.cohort import Cohort
from experiments.train.numerics import set_numerics
from experiments.train.teachers import Teacher
from results.schema import TeacherUsed
from tests.experiments import tiny

DEVICE = torch.device("cuda")
TEACHER, STUDENT = "resnet14", "resnet8"  # as in `tiny.spec`
# The harness's own; tests of the registry register others.
METHODS = [n for n in distillers.names() if distillers.find(n).__module__.startswith("distillers.")]
# Eight epochs, so that initial stages (30 of 240) have one. A random teacher's maps are large.
RECIPE = Recipe(epochs=8, batch_size=16, lr=0.001, schedule="cosine")
FORMATS = {"contiguous": False, "channels_last": True}


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({**RECIPE.model_dump(), **fields})


def teacher(numerics: Recipe, device: torch.device = DEVICE) -> Teacher:
    with networks.seeded("the tests' teacher"):
        module = networks.build(TEACHER, 10, numerics, device)
    return Teacher(
        networks.freeze(module), TeacherUsed(name=TEACHER, accuracy=10.0, sha256="0" * 64)
    )


def skip_where_unsupported(method: str) -> None:
    """Some methods do not support some pairs, and raise when they are built."""
    pair = (models.build(name, 10) for name in (STUDENT, TEACHER))
    info = tiny.data(RECIPE.epochs).info
    try:
        distillers.build(method, *pair, info, **tiny.METHOD_OPTIONS.get(method, {}))
    except distillers.Unsupported as reason:
        pytest.skip(f"n/a: {reason}")


@dataclass
class Trained:
    """A cohort and its reports: ``ends`` maps a method to the report of its run's end."""

    cohort: Cohort
    ends: dict[str, dict[str, Any]] = field(default_factory=dict)

    def spec(self, method: str) -> RunSpec:
        return next(s for s in self.cohort.specs if s.method == method)

    def directory(self, method: str) -> Path:
        return self.spec(method).directory(self.cohort.runs)

    def weights(self, method: str) -> dict[str, torch.Tensor]:
        return load_file(self.directory(method) / WEIGHTS)


def prepare(
    runs: Path, methods: list[str], numerics: Recipe, device: torch.device = DEVICE
) -> Trained:
    """A cohort of these methods that has not started yet."""
    ends: dict[str, dict[str, Any]] = {}

    def listen(spec: RunSpec, row: dict[str, Any]) -> None:
        if "state" in row:
            ends[spec.method] = row

    job = Cohort(
        [tiny.spec(method, numerics) for method in methods],
        runs,
        tiny.data(numerics.epochs, device),
        teacher(numerics, device),
        device,
        report=listen,
    )
    return Trained(job, ends)


def train(runs: Path, methods: list[str], numerics: Recipe) -> Trained:
    """The same, trained to its end."""
    made = prepare(runs, methods, numerics)
    trainer.train(made.cohort)
    return made


class Stepper:
    """One run that takes the trainer's own steps, one by one."""

    def __init__(
        self, runs: Path, method: str, numerics: Recipe, device: torch.device = DEVICE
    ) -> None:
        self.made = prepare(runs, [method], numerics, device)
        cohort = self.made.cohort
        set_numerics(numerics, cohort.device)
        member = cohort.join(cohort.specs[0])
        assert member is not None, self.made.ends[method]["error"]
        self.learner = member.learner
        self.stages = list(dict.fromkeys(stage for stage, _ in self.learner.coordinates))
        self.enter(self.stages[0])

    def enter(self, stage: str) -> None:
        """Skip to the beginning of a stage, without taking the steps before it."""
        while self.learner.stage != stage:
            self.learner.end_epoch()
        self.learner.start_epoch()
        stream = self.learner.stream
        self.batches = self.made.cohort.data.train_stream(0, self.learner.epoch, 0, stream)

    def step(self) -> Batch:
        """The batch of the step that was taken; AssertionError with its reason if it failed."""
        batch = next(self.batches)
        cohort = self.made.cohort
        trainer.step(cohort, list(cohort.members), batch)
        assert cohort.members, self.made.ends[self.learner.spec.method]["error"]
        return batch
