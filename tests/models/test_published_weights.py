"""Real published weights on real data: the zoo, the loader and the normalisation together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import datasets
import models
from experiments import networks
from experiments.recipe import Recipe

DATA = Path(__file__).resolve().parents[2] / "data"
WEIGHTS = DATA / "weights"
RECIPE = Recipe(channels_last=True)

# top-1 % on CIFAR-100's test set, measured independently with RepDistiller's normalisation
MEASURED = {"resnet20": 66.09, "resnet32": 68.10, "resnet56": 71.59}


@pytest.fixture(scope="module")
def cifar100() -> datasets.Data:
    if not (DATA / "cifar-100-python").is_dir():
        pytest.skip(f"no CIFAR-100 in {DATA}: see the README on how to get it")
    return datasets.build("cifar100", root=DATA)


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_accuracy(name: str, cifar100: datasets.Data) -> None:
    file = WEIGHTS / f"{name}.pth"
    if not file.is_file():
        pytest.skip(f"no {file}: see the README on teachers")
    model = networks.build(name, 100, RECIPE, torch.device("cpu"))
    models.load_checkpoint(model, file)
    found = networks.evaluate(model, cifar100.test_batches(), RECIPE)
    assert found["top1"] == pytest.approx(MEASURED[name], abs=0.02)
    assert found["top5"] > found["top1"] + 15
