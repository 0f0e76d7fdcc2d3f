"""SP against RepDistiller's numbers."""

import pytest
import torch

from distillers.sp import similarities
from tests.distillers import golden


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("sp"))
def test_sp(name, dtype):
    case = golden.load("sp", name)
    inputs = golden.inputs(case, dtype)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(case, "sp", student, teacher, dtype, weight=1.0)
    value = method(student, teacher, golden.batch(inputs))["sp"]
    golden.check(case, "sp", value, inputs)


def test_only_the_last_map_counts():
    case = golden.load("sp", "c0")
    inputs = golden.inputs(case, torch.float64)
    last = {f"{side}_feat1": inputs[f"{side}_feat0"] for side in "st"}
    before = {f"{side}_feat0": torch.rand(6, 3, 8, 8, dtype=torch.float64) for side in "st"}
    student, teacher = (golden.outputs(before | last, side) for side in "st")
    method = golden.build(case, "sp", student, teacher, torch.float64, weight=1.0)
    golden.check_value(case, "sp", method(student, teacher, golden.batch(inputs))["sp"])


def test_every_row_of_similarities_has_norm_1():
    rows = similarities(torch.rand(5, 3, 2, 2, dtype=torch.float64))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(5, dtype=torch.float64))


def test_a_dead_sample_has_no_large_gradient():
    inputs = {f"{side}_feat0": torch.rand(4, 3, 4, 4) for side in "st"}
    inputs["s_feat0"][1] = 0
    inputs["s_feat0"].requires_grad_()
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(
        golden.load("sp", "c0"), "sp", student, teacher, torch.float32, weight=1.0
    )
    method(student, teacher, golden.batch(inputs))["sp"].backward()
    assert inputs["s_feat0"].grad.abs().max() < 1
