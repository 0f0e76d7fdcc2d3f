"""Ensembles: the mean of their members' probabilities."""

from __future__ import annotations

import pytest
import torch

import models
from models.ensemble import Ensemble, log_mean

SIDE, CLASSES = 16, 5
NAME = "resnet8+vgg8"


def mean_of_probabilities(logits: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([z.softmax(-1) for z in logits]).mean(0)


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_softmax_gives_the_mean_of_the_probabilities(members: int, dtype: torch.dtype) -> None:
    torch.manual_seed(members)
    logits = [3 * torch.randn(6, CLASSES, dtype=dtype) for _ in range(members)]
    found = log_mean(logits)
    torch.testing.assert_close(found.softmax(-1), mean_of_probabilities(logits))
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(6, dtype=dtype))


def test_logits_that_leave_no_probability_give_no_infinity() -> None:
    sure = torch.tensor([[0.0, 500.0, -500.0]])
    found = log_mean([sure, sure.flip(-1)])
    assert found.isfinite().all()
    assert found[0, 1] > found[0, 0]
    assert torch.equal(found.argmax(-1), torch.tensor([1]))


def test_half_types_are_averaged_in_full_precision() -> None:
    torch.manual_seed(0)
    logits = [torch.randn(4, CLASSES, dtype=torch.bfloat16) for _ in range(3)]
    expected = mean_of_probabilities([z.float() for z in logits])
    assert log_mean(logits).dtype is torch.float32
    torch.testing.assert_close(log_mean(logits).softmax(-1), expected)


def test_an_ensemble_is_built_by_its_name() -> None:
    torch.manual_seed(1)
    ensemble = models.build(NAME, num_classes=CLASSES).eval()
    assert isinstance(ensemble, Ensemble)
    assert ensemble.name == NAME
    assert [member.name for member in ensemble.networks] == ["resnet8", "vgg8"]
    images = torch.randn(3, 3, SIDE, SIDE)
    expected = log_mean([member(images) for member in ensemble.networks])
    out = ensemble.outputs(images, preacts=True, blocks=True)
    assert torch.equal(out.logits, expected)
    assert torch.equal(ensemble(images), expected)
    assert (out.embedding, out.features, out.preacts, out.final_map) == (None, None, None, None)


@pytest.mark.parametrize("name", ["resnet8+resnet9", "resnet8+"])
def test_an_unknown_member_is_named(name: str) -> None:
    with pytest.raises(models.ModelError, match="unknown model"):
        models.build(name, num_classes=CLASSES)


def test_an_ensemble_is_no_network_of_the_zoo() -> None:
    with pytest.raises(models.ModelError, match="unknown model"):
        models.check(NAME)
