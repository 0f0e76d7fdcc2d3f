"""Methods on feature maps that have a fixture: loops over their formulas, stages, projectors."""

import math

import pytest
import torch
from torch import nn

from distillers import Unsupported
from distillers.connectors import ConvReg
from distillers.kdsvd import decomposed, partners
from distillers.nst import discrepancy
from distillers.ofd import margin
from distillers.reviewkd import hierarchical_context
from distillers.sp import similarities
from tests.distillers import golden
from tests.distillers.golden_rows import example, stored
from tests.distillers.loops import normal

# ---- FitNet: regressors by the ratio of sizes ----------------------------------------------------


@pytest.mark.parametrize("teacher", [1, 2, 3, 4, 5, 6, 7, 8, 16])
def test_the_regressor_meets_the_teachers_size(teacher):
    regressor = ConvReg(torch.Size((2, 3, 8, 8)), torch.Size((2, 5, teacher, teacher)))
    assert regressor(torch.rand(2, 3, 8, 8)).shape == (2, 5, teacher, teacher)


@pytest.mark.parametrize("teacher", [9, 15, 17, 32])
def test_other_ratios_are_unsupported(teacher):
    with pytest.raises(Unsupported, match=f"student's map 8×8, teacher's {teacher}×{teacher}"):
        ConvReg(torch.Size((2, 3, 8, 8)), torch.Size((2, 5, teacher, teacher)))


# ---- KDSVD ---------------------------------------------------------------------------------------


def kdsvd(case, **options):
    """With signs of its own instead of the reference's."""
    made = example("kdsvd", case, **options)
    del made.method.orient
    return made


def test_own_signs_do_not_depend_on_the_librarys(monkeypatch):
    expected = kdsvd("c1").loss()
    plain = torch.linalg.eigh

    def flipped(matrix):
        values, vectors = plain(matrix)
        return values, vectors * torch.tensor([1.0, -1.0, -1.0], dtype=matrix.dtype)[:, None, None]

    monkeypatch.setattr(torch.linalg, "eigh", flipped)
    torch.testing.assert_close(kdsvd("c1").loss(), expected, rtol=1e-12, atol=0)


def test_kdsvd_of_a_network_that_is_its_own_teacher_is_zero():
    inputs = stored("kdsvd")
    assert kdsvd("c0", inputs={key: inputs[f"s{key[1:]}"] for key in inputs}).loss() == 0


@pytest.mark.parametrize("rank", [6, 2])
@pytest.mark.parametrize("shape", [(2, 9, 4), (2, 4, 9)], ids=["tall", "wide"])
@pytest.mark.parametrize("dtype", golden.DTYPES)
def test_the_decomposition_is_torchs(shape, rank, dtype):
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(*shape[:2], rank, generator=generator, dtype=dtype)
    matrix = left @ torch.randn(shape[0], rank, shape[2], generator=generator, dtype=dtype)
    squares, vectors = decomposed(matrix)
    _, values, rows = torch.linalg.svd(matrix, full_matrices=False)
    count = min(rank, 4)
    torch.testing.assert_close(squares.sqrt()[:, :count], values[:, :count])
    known = vectors[:, :, :count]
    torch.testing.assert_close(known.mT.abs(), rows[:, :count].abs(), rtol=1e-4, atol=1e-4)
    norms = vectors.norm(dim=1)
    assert ((norms - 1).abs() < 1e-5).logical_or(norms == 0).all()


@pytest.mark.parametrize("shape", [(2, 9, 4), (2, 3, 6)], ids=["tall", "wide"])
@pytest.mark.parametrize("count", [1, 2])
def test_the_gradient_of_partners_by_differences(shape, count):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    target = torch.randn(shape[0], shape[2], count, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m: partners(m, target, count + 3), matrix)


# ---- NST and SP ----------------------------------------------------------------------------------


def test_equal_channels_in_any_order_have_no_discrepancy():
    maps = torch.rand(3, 6, 4, 4, dtype=torch.float64)
    shuffled = maps[:, torch.randperm(6)] * 3
    torch.testing.assert_close(discrepancy(shuffled, maps), torch.zeros((), dtype=torch.float64))


def test_sp_reads_the_last_map_only():
    inputs = stored("sp")
    inputs |= {f"{side}_feat1": inputs[f"{side}_feat0"] for side in "st"}
    inputs |= {f"{side}_feat0": torch.rand(6, 3, 8, 8, dtype=torch.float64) for side in "st"}
    sp = example("sp", inputs=inputs)
    golden.check_value(sp.case, "sp", sp.loss())


def test_every_row_of_similarities_has_norm_1():
    rows = similarities(torch.rand(5, 3, 2, 2, dtype=torch.float64))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(5, dtype=torch.float64))


# ---- MGD -----------------------------------------------------------------------------------------


