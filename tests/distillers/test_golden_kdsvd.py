"""KDSVD against RepDistiller's and mdistiller's numbers, with the signs their library gave."""

import pytest
import torch

import distillers
from distillers.kdsvd import decomposed, partners
from tests.distillers import golden


def build(case, inputs, dtype, signs=True):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    vectors = "width" if case.hparams.get("variant") == "mdistiller" else "channels"
    method = golden.build(case, "kdsvd", student, teacher, dtype, weight=1.0, vectors=vectors)
    if signs:
        stages = iter(range(9))

        def orient(found):
            theirs = case.tensor("aux", f"t_v{next(stages)}", dtype)
            torch.testing.assert_close(found.abs(), theirs.abs(), atol=1e-4, rtol=0)
            return found * (found * theirs).sum(dim=1, keepdim=True).sign()

        method.orient = orient
    return method


def run(method, inputs):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    return method(student, teacher, golden.batch(inputs))["kdsvd"]


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", ["c0", "c1"])
def test_channels(name, dtype):
    case = golden.load("kdsvd", name)
    inputs = golden.inputs(case, dtype)
    value = run(build(case, inputs, dtype), inputs)
    golden.check(case, "total", value, inputs)


def test_width_as_in_mdistiller():
    """In float32 only: the reference computes in nothing else."""
    case = golden.load("kdsvd", "c2")
    inputs = golden.inputs(case, torch.float32)
    value = run(build(case, inputs, torch.float32), inputs)
    golden.check(case, "md_total", value, inputs)


def test_own_signs_do_not_depend_on_the_librarys(monkeypatch):
    case = golden.load("kdsvd", "c1")
    inputs = golden.inputs(case, torch.float64)
    expected = run(build(case, inputs, torch.float64, signs=False), inputs)
    plain = torch.linalg.eigh

    def flipped(matrix):
        values, vectors = plain(matrix)
        return values, vectors * torch.tensor([1.0, -1.0, -1.0], dtype=matrix.dtype)[:, None, None]

    monkeypatch.setattr(torch.linalg, "eigh", flipped)
    actual = run(build(case, inputs, torch.float64, signs=False), inputs)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)


def test_a_network_that_is_its_own_teacher_has_no_loss():
    case = golden.load("kdsvd", "c0")
    inputs = golden.inputs(case, torch.float64)
    same = {key: inputs[f"s{key[1:]}"] for key in inputs}
    assert run(build(case, same, torch.float64, signs=False), same) == 0


@pytest.mark.parametrize("rank", [6, 2])
@pytest.mark.parametrize("shape", [(2, 9, 4), (2, 4, 9)], ids=["tall", "wide"])
@pytest.mark.parametrize("dtype", golden.DTYPES)
def test_the_decomposition(shape, rank, dtype):
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


def test_dead_channels_and_dead_samples_have_finite_gradients():
    inputs = {f"{side}_feat{i}": torch.rand(3, 6, 2, 2) for side in "st" for i in range(2)}
    inputs["s_feat0"][:, 2:] = 0
    inputs["s_feat1"][0] = 0
    inputs["t_feat1"][1] = 0
    for stage in range(2):
        inputs[f"s_feat{stage}"].requires_grad_()
    value = run(build(golden.load("kdsvd", "c0"), inputs, torch.float32, signs=False), inputs)
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(inputs[f"s_feat{i}"].grad).all() for i in range(2))


def test_channels_must_agree():
    case = golden.load("kdsvd", "c2")
    inputs = golden.inputs(case, torch.float32)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    with pytest.raises(distillers.Unsupported, match=r"equal channels, stage 1 has 3 .* and 4"):
        golden.build(case, "kdsvd", student, teacher, torch.float32)
