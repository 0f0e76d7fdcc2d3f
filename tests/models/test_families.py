"""What is particular to the ResNet, wide ResNet and VGG families."""

from __future__ import annotations

from collections import Counter
from math import prod, sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
from models.resnet import PLAIN, ResNet
from models.wrn import WideResNet

FAMILIES = ["resnet8x4", "wrn_16_2", "vgg8"]


def built(name):
    torch.manual_seed(0)
    return models.build(name, num_classes=10)


def images(size=32, dtype=torch.float32):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, size, size, generator=draw, dtype=dtype)


# ---- initialisation ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet8x4", "wrn_40_2", "vgg11"])
def test_convolutions_start_as_in_the_reference(name):
    for layer in built(name).modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * prod(layer.kernel_size)
            count = layer.weight.numel()
            tolerance = 5 / sqrt(2 * count)  # five standard errors of a standard deviation
            assert layer.weight.std().item() == pytest.approx(sqrt(2 / fan_out), rel=tolerance)
            assert layer.weight.abs().max() > 2.5 * sqrt(2 / fan_out) or count < 1000  # not uniform
            assert layer.bias is None or not layer.bias.any()


def test_the_last_layers_start_as_in_the_reference():
    resnet, wrn, vgg = (models.build(n, 100).classifier for n in ("resnet8x4", "wrn_40_2", "vgg8"))
    for linear in (resnet, wrn):  # torch's default: uniform within 1/√in
        bound = 1 / sqrt(linear.in_features)
        assert 0.95 * bound < linear.weight.abs().max() <= bound
    assert 0 < resnet.bias.abs().max() <= 1 / sqrt(resnet.in_features)
    assert vgg.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not wrn.bias.any()
    assert not vgg.bias.any()


# ---- shapes and taps -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters", "channels"),
    [
        ("resnet38", 569_972, [16, 16, 32, 64]),
        ("resnet116", 1_833_780, [16, 16, 32, 64]),
        ("resnet14x2", 703_732, [16, 32, 64, 128]),
        ("resnet38x2", 2_255_604, [16, 32, 64, 128]),
        ("resnet110x2", 6_911_220, [16, 32, 64, 128]),
        ("resnet14x4", 2_783_620, [32, 64, 128, 256]),
        ("resnet38x4", 8_983_940, [32, 64, 128, 256]),
        ("resnet8x4_double", 4_875_428, [64, 128, 256, 512]),
    ],
)
def test_resnets_without_a_fixture(name, parameters, channels):
    """Counts measured with SimKD's and SemCKD's zoos."""
    model = models.build(name, num_classes=100).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    with torch.no_grad():
        features = model.outputs(images()).features
    assert [x.shape[1] for x in features] == channels
    assert [x.shape[2] for x in features] == [32, 32, 16, 8]


@pytest.mark.parametrize(("family", "depth"), [(ResNet, 9), (WideResNet, 18)])
def test_impossible_depths_are_refused(family, depth):
    with pytest.raises(models.ModelError, match=f"not {depth}"):
        family(depth, PLAIN if family is ResNet else 2, 10)


@pytest.mark.parametrize(
    ("size", "sides"), [(16, [16, 8, 4, 2, 2]), (32, [32, 16, 8, 4, 4]), (64, [64, 32, 16, 8, 4])]
)
def test_vgg_pools_once_more_only_when_images_are_64_high(size, sides):
    with torch.no_grad():
        assert [f.shape[2] for f in built("vgg8").outputs(images(size)).features] == sides


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet8", "resnet14", "resnet8x4", "vgg8", "vgg11", "vgg13"])
def test_features_are_rectified_preacts(name):
    out = built(name).outputs(images(16), preacts=True)
    assert all(p.min() < 0 for p in out.preacts[1:])
    assert all(f.equal(p.relu()) for f, p in zip(out.features, out.preacts, strict=True))


@torch.no_grad()
def test_wrn_features_are_raw_and_its_last_preact_is_the_final_maps():
    out = built("wrn_16_2").outputs(images(16), preacts=True)
    assert all(f.min() < 0 for f in out.features)
    assert out.final_map.equal(out.preacts[-1].relu())


