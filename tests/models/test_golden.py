"""Every family against the references' own numbers (see golden.py)."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

import models
from tests.models.golden import assert_same_map, close, fill, imagenet_images, load

REPDISTILLER = (
    "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet8x4",
    "resnet32x4", "wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2", "vgg8", "vgg11", "vgg13", "vgg16",
    "vgg19", "MobileNetV2", "ShuffleV1", "ShuffleV2", "ResNet50",
)  # fmt: skip
CIFAR = [
    *(("RepDistiller", name) for name in REPDISTILLER),
    *(("mdistiller", name) for name in ("MobileNetV2", "ResNet50", "ResNet18")),
]
# mdistiller updates the statistics of these twice per training step.
DOUBLE_UPDATES = [("mdistiller", "wrn_16_2"), ("mdistiller", "wrn_40_2")]
IMAGENET = [("mdistiller_imagenet", n) for n in ("MobileNetV1", "resnet18", "resnet34", "resnet50")]


@pytest.fixture(scope="module", params=CIFAR + DOUBLE_UPDATES + IMAGENET, ids="/".join)
def case(request):
    """A model with the fixture's weights in eval mode, the fixture, and its images."""
    repository, name = request.param
    golden = load(name, repository)
    golden["repository"] = repository
    if repository != "mdistiller_imagenet":
        return fill(models.build(name, num_classes=100)).eval(), golden, golden["in/image"]
    ours = name if name == "MobileNetV1" else f"torchvision/{name}"
    return fill(models.build(ours, num_classes=1000)).eval(), golden, imagenet_images()


def only(cases):
    """Runs a test on these fixtures instead of all."""
    return pytest.mark.parametrize("case", cases, indirect=True, ids="/".join)


def test_the_formula_gives_the_fixtures_images():
    golden = load("resnet18", "mdistiller_imagenet")
    close(imagenet_images().flatten()[:16], golden["in/image_first16"], 0)


def test_parameters_have_the_published_names_order_and_shapes(case):
    model, golden, _ = case
    state = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    assert state == golden["meta"]["state_dict"]
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == golden["meta"]["n_params_trainable"]


@torch.no_grad()
def test_float32(case):
    model, golden, images = case
    repository = golden["repository"]
    out = model.outputs(images, preacts=True)
    close(out.logits, golden["out/logits"], 1e-4 * golden["out/logits"].abs().max())
    close(out.embedding, golden["out/embedding"], 1e-4 * golden["out/embedding"].abs().max())
    for kind, maps in ("feat", out.features), ("preact", out.preacts):
        shapes = golden["meta"]["feature_lists"].get(kind)
        if shapes is None:  # the one list that a reference lacks
            assert (repository, model.name, kind) == ("mdistiller", "MobileNetV2", "preact")
            continue
        if model.name == "MobileNetV1":  # its reference lists lack the stem
            maps = maps[1:]
        if repository == "RepDistiller":  # only its lists end with the embedding
            maps = (*maps, out.embedding)
        assert [list(x.shape) for x in maps] == shapes
        for i, x in enumerate(maps):
            # The first preact of mdistiller's ImageNet ResNets is taken before the stem's ReLU.
            if kind == "feat" or repository != "mdistiller_imagenet" or x is not out.features[0]:
                assert_same_map(x, golden, f"{kind}/{i}")


@torch.no_grad()
def test_float64(case):
    model, golden, images = case
    logits = deepcopy(model).double()(images.double())
    close(logits, golden["out64/logits"], 1e-8 * golden["out64/logits"].abs().max())


def statistics(model):
    """Sums over all running means, variances and batch counters, under the fixtures' keys."""
    kinds = ("running_mean", "running_var", "num_batches_tracked")
    named = [(name.rpartition(".")[2], b.sum().double()) for name, b in model.named_buffers()]
    return {f"train64/sum_{k}": sum(value for name, value in named if name == k) for k in kinds}


@torch.no_grad()
@only(CIFAR)
def test_training_step_in_float64(case):
    """A forward pass updates every running statistic once, even when preacts are requested."""
    model, golden, images = case
    model = deepcopy(model).double().train()
    logits = model.outputs(images.double(), preacts=True, blocks=True).logits
    close(logits, golden["train64/logits"], 1e-9 * golden["train64/logits"].abs().max())
    for key, total in statistics(model).items():
        close(total, golden[key], 1e-9 * golden[key].abs())


@torch.no_grad()
@only(DOUBLE_UPDATES)
def test_wrn_statistics_are_updated_once_where_mdistiller_updates_them_twice(case):
    """One step gives RepDistiller's; three norms seeing the batch again gives mdistiller's."""
    model, golden, images = case
    model, reference = deepcopy(model).double().train(), load(model.name)
    out = model.outputs(images.double(), preacts=True, blocks=True)
    once, counter = statistics(model), "train64/sum_num_batches_tracked"
    assert golden[counter] - once[counter] == 3
    for norm, feature in zip(model.preact_norms[1:], out.features[1:], strict=True):
        norm(feature)
    twice = statistics(model)
    for key in once:
        close(once[key], reference[key], 1e-9 * reference[key].abs())
        close(twice[key], golden[key], 1e-9 * golden[key].abs())
