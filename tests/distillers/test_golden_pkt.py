"""PKT against RepDistiller's numbers and against a plain loop."""

import math

import pytest
import torch

from tests.distillers import golden


def run(case, inputs, dtype):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(case, "pkt", student, teacher, dtype, weight=1.0)
    return method(student, teacher, golden.batch(inputs))["pkt"]


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("pkt"))
def test_pkt(name, dtype):
    case = golden.load("pkt", name)
    inputs = golden.inputs(case, dtype)
    value = run(case, inputs, dtype)
    golden.check(case, "pkt", value, inputs)


def probabilities(embedding):
    rows = embedding.tolist()

    def kernel(a, b):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return (dot / math.hypot(*a) / math.hypot(*b) + 1) / 2

    table = [[kernel(a, b) for b in rows] for a in rows]
    return [[entry / sum(line) for entry in line] for line in table]


def test_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    sizes = {"s": 7, "t": 4}
    inputs = {
        f"{side}_embedding": torch.randn(5, size, generator=generator, dtype=torch.float64)
        for side, size in sizes.items()
    }
    s, t = (probabilities(inputs[f"{side}_embedding"]) for side in "st")
    expected = sum(t[i][j] * math.log(t[i][j] / s[i][j]) for i in range(5) for j in range(5)) / 25
    value = run(golden.load("pkt", "c0"), inputs, torch.float64)
    assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-7)  # without the two 1e-7


def test_a_zero_embedding_has_no_gradient():
    inputs = {f"{side}_embedding": torch.rand(4, 3) for side in "st"}
    inputs["s_embedding"][1] = 0
    inputs["s_embedding"].requires_grad_()
    run(golden.load("pkt", "c0"), inputs, torch.float32).backward()
    gradient = inputs["s_embedding"].grad
    assert gradient[1].abs().max() == 0
    assert 0 < gradient.abs().max() < 1