@torch.no_grad()
def test_mgd_without_masks_against_a_loop():
    """Sums over elements, a mean over samples."""
    mgd = example("mgd", "c1", weight=1.0, mask_ratio=0.0)
    del mgd.method.sample_mask
    assert isinstance(mgd.method.align, nn.Identity)
    first, _, second = mgd.method.generation
    total = 0.0
    for s, t in zip(mgd.inputs["s_feat0"], mgd.inputs["t_feat0"], strict=True):
        rebuilt = second(first(s[None]).clamp(min=0))[0]
        total += sum((a - b) ** 2 for a, b in zip(rebuilt.flatten(), t.flatten(), strict=True))
    assert mgd.loss().item() == pytest.approx(total.item() / 3, rel=1e-12)


def test_masks_of_mgd():
    """Whole channels of a sample, as often as asked for, others in every step."""
    mgd = example("mgd", mask_ratio=0.15)
    method, masks = mgd.method, []
    del method.sample_mask
    for step in range(2):
        method.generator = method.draw(golden.batch(mgd.inputs, step=step), "mask")
        masks.append(method.sample_mask((100, 200, 1, 1)))
    assert not torch.equal(*masks)
    for mask in masks:
        assert mask.shape == (100, 200, 1, 1)
        assert 1 - mask.float().mean().item() == pytest.approx(0.15, abs=0.01)


# ---- OFD and ReviewKD ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "bias", "expected"),
    [
        (1.0, 0.0, -0.797884561),
        (0.5, 0.3, -0.30751288),
        (0.2, -1.0, -1.0000003),
        (0.1, 1.0, -0.3),  # hardly ever negative
        (-0.7, 0.2, -0.491760502),
        (0.0, -0.4, -0.4),  # a constant
        (0.0, 0.4, 0.0),
        (0.0, 0.0, 0.0),
    ],
)
def test_margins(weight, bias, expected):
    value = margin(torch.tensor([weight]), torch.tensor([bias]))
    assert value.shape == (1, 1, 1)
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_margin_is_the_mean_of_the_negative_part():
    """By the midpoint rule."""
    mean, scale, steps = 0.3, 0.5, 100_000
    low = mean - 12 * scale
    points = [low + (k + 0.5) * -low / steps for k in range(steps)]
    masses = [math.exp(-(((x - mean) / scale) ** 2) / 2) for x in points]
    expected = sum(x * p for x, p in zip(points, masses, strict=True)) / sum(masses)
    value = margin(torch.tensor([scale]).double(), torch.tensor([mean]).double())
    assert value.item() == pytest.approx(expected, rel=1e-7)


def test_ofd_pairs_stages_from_the_last():
    inputs = stored("ofd", "c1")
    count = sum(item.startswith("s_preact") for item in inputs)
    later = {f"s_preact{i}": inputs.get(f"s_preact{i + 1}") for i in range(count)}
    ofd = example("ofd", "c1", inputs=stored("ofd", "c1", **later))
    assert [c[0].out_channels for c in ofd.method.connectors] == [8, 7]
    expected = ofd.case.tensor("aux", "margin1", torch.float64)[0]
    torch.testing.assert_close(ofd.method.margin0, expected, rtol=1e-6, atol=0)
    assert torch.isfinite(ofd.loss())


def test_reviewkd_pairs_levels_from_the_deepest():
    inputs = stored("reviewkd")
    count = sum(item.startswith("s_feat") for item in inputs)
    later = {f"s_feat{i}": inputs.get(f"s_feat{i + 1}") for i in range(count)}
    reviewkd = example("reviewkd", inputs=stored("reviewkd", **later))
    assert [f.expand[0].out_channels for f in reviewkd.method.fusions] == [10, 8]
    assert torch.isfinite(reviewkd.loss())


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 8])
def test_the_context_loss_of_reviewkd_against_a_loop(side):
    s, t = normal(2, 3, 2, side, side, seed=side)
    total, weights = float(((s - t) ** 2).mean()), [1.0]
    for pooled in (4, 2, 1):
        if pooled >= side:
            continue
        weights.append(weights[-1] / 2)
        means = [
            (s - t)[..., cell(y, side, pooled), cell(x, side, pooled)].mean((2, 3)).square()
            for y in range(pooled)
            for x in range(pooled)
        ]
        total += weights[-1] * float(torch.stack(means).mean())
    assert hierarchical_context(s, t).item() == pytest.approx(total / sum(weights), rel=1e-12)


def cell(index, side, cells):
    """The pixels of one cell of adaptive pooling."""
    return slice(index * side // cells, -(-(index + 1) * side // cells))


@pytest.mark.parametrize(("epochs", "epoch", "share"), [(240, 5, 0.25), (24, 1, 0.5), (24, 2, 1)])
def test_warm_up_of_reviewkd(epochs, epoch, share):
    reviewkd = example("reviewkd")
    reviewkd.method.info = golden.info(reviewkd.student, epochs=epochs)
    late, early = reviewkd.loss(epoch=epochs), reviewkd.loss(epoch=epoch)
    torch.testing.assert_close(early, share * late)
