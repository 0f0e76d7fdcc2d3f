"""ViTKD against cls_KD's numbers; its masks; networks of tokens through its whole life."""

import dataclasses

import pytest
import torch

import distillers
from distillers import MethodError, Unsupported
from tests.distillers import golden
from tests.distillers.token_net import TokenNet


def outputs(inputs, side):
    low, high = inputs[f"{side}_low"], inputs[f"{side}_high"]
    return golden.outputs(inputs, side, tokens=(low[:, 0], low[:, 1], high))


def build(case, dtype, **options):
    inputs = golden.inputs(case, dtype)
    student, teacher = outputs(inputs, "s"), outputs(inputs, "t")
    options = {
        "mimic_weight": case.hparams["alpha_vitkd"],
        "generation_weight": case.hparams["beta_vitkd"],
        "mask_ratio": case.hparams["lambda_vitkd"],
    } | options
    return golden.build(case, "vitkd", student, teacher, dtype, **options), student, teacher, inputs


def names(case):
    found = {}
    for name in case.groups["pgrad"]:
        ours = name.removeprefix("vitkd.")
        found[name] = ours.replace("align2.", "mimics.")
    return found


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("vitkd"))
def test_vitkd(name, dtype):
    case = golden.load("vitkd", name)
    method, student, teacher, inputs = build(case, dtype)
    noise = inputs["noise"]
    smallest = noise.kthvalue(int(noise.shape[1] * (1 - case.hparams["lambda_vitkd"])))
    method.sample_mask = lambda shape: noise <= smallest.values[:, None]
    losses = method(student, teacher, golden.batch(inputs))
    golden.check_value(case, "mimic", losses["vitkd.mimic"])
    golden.check_value(case, "generation", losses["vitkd.generation"])
    total = losses["vitkd.mimic"] + losses["vitkd.generation"]
    golden.check_value(case, "vitkd", total)
    total.backward()
    golden.check_gradients(case, inputs)
    golden.check_parameter_gradients(case, method, names(case))
    assert set(names(case).values()) == {name for name, _ in method.named_parameters()}


@torch.no_grad()
def test_generation_by_a_loop():
    case = golden.load("vitkd", "c0")
    method, student, teacher, inputs = build(case, torch.float64, generation_weight=1.0)
    kept = torch.tensor([[1, 0, 0, 1, 1, 0, 0, 1, 0]]).bool().expand(3, -1)
    method.sample_mask = lambda shape: kept
    total = 0.0
    for s, t in zip(inputs["s_high"], inputs["t_high"], strict=True):
        grid = torch.zeros(1, 8, 3, 3, dtype=torch.float64)
        for place in range(9):
            token = method.align(s[place]) if kept[0, place] else method.mask_token[0, 0]
            grid[0, :, place // 3, place % 3] = token
        rebuilt = method.generation(grid)[0]
        for place in range(9):
            if not kept[0, place]:
                error = rebuilt[:, place // 3, place % 3] - t[place]
                total += error.pow(2).sum().item()
    value = method(student, teacher, golden.batch(inputs))["vitkd.generation"]
    assert value.item() == pytest.approx(total / (0.5 * 3), rel=1e-12)


@pytest.mark.parametrize(("ratio", "kept"), [(0.5, 24), (0.75, 12), (0.9, 4), (1.0, 0)])
def test_masks(ratio, kept):
    method, _, _, inputs = build(golden.load("vitkd", "c0"), torch.float32, mask_ratio=ratio)
    method.generator = method.draw(golden.batch(inputs), "mask")
    mask = method.sample_mask((5, 49))
    assert mask.sum(dim=1).tolist() == [kept] * 5
    assert kept == 0 or len(set(map(tuple, mask.tolist()))) == 5


@pytest.mark.parametrize("ratio", [0.0, -0.5, 1.5])
def test_a_share_that_is_none(ratio):
    with pytest.raises(MethodError, match=r"mask_ratio = .*: expected a number above 0 to 1"):
        build(golden.load("vitkd", "c0"), torch.float32, mask_ratio=ratio)


def test_other_grids_are_unsupported():
    case = golden.load("vitkd", "c0")
    inputs = golden.inputs(case, torch.float32)
    student, teacher = outputs(inputs, "s"), outputs(inputs, "t")
    for tokens, count in ((student.tokens, 4), (teacher.tokens, 8)):
        short = dataclasses.replace(student, tokens=tuple(t[:, :count] for t in tokens))
        other = teacher if count == 4 else short
        with pytest.raises(Unsupported, match=f"student has {count} tokens, the teacher"):
            golden.build(case, "vitkd", short, other, torch.float32)
    few = dataclasses.replace(student, tokens=student.tokens[:2])
    with pytest.raises(Unsupported, match="expected more than 2 layers"):
        golden.build(case, "vitkd", few, teacher, torch.float32)


# ---- a network -----------------------------------------------------------------------------------


def networks():
    torch.manual_seed(0)
    student, teacher = TokenNet(6), TokenNet(8).eval()
    images = torch.randn(4, 3, 16, 16)
    return student, teacher, images


def make(student, teacher, images, **options):
    torch.manual_seed(1)
    info = golden.info(student.outputs(images), image_size=16)
    return distillers.build("vitkd", student, teacher, info, **options)


@pytest.mark.parametrize("size", [1, 4])
def test_a_network_of_tokens_learns(size):
    student, teacher, images = networks()
    method = make(student, teacher, images, mimic_weight=1e-2, generation_weight=1e-2)
    params = [*student.parameters(), *method.parameters()]
    optimizer = torch.optim.SGD(params, lr=0.01)
    batch, values = golden.batch({"images": images[:size]}), []
    for _ in range(20):
        optimizer.zero_grad()
        outputs = [net.outputs(images[:size]) for net in (student, teacher)]
        losses = method(*outputs, batch)
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < 0.9 * values[0]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())
    assert all(p.grad is None for p in teacher.parameters())


def test_losses_are_a_function_of_the_step():
    student, teacher, images = networks()
    first, second = (make(student, teacher, images, seed=3) for _ in range(2))
    found = [net.outputs(images) for net in (student, teacher)]
    batches = [golden.batch({"images": images}, step=step) for step in range(2)]
    assert first(*found, batches[0]) == second(*found, batches[0])
    assert first(*found, batches[1]) != second(*found, batches[0])


def test_half_precision():
    student, teacher, images = networks()
    method = make(student, teacher, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [net.outputs(images) for net in (student, teacher)]
        losses = method(*found, golden.batch({"images": images}))
    assert {value.dtype for value in losses.values()} == {torch.float32}


def test_networks_of_maps_are_unsupported():
    case = golden.load("mgd", "c0")
    inputs = golden.inputs(case, torch.float32)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    with pytest.raises(Unsupported, match="vitkd needs tokens"):
        golden.build(case, "vitkd", student, teacher, torch.float32)
