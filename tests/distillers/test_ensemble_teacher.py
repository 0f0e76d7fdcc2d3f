"""What methods make of an ensemble, a teacher that has logits and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import distillers
import models
from datasets import Batch, Info
from distillers import Needs
from models import Outputs

SIDE, CLASSES = 16, 5
NAME = "resnet8+resnet14"
INFO = Info("made-up", CLASSES, SIDE, tuple("abcde"), 10, torch.arange(10) % CLASSES, 4, 2)


@pytest.fixture(scope="module")
def teacher() -> models.Classifier:
    return models.build(NAME, CLASSES).eval().requires_grad_(False)


def with_views(network: models.Classifier, batch: Batch, needs: Needs) -> Outputs:
    own, *views = (
        network.outputs(x, needs.preacts, needs.blocks) for x in (batch.images, *batch.views)
    )
    return replace(own, views=tuple(views))


@pytest.mark.parametrize("method", distillers.names())
def test_methods_read_its_logits_or_say_what_it_lacks(
    method: str, teacher: models.Classifier
) -> None:
    torch.manual_seed(2)
    student = models.build("resnet8", CLASSES)
    try:
        built = distillers.build(method, student, teacher, INFO)
    except distillers.Unsupported as error:
        lacks = f"which {NAME} lacks" in str(error)
        assert lacks or "resnet8" in str(error) or "classes" in str(error), str(error)
        return
    needs, indices = built.needs, torch.arange(4)
    images, *views = (torch.randn(4, 3, SIDE, SIDE) for _ in ("", *needs.views))
    batch = Batch(images, INFO.train_labels[indices], indices, 1, 0, views=tuple(views))
    seen, known = (with_views(network, batch, needs) for network in (student, teacher))
    losses = built(seen, known, batch)
    assert torch.isfinite(torch.stack(list(losses.values())).sum())
