"""CC against RepDistiller's numbers; the paper's kernel against a plain loop."""

import math

import pytest
import torch

import distillers
from tests.distillers import golden

HEADS = {
    f"embed_{side[0]}.linear.{kind}": f"embed_{side}.{kind}"
    for side in ("student", "teacher")
    for kind in ("weight", "bias")
}


def build(case, inputs, dtype, **options):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    return golden.build(case, "cc", student, teacher, dtype, weight=1.0, **options)


def run(method, inputs):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    return method(student, teacher, golden.batch(inputs))["cc"]


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("cc"))
def test_cc(name, dtype):
    case = golden.load("cc", name)
    inputs = golden.inputs(case, dtype)
    method = build(case, inputs, dtype, feature_dim=case.hparams.get("feat_dim"))
    value = run(method, inputs)
    golden.check(case, "cc", value, inputs)
    golden.check_parameter_gradients(case, method, HEADS if method.options.feature_dim else {})


def random_inputs(size=5, widths=(4, 4)):
    generator = torch.Generator().manual_seed(0)
    return {
        f"{side}_embedding": torch.randn(size, width, generator=generator, dtype=torch.float64)
        for side, width in zip("st", widths, strict=True)
    }


def kernel_matrix(embedding, gamma, value):
    unit = torch.nn.functional.normalize(embedding, dim=1)
    return [[value(gamma, float(a @ b)) for b in unit] for a in unit]


def taylor(gamma, dot):
    return math.exp(-2 * gamma) * (1 + 2 * gamma * dot + (2 * gamma * dot) ** 2 / 2)


def gaussian(gamma, dot):
    return math.exp(-gamma * (2 - 2 * dot))  # ‖a − b‖² of unit vectors


@pytest.mark.parametrize(("order", "value"), [(2, taylor), (30, gaussian)])
def test_the_kernel_against_a_loop(order, value):
    inputs = random_inputs(widths=(6, 4))
    method = build(
        golden.load("cc", "c0"),
        inputs,
        torch.float64,
        feature_dim=None,
        congruence="kernel",
        order=order,
    )
    s, t = (kernel_matrix(inputs[f"{side}_embedding"], 0.4, value) for side in "st")
    expected = sum((s[i][j] - t[i][j]) ** 2 for i in range(5) for j in range(5)) / 25
    assert run(method, inputs).item() == pytest.approx(expected, rel=1e-10)


def test_the_kernel_trains_both_heads():
    inputs = random_inputs(widths=(6, 4))
    method = build(golden.load("cc", "c0"), inputs, torch.float64, congruence="kernel")
    run(method, inputs).backward()
    assert all(p.grad.abs().max() > 0 for p in method.parameters())


def test_without_heads_the_widths_must_agree():
    inputs = random_inputs(widths=(6, 4))
    with pytest.raises(distillers.Unsupported, match=r"one width, not 6 .* and 4"):
        build(golden.load("cc", "c0"), inputs, torch.float64, feature_dim=None)
