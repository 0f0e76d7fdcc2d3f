"""What is particular to MobileNetV2, the ShuffleNets and the CIFAR-stem ResNets."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
from models.shufflenet import channel_shuffle

LIGHT = ["MobileNetV2", "ShuffleV1", "ShuffleV2"]


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def images(batch: int = 2, size: int = 32) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))


def parameter_names(modules: nn.ModuleList, model: nn.Module) -> set[str]:
    """The first part of the names, in ``model``, of the parameters in ``modules``."""
    chosen = {id(p) for p in modules.parameters()}
    return {name.split(".")[0] for name, p in model.named_parameters() if id(p) in chosen}


@pytest.mark.parametrize(
    ("name", "count"), [("MobileNetV2_1_0", 2_353_060), ("ShuffleV2_1_5", 2_580_548)]
)
def test_other_widths_have_the_published_number_of_parameters(name, count):
    model = models.build(name, num_classes=100)
    assert sum(p.numel() for p in model.parameters()) == count


@pytest.mark.parametrize(
    ("name", "channels"),
    [("MobileNetV2_1_0", (32, 24, 32, 96, 320)), ("ShuffleV2_1_5", (24, 176, 352, 704))],
)
def test_other_widths_have_the_published_features(name, channels):
    out = models.build(name, num_classes=7).eval().outputs(images(1))
    assert tuple(x.shape[1] for x in out.features) == channels
    assert out.logits.shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        ("MobileNetV2", (3, 3, 7, 4)),
        ("ShuffleV1", (4, 8, 4)),
        ("ShuffleV2", (4, 8, 4)),
        ("ResNet50", (3, 4, 6, 3)),
        ("ResNet18", (2, 2, 2, 2)),
    ],
)
def test_blocks_of_a_stage_share_a_shape_and_end_with_its_feature(name, depths):
    with torch.no_grad():
        out = models.build(name, num_classes=10).eval().outputs(images(1), blocks=True)
    assert tuple(len(stage) for stage in out.blocks) == depths
    for stage, feature in zip(out.blocks, out.features[1:], strict=True):
        assert stage[-1] is feature
        assert {x.shape[2:] for x in stage} == {feature.shape[2:]}


def test_mobilenet_taps_are_linear_so_its_preacts_are_its_features():
    out = models.build("MobileNetV2", num_classes=10).eval().outputs(images(), preacts=True)
    assert all(a is b for a, b in zip(out.features, out.preacts, strict=True))
    assert all((x < 0).any() for x in out.features[1:])


def test_shuffle_v2_preacts_are_its_features_before_relu_and_shuffle():
    out = models.build("ShuffleV2", num_classes=10).eval().outputs(images(), preacts=True)
    for feature, preact in zip(out.features[1:], out.preacts[1:], strict=True):
        kept, branch = preact.chunk(2, 1)
        assert (kept >= 0).all()
        assert (branch < 0).any()
        assert torch.equal(feature[:, 0::2], kept)
        assert torch.equal(feature[:, 1::2], F.relu(branch))


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


@pytest.mark.parametrize("name", LIGHT)
def test_compiles_into_one_graph(name):
    """``fullgraph`` refuses graph breaks; the eager backend spares the tests a C++ compiler."""
    torch.compiler.reset()
    model = models.build(name, num_classes=10).eval()
    compiled = torch.compile(model.outputs, backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(images()).logits, model(images()))


def test_mobilenet_classifier_is_the_linear_layer_under_its_published_name():
    model = models.build("MobileNetV2", num_classes=10).eval()
    assert isinstance(model.classifier, nn.Linear)
    assert (
        model.state_dict()["classifier.0.weight"].data_ptr() == model.classifier.weight.data_ptr()
    )
    assert model.get_submodule("classifier.0") is model.classifier
    zeroed = {"classifier.0.weight": torch.zeros(10, 1280), "classifier.0.bias": torch.arange(10.0)}
    logits = torch.func.functional_call(model, zeroed, (images(),))
    assert torch.equal(logits, torch.arange(10.0).expand(2, 10))


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("MobileNetV2", [f"blocks.{place}.conv.7" for place in ("1.1", "2.2", "4.2", "6.0")]),
        ("ResNet50", [f"layer{place}.bn3" for place in ("1.2", "2.3", "3.5", "4.2")]),
        ("ResNet18", [f"layer{stage}.1.bn2" for stage in (1, 2, 3, 4)]),
        ("ShuffleV1", [None, None, None]),
        ("ShuffleV2", [None, None, None]),
    ],
)
def test_preact_norms(name, norms):
    model = models.build(name, num_classes=10)
    names = {id(module): place for place, module in model.named_modules()}
    assert [names.get(id(norm)) for norm in model.preact_norms] == [None, *norms]


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("MobileNetV2", {"conv1", "blocks"}),
        ("ShuffleV1", {"conv1", "bn1", "layer1", "layer2", "layer3"}),
        ("ShuffleV2", {"conv1", "bn1", "layer1", "layer2", "layer3"}),
        ("ResNet50", {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}),
    ],
)
def test_an_initial_stage_trains_the_feature_part_only(name, places):
    model = models.build(name, num_classes=10)
    assert parameter_names(model.feature_modules(), model) == places


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet18"])
def test_convolutions_start_from_the_fan_out_normal(name):
    for module in models.build(name, num_classes=10).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 4000:  # depthwise ones too
            std = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            assert module.weight.std().item() == pytest.approx(std, rel=0.05)


def test_mobilenet_classifier_starts_small():
    linear = models.build("MobileNetV2", num_classes=100).classifier
    assert linear.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not linear.bias.any()


@pytest.mark.parametrize("name", ["ShuffleV1", "ShuffleV2"])
def test_shuffle_nets_keep_torch_initialisation(name):
    """Uniform in ±1/√fan_in, which is torch's default."""
    for module in models.build(name, num_classes=10).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            bound = 1 / math.sqrt(module.weight[0].numel())
            assert bound * 0.99 < module.weight.abs().max().item() <= bound
