"""The contract that every network of the zoo keeps (models/base.py, models/outputs.py)."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
from models.mobilenet import MobileNetV2
from models.shufflenet import ShuffleV2, channel_shuffle
from models.wrn import WideResNet
from tests.models.helpers import built, equal_states, images, same

# Library networks ("torchvision/…") have their own tests: other image sizes, other gaps.
ZOO = [name for name in models.names() if "/" not in name]
CLASSES = 10


@pytest.fixture(scope="module", params=ZOO)
def model(request):
    return built(request.param, CLASSES).eval()


@torch.no_grad()
def test_outputs_hold_together(model):
    out = model.outputs(images(), preacts=True, blocks=True)
    assert out.logits.shape == (2, CLASSES)
    same(model(images()), out.logits)
    same(model.classifier(out.embedding), out.logits)
    same(model.classifier(out.final_map.mean((2, 3))), out.logits)
    assert out.preacts[0] is out.features[0]
    assert [p.shape for p in out.preacts] == [f.shape for f in out.features]
    for inside, feature in zip(out.blocks, out.features[1:], strict=True):
        assert inside[-1] is feature


@torch.no_grad()
def test_features_follow_from_preacts(model):
    """By ReLU, except in families whose taps are linear, shuffled or raw."""
    out = model.outputs(images(), preacts=True)
    pairs = list(zip(out.features[1:], out.preacts[1:], strict=True))
    if isinstance(model, WideResNet):
        norms = model.preact_norms[1:]
        assert all(n(f).equal(p) for n, (f, p) in zip(norms, pairs, strict=True))
        assert out.final_map.equal(out.preacts[-1].relu())
    elif isinstance(model, MobileNetV2):
        assert all(f is p for f, p in pairs)
    elif isinstance(model, ShuffleV2):
        assert all(f.equal(channel_shuffle(p.relu(), 2)) for f, p in pairs)
    else:
        assert all(f.equal(p.relu()) for f, p in pairs)
    assert all((p < 0).any() for _, p in pairs)


@torch.no_grad()
def test_a_state_dict_holds_everything(model, tmp_path):
    first = deepcopy(model).train()
    first(images(16))  # running statistics that differ from a new network's
    torch.save(first.state_dict(), tmp_path / "weights.pth")
    second = models.build(model.name, CLASSES)
    models.load_checkpoint(second, tmp_path / "weights.pth")
    assert second.eval()(images(16)).equal(first.eval()(images(16)))
    assert not second(images(16)).equal(model(images(16)))


@torch.no_grad()
def test_preacts_and_blocks_only_on_request(model):
    plain = model.outputs(images(16))
    assert plain.preacts is None
    assert plain.blocks is None
    assert model.outputs(images(16), preacts=True).blocks is None
    assert model.outputs(images(16), blocks=True).preacts is None


def test_norms_and_modules_belong_to_the_network(model):
    own = set(model.modules())
    features = model.outputs(images(16)).features
    for norm, feature in zip(model.preact_norms, features, strict=True):
        assert norm is None or (norm in own and norm.num_features == feature.shape[1])
    assert model.preact_norms[0] is None
    assert isinstance(model.classifier, nn.Linear)
    assert model.classifier in own
    trained = set(model.feature_modules().parameters())
    assert trained < set(model.parameters())
    assert not trained & set(model.classifier.parameters())


def test_every_parameter_gets_a_gradient(model):
    trained = deepcopy(model).train()
    F.cross_entropy(trained(images(16)), torch.tensor([3, 7])).backward()
    for name, parameter in trained.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A bias before a BatchNorm has no effect: its gradient is zero up to rounding.
        assert parameter.ndim == 1 or parameter.grad.any(), name


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 48)])
def test_images_of_any_size(model, height, width):
    out = model.outputs(images(height, width, n=1))
    assert out.logits.shape == (1, CLASSES)
    same(model.classifier(out.final_map.mean((2, 3))), out.logits)


@torch.no_grad()
def test_channels_last_stays_channels_last(model):
    x = images(16).contiguous(memory_format=torch.channels_last)
    out = deepcopy(model).to(memory_format=torch.channels_last).outputs(x, preacts=True)
    same(out.logits, model(images(16)), rtol=1e-4)
    for feature in (*out.features, *out.preacts):
        # Maps of one pixel satisfy both formats.
        assert feature.is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def test_bfloat16_autocast(model):
    with torch.autocast("cpu", torch.bfloat16):
        out = model.outputs(images(16), preacts=True)
    assert out.logits.dtype == torch.bfloat16
    exact = model(images(16))
    assert (out.logits.float() - exact).norm() < 0.1 * exact.norm()


def test_the_generator_decides_the_weights():
    assert equal_states(built(seed=0), built(seed=0))
    assert not built(seed=0).fc.weight.equal(built(seed=1).fc.weight)


def test_names_differ_by_more_than_case():
    assert len({name.lower() for name in models.names()}) == len(models.names())
    assert models.names() == sorted(models.names())


def test_a_taken_name_is_refused_whatever_its_case():
    with pytest.raises(models.ModelError, match=r"'RESNET20'.*'resnet20' of models\.resnet"):
        models.register("RESNET20", lambda num_classes: None)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("resnet3x4", "resnet32x4"), ("wrn_40_3", "wrn_40_2"), ("VGG13", "vgg13")],
)
def test_an_unknown_name_gives_near_matches(typed, meant):
    with pytest.raises(models.ModelError, match=f"unknown model '{typed}'.*{meant}"):
        models.build(typed, num_classes=10)
