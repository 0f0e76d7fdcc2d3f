"""What is particular to each family: initialisation, taps, norms, and one forward pass."""

from __future__ import annotations

from collections import Counter
from math import prod, sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
from models.resnet import PLAIN, ResNet
from models.shufflenet import channel_shuffle
from models.wrn import WideResNet
from tests.models.helpers import built, images

FAMILIES = ["resnet8x4", "wrn_16_2", "vgg8", "MobileNetV2", "ShuffleV1", "ShuffleV2"]


# ---- initialisation ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet8x4", "wrn_40_2", "vgg11", "MobileNetV2", "ResNet18"])
def test_convolutions_start_as_in_the_reference(name):
    """Normal with the variance of He et al.'s fan-out, depthwise convolutions included."""
    for layer in built(name).modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * prod(layer.kernel_size)
            count = layer.weight.numel()
            tolerance = 5 / sqrt(2 * count)  # five standard errors of a standard deviation
            assert layer.weight.std().item() == pytest.approx(sqrt(2 / fan_out), rel=tolerance)
            assert layer.weight.abs().max() > 2.5 * sqrt(2 / fan_out) or count < 1000  # not uniform
            assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("name", ["ShuffleV1", "ShuffleV2"])
def test_shuffle_nets_keep_torchs_initialisation(name):
    """Uniform in ±1/√fan_in."""
    for module in built(name).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            bound = 1 / sqrt(module.weight[0].numel())
            assert bound * 0.99 < module.weight.abs().max().item() <= bound


def test_the_last_layers_start_as_in_the_reference():
    resnet, wrn, vgg, mobilenet = (
        built(name, 100).classifier for name in ("resnet8x4", "wrn_40_2", "vgg8", "MobileNetV2")
    )
    for linear in (resnet, wrn):  # torch's default: uniform within 1/√in
        bound = 1 / sqrt(linear.in_features)
        assert 0.95 * bound < linear.weight.abs().max() <= bound
    assert 0 < resnet.bias.abs().max() <= 1 / sqrt(resnet.in_features)
    for linear in (vgg, mobilenet):
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not any(linear.bias.any() for linear in (wrn, vgg, mobilenet))


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
        ("MobileNetV2_1_0", 2_353_060, [32, 24, 32, 96, 320]),
        ("ShuffleV2_1_5", 2_580_548, [24, 176, 352, 704]),
    ],
)
def test_networks_without_a_fixture(name, parameters, channels):
    """ResNet counts were measured with SimKD's and SemCKD's zoos, the others are published."""
    model = models.build(name, num_classes=100).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters
    with torch.no_grad():
        features = model.outputs(images()).features
    assert [x.shape[1] for x in features] == channels
    assert not name.startswith("resnet") or [x.shape[2] for x in features] == [32, 32, 16, 8]


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
def test_shuffle_v2_preacts_are_the_kept_half_and_the_branch_before_its_relu():
    for preact in built("ShuffleV2").eval().outputs(images(), preacts=True).preacts[1:]:
        kept, branch = preact.chunk(2, 1)
        assert (kept >= 0).all()
        assert (branch < 0).any()


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("resnet20", [3, 3, 3]),
        ("wrn_16_1", [2, 2, 2]),
        ("vgg16", [2, 3, 3, 3]),
        ("MobileNetV2", [3, 3, 7, 4]),
        ("ShuffleV1", [4, 8, 4]),
        ("ShuffleV2", [4, 8, 4]),
        ("ResNet50", [3, 4, 6, 3]),
        ("ResNet18", [2, 2, 2, 2]),
    ],
)
def test_blocks_of_each_stage(name, lengths):
    with torch.no_grad():
        out = built(name).outputs(images(), blocks=True)
    assert [len(inside) for inside in out.blocks] == lengths
    for inside, feature in zip(out.blocks, out.features[1:], strict=True):
        assert {x.shape[2:] for x in inside} == {feature.shape[2:]}
    signed = name.startswith(("wrn", "Mobile"))  # raw outputs; the others are rectified
    assert all((x.min() < 0) == signed for inside in out.blocks for x in inside)


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("resnet8", {"fc"}),
        ("wrn_16_1", {"bn1", "fc"}),
        ("vgg8", {"classifier"}),
        ("MobileNetV2", {"conv2", "classifier"}),
        ("ShuffleV1", {"linear"}),
        ("ShuffleV2", {"conv2", "bn2", "linear"}),
        ("ResNet50", {"linear"}),
    ],
)
def test_feature_modules_leave_out_the_head(name, left_out):
    model = built(name)
    trained = set(model.feature_modules().parameters())
    assert {n.split(".")[0] for n, p in model.named_parameters() if p not in trained} == left_out


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("resnet14", ["layer1.1.bn2", "layer2.1.bn2", "layer3.1.bn2"]),
        ("wrn_16_2", ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"]),
        ("vgg13", ["block1.4", "block2.4", "block3.4", "block4.4"]),
        ("MobileNetV2", [f"blocks.{place}.conv.7" for place in ("1.1", "2.2", "4.2", "6.0")]),
        ("ResNet50", [f"layer{place}.bn3" for place in ("1.2", "2.3", "3.5", "4.2")]),
        ("ResNet18", [f"layer{stage}.1.bn2" for stage in (1, 2, 3, 4)]),
        ("ShuffleV1", [None, None, None]),
        ("ShuffleV2", [None, None, None]),
    ],
)
def test_preact_norms(name, norms):
    model = built(name)
    places = {module: place for place, module in model.named_modules()}
    assert [places.get(norm) for norm in model.preact_norms] == [None, *norms]


