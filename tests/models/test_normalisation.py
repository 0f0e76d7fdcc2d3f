"""A network trained on pixels normalised otherwise gives the same outputs behind its input map."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

import models
from datasets import cifar, imagenet, tiny_imagenet
from models import normalisation
from models.checkpoints.files import save_weights
from models.checkpoints.formats import read_checkpoint
from models.normalisation import NAMED, Normalisation, renormalise

OWN, DATA = NAMED["pytorch-cifar"], NAMED["cifar100"]


def under(pixels: Tensor, by: Normalisation) -> Tensor:
    """Pixels in 0…1 as a data set would give them."""
    mean, std = (torch.tensor(x, dtype=pixels.dtype).view(1, 3, 1, 1) for x in (by.mean, by.std))
    return (pixels - mean) / std


def pixels(side: int = 32, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.manual_seed(1), dtype=dtype)


def built(name: str = "resnet8", classes: int = 5) -> models.Classifier:
    torch.manual_seed(0)
    return models.build(name, classes).eval()


def tensors(outputs: models.Outputs) -> list[Tensor]:
    found: list[Tensor] = []
    outputs.map(lambda tensor: found.append(tensor) or tensor)
    return found


@pytest.mark.parametrize(
    "name",
    ["resnet8", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV2", "torchvision/squeezenet1_1"],
)
@torch.no_grad()
def test_every_output_is_that_of_its_own_pixels(name):
    network, side = built(name), 64 if "/" in name else 32
    expected = network.outputs(under(pixels(side), OWN), preacts=True, blocks=True)
    named = [*network.state_dict()]
    changed = renormalise(network, DATA, OWN)
    given = under(pixels(side), DATA)
    found = changed.outputs(given, preacts=True, blocks=True)
    for a, b in zip(tensors(found), tensors(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert torch.equal(changed(given), found.logits)  # also when it is called
    assert torch.equal(copy.deepcopy(changed)(given), found.logits)
    assert [*changed.state_dict()] == named
    assert isinstance(changed, models.Classifier) and changed.classifier is network.classifier


@torch.no_grad()
def test_precise_in_double_precision_and_any_memory_format():
    network, x = built().double(), pixels(dtype=torch.float64)
    expected = network(under(x, OWN))
    changed = renormalise(network, DATA, OWN).double()
    torch.testing.assert_close(changed(under(x, DATA)), expected, rtol=0, atol=1e-12)
    last = changed.float().to(memory_format=torch.channels_last)
    given = under(x, DATA).float().to(memory_format=torch.channels_last)
    seen: list[bool] = []
    last.conv1.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    torch.testing.assert_close(last(given), expected.float(), rtol=1e-4, atol=1e-5)
    assert seen == [True]


@torch.no_grad()
def test_under_autocast_the_map_is_not_rounded_to_half():
    network = renormalise(built(), DATA, OWN)
    seen: list[Tensor] = []
    network.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.autocast("cpu", torch.bfloat16):
        network.outputs(under(pixels(), DATA))
    torch.testing.assert_close(seen[0], under(pixels(), OWN), rtol=0, atol=1e-5)


def test_the_gradient_reaches_the_pixels_through_the_map():
    x = under(pixels(), DATA).requires_grad_()
    renormalise(built(), DATA, OWN)(x).sum().backward()
    other = under(pixels(), OWN).requires_grad_()
    built()(other).sum().backward()
    scale = torch.tensor(DATA.std).view(3, 1, 1) / torch.tensor(OWN.std).view(3, 1, 1)
    torch.testing.assert_close(x.grad, other.grad * scale, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_a_network_with_a_forward_of_its_own():
    network = built()

    class Own(type(network)):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return super().outputs(x).logits

    network.__class__ = Own
    expected = network(under(pixels(), OWN))
    found = renormalise(network, DATA, OWN)(under(pixels(), DATA))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_nothing_happens_where_both_are_equal():
    network = built()
    kind = type(network)
    rounded = Normalisation(mean=DATA.mean, std=tuple(x + 1e-8 for x in DATA.std))
    assert type(renormalise(network, DATA, rounded)) is kind
    assert not list(network.buffers(recurse=False))


def test_weights_are_saved_and_loaded_as_before(tmp_path):
    facts = {"normalisation": OWN.model_dump()}
    save_weights(renormalise(built(), DATA, OWN), tmp_path / "w", facts)
    assert read_checkpoint(tmp_path / "w").metadata.normalisation == OWN
    plain = models.build("resnet8", 5)
    models.load_checkpoint(plain, tmp_path / "w")
    assert torch.equal(plain.conv1.weight, built().conv1.weight)
    models.load_checkpoint(renormalise(built(), DATA, OWN), tmp_path / "w")


def test_the_named_ones_are_those_of_our_data_sets():
    for name, source in (("cifar10", cifar.CIFAR10), ("cifar100", cifar.CIFAR100)):
        assert (NAMED[name].mean, NAMED[name].std) == (source.mean, source.std)
    for name, module in (("imagenet", imagenet), ("tiny-imagenet", tiny_imagenet)):
        assert (NAMED[name].mean, NAMED[name].std) == (module.MEAN, module.STD)


@pytest.mark.parametrize(
    ("name", "mean", "std", "said"),
    [
        ("pytorch-cifr", None, None, "unknown normalisation 'pytorch-cifr': did you mean pytorch-"),
        (None, [0.5] * 3, None, "std is missing: expected mean and std, or neither"),
        (None, None, [0.5] * 3, "mean is missing: expected mean and std, or neither"),
        (None, [0.5, 0.5], [0.5] * 3, r"mean = \[0.5, 0.5\]: expected three numbers"),
        (None, 0.5, 0.5, "mean = 0.5: expected three numbers, for red, green and blue"),
        (None, [123.7, 116.3, 103.5], [58.4, 57.1, 57.4], "divide those of pixels in 0…255 by 255"),
        (None, [0.5] * 3, [0.0, 0.5, 0.5], "std = .* expected numbers above 0 and at most 1$"),
        (None, [0.5] * 3, [-0.5, 0.5, 0.5], "std = .* expected numbers above 0 and at most 1$"),
        (None, [0.5] * 3, [float("nan"), 0.5, 0.5], "std = .* expected numbers above 0"),
        (None, [float("nan"), 0.5, 0.5], [0.5] * 3, "mean = .* expected numbers from 0 to 1$"),
        (None, [-0.1, 0.5, 0.5], [0.5] * 3, "mean = .* expected numbers from 0 to 1$"),
        (None, [float("inf"), 0.5, 0.5], [0.5] * 3, "mean = .* expected numbers from 0 to 1"),
        (None, ["0.5", 0.5, 0.5], [0.5] * 3, "mean = .* expected three numbers"),
        (None, [True, 0.5, 0.5], [0.5] * 3, "mean = .* expected three numbers"),
    ],
)
def test_what_is_no_normalisation(name, mean, std, said):
    with pytest.raises(ValueError, match=said) as caught:
        normalisation.stated(name, mean, std)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("std", [[0.0, 1.0, 1.0], [-0.2, 1.0, 1.0]])
def test_a_file_that_states_an_impossible_one(tmp_path, std):
    from safetensors.torch import save_file

    about = '{"architecture": "resnet8", "num_classes": 5, "normalisation": '
    about += f'{{"mean": [0.5, 0.5, 0.5], "std": {std}}}}}'
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors", {"distillers": about})
    with pytest.raises(models.ModelError, match=r"normalisation\.std = .*expected numbers above 0"):
        read_checkpoint(tmp_path / "w.safetensors")


def test_published_constants_may_be_rounded():
    precise, rounded = NAMED["pytorch-cifar100"], NAMED["cifar100"]
    assert precise.agrees(rounded) and not precise.equals(rounded)
    assert not OWN.agrees(NAMED["cifar10"])