@pytest.mark.parametrize(
    ("name", "lengths"),
    [("resnet20", [3, 3, 3]), ("wrn_16_1", [2, 2, 2]), ("vgg16", [2, 3, 3, 3])],
)
def test_blocks_of_each_stage(name, lengths):
    with torch.no_grad():
        out = built(name).outputs(images(16), blocks=True)
    assert [len(inside) for inside in out.blocks] == lengths
    signed = name.startswith("wrn")  # raw outputs; else behind a ReLU
    assert all((x.min() < 0) == signed for inside in out.blocks for x in inside)


@pytest.mark.parametrize(
    ("name", "without"),
    [("resnet8", {"fc"}), ("wrn_16_1", {"bn1", "fc"}), ("vgg8", {"classifier"})],
)
def test_feature_modules_leave_out_the_head(name, without):
    model = built(name)
    trained = set(model.feature_modules().parameters())
    left = {n.split(".")[0] for n, p in model.named_parameters() if p not in trained}
    assert left == without


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("resnet14", ["layer1.1.bn2", "layer2.1.bn2", "layer3.1.bn2"]),
        ("wrn_16_2", ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"]),
        ("vgg13", ["block1.4", "block2.4", "block3.4", "block4.4"]),
    ],
)
def test_preact_norms(name, norms):
    model = built(name)
    assert model.preact_norms == (None, *(model.get_submodule(norm) for norm in norms))


@pytest.mark.parametrize("name", ["wrn_16_2", "vgg13"])
def test_preacts_are_those_norms_outputs(name):
    model, seen = built(name), []
    for norm in model.preact_norms[1:]:
        norm.register_forward_hook(lambda module, args, result: seen.append(result))
    preacts = model.outputs(images(16), preacts=True).preacts[1:]
    assert all(a is b for a, b in zip(preacts, seen, strict=True))


# ---- one pass ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_preacts_and_blocks_cost_no_further_layer(name):
    """Every layer runs at most once, whatever is asked for; so statistics move once per step."""
    model, calls = built(name).train(), Counter()
    for layer in model.modules():
        layer.register_forward_hook(lambda module, args, result: calls.update([module]))
    model.outputs(images(16), preacts=True, blocks=True)
    used = Counter(m for m in calls if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear))
    assert used == Counter(
        m for m in model.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)
    )
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("training", [True, False])
def test_wrn_preacts_and_their_gradients_are_the_references(training):
    """The reference normalises the features a second time to get its preacts."""
    model = built("wrn_16_2").double().train(training)
    for norm in model.preact_norms[1:]:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    mean, var = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    def again(norm, x):
        stats = (mean.expand(x.shape[1]).clone(), var.expand(x.shape[1]).clone())
        return F.batch_norm(x, *stats, norm.weight, norm.bias, training, eps=norm.eps)

    def gradients(preacts_of):
        out = model.outputs(images(16, torch.float64), preacts=True)
        preacts = preacts_of(out)
        loss = out.logits.square().sum() + sum((p - 0.3).square().mean() for p in preacts)
        return preacts, torch.autograd.grad(loss, list(model.parameters()))

    ours, reference = (
        gradients(lambda out: out.preacts[1:]),
        gradients(lambda out: list(map(again, model.preact_norms[1:], out.features[1:]))),
    )
    assert int(model.bn1.num_batches_tracked) == (2 if training else 0)  # once per pass
    torch.testing.assert_close(list(ours[0]), list(reference[0]), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(ours[1], reference[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", FAMILIES)
def test_compiles_without_a_graph_break(name):
    model, x = built(name).eval(), images(16)
    seen = torch.compile(model.outputs, backend="eager", fullgraph=True)
    with torch.no_grad():
        out, expected = seen(x, preacts=True, blocks=True), model.outputs(x, preacts=True)
    torch.testing.assert_close(out.logits, expected.logits)
    torch.testing.assert_close(out.preacts, expected.preacts)
