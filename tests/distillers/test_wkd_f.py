"""WKD-F against a loop over the paper's formula."""

import math

import pytest
import torch
from torch import nn

from distillers import Unsupported
from distillers.wkd_f import gaussian_loss
from tests.distillers import golden
from tests.distillers.loops import draw

SIZE, CHANNELS, RATIO = 3, 4, 2.5


def drawn(height=6, width=6):
    student, teacher = draw(*2 * [(SIZE, CHANNELS, height, width)], seed=height)
    return student.requires_grad_(), teacher


def mean_and_deviation(values):
    mean = sum(values) / len(values)
    squares = sum((v - mean) ** 2 for v in values)
    return mean, math.sqrt(squares / max(len(values) - 1, 1) + 1e-5)


def expected(student, teacher, grid):
    """Cells of adaptive pooling: from floor(i h / grid) up to ceil((i + 1) h / grid)."""
    total, (height, width) = 0.0, student.shape[2:]
    for i in range(grid):
        rows = range(math.floor(i * height / grid), math.ceil((i + 1) * height / grid))
        for j in range(grid):
            columns = range(math.floor(j * width / grid), math.ceil((j + 1) * width / grid))
            for b in range(SIZE):
                for c in range(CHANNELS):
                    (mean_s, dev_s), (mean_t, dev_t) = (
                        mean_and_deviation([z[b, c, y, x].item() for y in rows for x in columns])
                        for z in (student, teacher)
                    )
                    total += RATIO * (mean_s - mean_t) ** 2 + (dev_s - dev_t) ** 2
    return total / SIZE / grid**2


SHAPES = [(6, 6, 1), (6, 6, 2), (7, 5, 4), (1, 1, 1), (2, 2, 4)]


@pytest.mark.parametrize(("height", "width", "grid"), SHAPES)
def test_against_a_loop(height, width, grid):
    student, teacher = drawn(height, width)
    value = gaussian_loss(student, teacher, RATIO, grid).item()
    assert value == pytest.approx(expected(student, teacher, grid), rel=1e-12)


@pytest.mark.parametrize(("height", "width", "grid"), SHAPES)
def test_the_gradient_by_differences(height, width, grid):
    student, teacher = drawn(height, width)
    assert torch.autograd.gradcheck(lambda s: gaussian_loss(s, teacher, RATIO, grid), student)


def test_it_is_the_wasserstein_distance_of_diagonal_gaussians():
    """tr(A + B − 2 (A^½ B A^½)^½) of the covariances, at ratio 1."""
    student, teacher = drawn()
    (mean_s, a), (mean_t, b) = (
        (z.flatten(2).mean(2), torch.diag_embed(z.flatten(2).var(2) + 1e-5))
        for z in (student, teacher)
    )
    root = (a.sqrt() @ b @ a.sqrt()).sqrt()
    traces = (a + b - 2 * root).diagonal(dim1=1, dim2=2).sum(1)
    distance = ((mean_s - mean_t).square().sum(1) + traces).mean()
    torch.testing.assert_close(gaussian_loss(student, teacher, 1.0, 1), distance)


def test_positions_within_a_cell_do_not_matter():
    student, teacher = drawn()
    shuffled = student.flatten(2)[:, :, torch.randperm(36)].view_as(student)
    same, other = (gaussian_loss(shuffled, teacher, RATIO, grid) for grid in (1, 2))
    torch.testing.assert_close(same, gaussian_loss(student, teacher, RATIO, 1))
    assert abs(other - gaussian_loss(student, teacher, RATIO, 2)) > 1e-3


def test_constant_maps_have_finite_gradients():
    student = torch.zeros(SIZE, CHANNELS, 4, 4, requires_grad=True)
    for teacher in (torch.zeros_like(student), torch.ones_like(student)):
        gaussian_loss(student, teacher, RATIO, 2).backward()
        assert torch.isfinite(student.grad).all()


# ---- the method ----------------------------------------------------------------------------------


def outputs(maps):
    return golden.outputs({"s_feat0": maps}, "s")


def build(student, teacher, **options):
    return golden.build("wkd_f", outputs(student), outputs(teacher), torch.float64, **options)


def run(method, student, teacher, epoch=1):
    batch = golden.batch({"s_feat0": student}, epoch=epoch)
    return method(outputs(student), outputs(teacher), batch)["wkd_f"]


@pytest.mark.parametrize("projector", ["convolution", "bottleneck"])
def test_the_student_goes_through_the_projector(projector):
    student, teacher = drawn()
    student = student[:, :3].detach().requires_grad_()
    method = build(student, teacher, weight=0.5, mean_ratio=RATIO, grid=2, projector=projector)
    projected = method.projector(student)
    assert projected.shape == teacher.shape and (projected >= 0).all()
    value = run(method, student, teacher)
    assert value.item() == pytest.approx(0.5 * expected(projected, teacher, 2), rel=1e-10)
    value.backward()
    norm = next(m for m in method.modules() if isinstance(m, nn.BatchNorm2d))
    assert student.grad.any() and norm.weight.grad.any()


def test_the_bottleneck_needs_equal_sizes():
    (student, _), (_, teacher) = drawn(6, 6), drawn(3, 3)
    build(student, teacher)
    with pytest.raises(Unsupported, match=r"maps of 6×6 and 3×3"):
        build(student, teacher, projector="bottleneck")


@pytest.mark.parametrize(("epoch", "share"), [(1, 1.0), (150, 1.0), (195, 0.5), (240, 0.0)])
def test_the_weight_decays(epoch, share):
    student, teacher = drawn()
    method = build(student, teacher)
    full = run(method, student, teacher)
    torch.testing.assert_close(run(method, student, teacher, epoch), share * full)


def test_the_decay_may_start_with_the_first_epoch():
    student, teacher = drawn()
    late, early = build(student, teacher), build(student, teacher, decay_start=0.0)
    half = run(early, student, teacher, epoch=120)
    torch.testing.assert_close(half, run(late, student, teacher) / 2)
