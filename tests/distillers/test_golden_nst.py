"""NST against RepDistiller's numbers, in total and stage by stage."""

import pytest
import torch

from distillers.nst import discrepancy
from tests.distillers import golden


def run(case, inputs, dtype):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(case, "nst", student, teacher, dtype, weight=1.0)
    return method(student, teacher, golden.batch(inputs))["nst"]


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("nst"))
def test_nst(name, dtype):
    case = golden.load("nst", name)
    inputs = golden.inputs(case, dtype)
    value = run(case, inputs, dtype)
    golden.check(case, "total", value, inputs)


@pytest.mark.parametrize("name", golden.names("nst"))
def test_nst_by_stage(name):
    case = golden.load("nst", name)
    inputs = golden.inputs(case, torch.float64)
    for stage in range(sum(item.startswith("stage") for item in case.groups["out64"])):
        pair = {f"{side}_feat0": inputs[f"{side}_feat{stage}"] for side in "st"}
        golden.check_value(case, f"stage{stage}", run(case, pair, torch.float64))


def test_equal_channels_in_any_order_have_no_discrepancy():
    maps = torch.rand(3, 6, 4, 4, dtype=torch.float64)
    shuffled = maps[:, torch.randperm(6)] * 3
    torch.testing.assert_close(discrepancy(shuffled, maps), torch.zeros((), dtype=torch.float64))


def test_dead_channels_stay_finite():
    inputs = {f"{side}_feat0": torch.rand(2, 3, 4, 4) for side in "st"}
    inputs["s_feat0"][:, 1] = 0
    inputs["s_feat0"].requires_grad_()
    value = run(golden.load("nst", "c0"), inputs, torch.float32)
    value.backward()
    assert torch.isfinite(value) and inputs["s_feat0"].grad.abs().max() < 10
