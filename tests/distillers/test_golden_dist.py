"""DIST against the authors' numbers; correlations where there is no variance."""

import pytest
import torch

from distillers.dist import pearson
from tests.distillers import golden


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("dist"))
def test_dist(name, dtype):
    case = golden.load("dist", name)
    inputs, hparams = golden.inputs(case, dtype), case.hparams
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    scales = {"inter": hparams["tau"] ** 2 * hparams["beta"]}
    scales["intra"] = hparams["tau"] ** 2 * hparams["gamma"]
    options = {"beta": hparams["beta"], "gamma": hparams["gamma"], "temperature": hparams["tau"]}
    method = golden.build(case, "dist", student, teacher, dtype, weight=1.0, **options)
    losses = method(student, teacher, golden.batch(inputs))
    for part, scale in scales.items():
        golden.check_value(case, part, losses[f"dist.{part}"] / scale)
    total = losses["dist.inter"] + losses["dist.intra"]
    golden.check_value(case, "dist", total)
    total.backward()
    golden.check_gradients(case, inputs)


def test_correlations_are_those_of_torch():
    pair = torch.randn(2, 5, 7, dtype=torch.float64)
    expected = torch.stack([torch.corrcoef(torch.stack(rows))[0, 1] for rows in zip(*pair)])  # noqa: B905
    torch.testing.assert_close(pearson(*pair), expected, rtol=1e-6, atol=0)


def test_a_constant_row_has_no_correlation_and_no_gradient():
    constant = torch.full((1, 7), 0.25, requires_grad=True)
    value = pearson(constant, torch.randn(1, 7))
    value.sum().backward()
    assert value == 0 and not constant.grad.any()
