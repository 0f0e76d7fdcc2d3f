"""A cohort small enough to train in seconds: noise images, the smallest nets, every method."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

import datasets
import distillers
import models
from datasets import Data
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, RunSpec, TeacherSpec
from experiments.rundir.layout import WEIGHTS
from experiments.train import networks
from experiments.train.cohort import Cohort
from experiments.train.teachers import Teacher
from results.schema import TeacherUsed

OPTIONS = {"image_size": 16, "train_size": 88, "test_size": 40}
RECIPE = Recipe(epochs=3, batch_size=16, schedule="cosine")  # 6 steps an epoch, the last of 8
METHOD_OPTIONS = {  # no more negatives than so few images offer
    name: {"negatives": 32}
    for name in distillers.names()
    if distillers.defaults(name).get("negatives") is not None
}
METHODS = ("vanilla", "kd", "fitnet", "at", "rkd", "irg", "crd", "dkd", "gk_dfd")


def data(epochs: int = RECIPE.epochs, device: str | torch.device = "cpu") -> Data:
    return datasets.build(
        "fake", batch_size=RECIPE.batch_size, epochs=epochs, device=device, **OPTIONS
    )


def teacher(source: Data) -> Teacher:
    torch.set_num_threads(1)
    with networks.seeded("the tests' teacher"):
        module = models.build("resnet14", source.info.num_classes)
    return Teacher(
        networks.freeze(module), TeacherUsed(name="resnet14", accuracy=10.0, sha256="0" * 64)
    )


def spec(method: str, recipe: Recipe = RECIPE) -> RunSpec:
    taught = distillers.find(method).needs.teacher
    return RunSpec(
        dataset=DataSpec(name="fake", options=OPTIONS),
        teacher=TeacherSpec(name="resnet14", sha256="0" * 64) if taught else None,
        student="resnet8",
        method=method,
        options=distillers.resolve(method, METHOD_OPTIONS.get(method)),
        recipe=recipe,
    )


def cohort(runs: Path, methods: tuple[str, ...], recipe: Recipe = RECIPE) -> Cohort:
    source = data(recipe.epochs)
    specs = [spec(method, recipe) for method in methods]
    return Cohort(specs, runs, source, teacher(source), torch.device("cpu"))


def stop_after(steps: int) -> Callable[[], bool]:
    """A `Cohort.stop` that lets so many steps pass, and requests a stop after the next."""
    calls = itertools.count()
    return lambda: next(calls) >= steps


def weights(runs: Path, method: str, recipe: Recipe = RECIPE) -> dict[str, torch.Tensor]:
    return load_file(spec(method, recipe).directory(runs) / WEIGHTS)


def assert_same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    different = [name for name in a if not torch.equal(a[name], b[name])]
    assert not different