@pytest.mark.parametrize("name", ["wrn_16_2", "vgg13"])
def test_preacts_are_those_norms_outputs(name):
    model, seen = built(name), []
    for norm in model.preact_norms[1:]:
        norm.register_forward_hook(lambda module, args, result: seen.append(result))
    preacts = model.outputs(images(16), preacts=True).preacts[1:]
    assert all(a is b for a, b in zip(preacts, seen, strict=True))


def test_mobilenets_classifier_is_the_linear_layer_under_its_published_name():
    model = built("MobileNetV2").eval()
    assert model.get_submodule("classifier.0") is model.classifier
    zeroed = {"classifier.0.weight": torch.zeros(10, 1280), "classifier.0.bias": torch.arange(10.0)}
    logits = torch.func.functional_call(model, zeroed, (images(),))
    assert torch.equal(logits, torch.arange(10.0).expand(2, 10))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [2, 3])
def test_channel_shuffle(groups, layout):
    x = torch.randn(2, 12, 4, 5).to(memory_format=layout).requires_grad_()
    y = channel_shuffle(x, groups)
    expected = [j // groups + (j % groups) * (12 // groups) for j in range(12)]
    assert torch.equal(y, x[:, expected])
    assert y.is_contiguous(memory_format=layout)
    weights = torch.randn_like(y)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    assert torch.equal(gradient[:, expected], weights)


# ---- one forward pass ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_preacts_and_blocks_cost_no_further_layer(name):
    """Every layer runs once, whatever is requested, so statistics are updated once per step."""
    model, calls = built(name).train(), Counter()
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda module, args, result: calls.update([module]))
    model.outputs(images(), preacts=True, blocks=True)
    assert calls == Counter(layers)


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
        out = model.outputs(images(16, dtype=torch.float64), preacts=True)
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


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_compiles_into_one_graph(name):
    """``fullgraph`` refuses graph breaks; the eager backend needs no C++ compiler."""
    torch.compiler.reset()
    model, x = built(name).eval(), images()
    compiled = torch.compile(model.outputs, backend="eager", fullgraph=True)
    out, expected = compiled(x, preacts=True, blocks=True), model.outputs(x, preacts=True)
    torch.testing.assert_close(out.logits, expected.logits)
    torch.testing.assert_close(out.preacts, expected.preacts)
