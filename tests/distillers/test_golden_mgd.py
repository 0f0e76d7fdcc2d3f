"""MGD against cls_KD's numbers; its masks."""

import pytest
import torch
from torch import nn

from distillers import Unsupported
from tests.distillers import golden


def build(case, dtype, **options):
    inputs = golden.inputs(case, dtype)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    options = {
        "weight": case.hparams["alpha_mgd"],
        "mask_ratio": case.hparams["lambda_mgd"],
    } | options
    return golden.build(case, "mgd", student, teacher, dtype, **options), student, teacher, inputs


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("mgd"))
def test_mgd(name, dtype):
    case = golden.load("mgd", name)
    method, student, teacher, inputs = build(case, dtype)
    method.sample_mask = lambda shape: inputs["mask_uniform"] >= case.hparams["lambda_mgd"]
    losses = method(student, teacher, golden.batch(inputs))
    golden.check_value(case, "mgd", losses["mgd"])
    losses["mgd"].backward()
    golden.check_gradients(case, inputs)
    names = {name: name.removeprefix("mgd.") for name in case.groups["pgrad"]}
    golden.check_parameter_gradients(case, method, names)
    assert set(names.values()) == {name for name, _ in method.named_parameters()}


@torch.no_grad()
def test_against_a_loop():
    """Without masks: sums over elements, a mean over samples."""
    case = golden.load("mgd", "c1")
    method, student, teacher, inputs = build(case, torch.float64, weight=1.0, mask_ratio=0.0)
    assert isinstance(method.align, nn.Identity)
    first, _, second = method.generation
    total = 0.0
    for s, t in zip(inputs["s_feat0"], inputs["t_feat0"], strict=True):
        rebuilt = second(first(s[None]).clamp(min=0))[0]
        total += sum((a - b) ** 2 for a, b in zip(rebuilt.flatten(), t.flatten(), strict=True))
    value = method(student, teacher, golden.batch(inputs))["mgd"]
    assert value.item() == pytest.approx(total.item() / 3, rel=1e-12)


def test_masks():
    """Whole channels of a sample, as often as asked for, others in every step."""
    method, _, _, inputs = build(golden.load("mgd", "c0"), torch.float32, mask_ratio=0.15)
    masks = []
    for step in range(2):
        method.generator = method.draw(golden.batch(inputs, step=step), "mask")
        masks.append(method.sample_mask((100, 200, 1, 1)))
    assert not torch.equal(*masks)
    for mask in masks:
        assert mask.shape == (100, 200, 1, 1)
        assert 1 - mask.float().mean().item() == pytest.approx(0.15, abs=0.01)


def test_everything_masked_is_finite():
    method, student, teacher, inputs = build(
        golden.load("mgd", "c0"), torch.float32, mask_ratio=1.0
    )
    method(student, teacher, golden.batch(inputs))["mgd"].backward()
    assert not inputs["s_feat0"].grad.any()


def test_other_sizes_are_unsupported():
    case = golden.load("mgd", "c0")
    inputs = golden.inputs(case, torch.float32)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    small = student.map(lambda m: m[..., :2] if m.ndim == 4 else m)
    with pytest.raises(Unsupported, match="student's last map is 4×2, the teacher's 4×4"):
        golden.build(case, "mgd", small, teacher, torch.float32)
