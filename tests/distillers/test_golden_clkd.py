"""CLKD against StreamLined's numbers; the other readings of the correlation against loops."""

import pytest
import torch

from tests.distillers import golden

PARTS = {"instance": 0.5, "class": 1.0, "correlation": 0.4}  # mu, mu · beta, nu
NAMES = {"instance": "instance", "class": "clazz", "correlation": "class_corr"}


def run(case, dtype, **options):
    inputs = golden.inputs(case, dtype)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    options = {"correlation": "class_covariance"} | options
    method = golden.build(case, "clkd", student, teacher, dtype, **options)
    return inputs, method(student, teacher, golden.batch(inputs))


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("clkd"))
def test_clkd(name, dtype):
    case = golden.load("clkd", name)
    hparams = case.hparams
    assert [hparams[k] for k in ("lamb", "mu", "nu", "beta")] == [0.1, 0.5, 0.4, 2.0]
    inputs, losses = run(case, dtype, ce=0.1)
    golden.check_value(case, "loss_ce", losses.pop("ce"))
    for part, weight in PARTS.items():
        golden.check_value(case, NAMES[part], losses[f"clkd.{part}"] / weight)
    total = torch.stack(list(losses.values())).sum()
    golden.check_value(case, "loss_kd", total)
    total.backward()
    golden.check_gradients(case, inputs)


def class_vectors(logits, kind):
    """The B-vectors, one per class, whose outer products are summed."""
    rows, classes = logits.shape
    means = logits.mean(dim=1) if kind == "row_centered" else None
    for j in range(classes):
        column = logits[:, j]
        yield column - (means if means is not None else column.sum() / rows)


@pytest.mark.parametrize("kind", ["row_centered", "column_centered"])
@pytest.mark.parametrize("name", golden.names("clkd"))
def test_sample_correlations_by_a_loop(name, kind):
    case = golden.load("clkd", name)
    inputs, losses = run(case, torch.float64, correlation=kind, correlation_weight=1.0)
    matrices = []
    for side in "st":
        logits = inputs[f"{side}_logits"].detach()
        outer = sum(torch.outer(v, v) for v in class_vectors(logits, kind))
        matrices.append(outer / (logits.shape[1] - 1))
    expected = (matrices[0] - matrices[1]).square().sum() / logits.shape[1] ** 2
    torch.testing.assert_close(losses["clkd.correlation"].detach(), expected, rtol=1e-10, atol=0)


def test_the_sheets_numbers_of_all_three_readings():
    """Inputs by formula: s · sin(a k + 0.0037 k² + b); values computed once from three sources."""
    case, k = golden.load("clkd", "c0"), torch.arange(80, dtype=torch.float64)
    logits = [
        (s * torch.sin(a * k + 0.0037 * k**2 + b)).float().reshape(8, 10)
        for a, b, s in ((1.3, 0.2, 3), (0.7, 0.5, 4))
    ]
    expected = {
        "column_centered": 6.46291876,
        "class_covariance": 0.443613082,
        "row_centered": 6.88094378,
    }
    student, teacher = (golden.outputs({"s_logits": z.double()}, "s") for z in logits)
    for kind, value in expected.items():
        method = golden.build(case, "clkd", student, teacher, torch.float64, correlation=kind)
        losses = method(student, teacher, golden.batch({"s_logits": student.logits}))
        found = losses["clkd.correlation"].item() / 0.4
        assert found == pytest.approx(value, rel=1e-5), kind
