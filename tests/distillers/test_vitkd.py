"""ViTKD: its masks, a loop over its formula, and networks of tokens through training."""

import pytest
import torch

import distillers
from tests.distillers import golden
from tests.distillers.golden_rows import example
from tests.distillers.token_net import TokenNet


@torch.no_grad()
def test_generation_by_a_loop():
    vitkd = example("vitkd", generation_weight=1.0)
    method, inputs = vitkd.method, vitkd.inputs
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
    value = vitkd.losses()["vitkd.generation"]
    assert value.item() == pytest.approx(total / (0.5 * 3), rel=1e-12)


@pytest.mark.parametrize(("ratio", "kept"), [(0.5, 24), (0.75, 12), (0.9, 4), (1.0, 0)])
def test_masks(ratio, kept):
    vitkd = example("vitkd", mask_ratio=ratio)
    method = vitkd.method
    del method.sample_mask  # the reference's
    method.generator = method.draw(golden.batch(vitkd.inputs), "mask")
    mask = method.sample_mask((5, 49))
    assert mask.sum(dim=1).tolist() == [kept] * 5
    assert kept == 0 or len(set(map(tuple, mask.tolist()))) == 5


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
