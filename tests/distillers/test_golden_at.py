"""AT against RepDistiller's numbers, stage by stage."""

import pytest
import torch

from tests.distillers import golden


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("at"))
def test_at(name, dtype):
    case = golden.load("at", name)
    inputs = golden.inputs(case, dtype)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(case, "at", student, teacher, dtype, weight=1.0, power=case.hparams["p"])
    value = method(student, teacher, golden.batch(inputs))["at"]
    golden.check(case, "total", value, inputs)


@pytest.mark.parametrize("name", golden.names("at"))
def test_at_by_stage(name):
    case = golden.load("at", name)
    inputs = golden.inputs(case, torch.float64)
    for stage in range(sum(item.startswith("stage") for item in case.groups["out64"])):
        pair = {f"{side}_feat0": inputs[f"{side}_feat{stage}"] for side in "st"}
        student, teacher = golden.outputs(pair, "s"), golden.outputs(pair, "t")
        method = golden.build(case, "at", student, teacher, torch.float64, weight=1.0)
        value = method(student, teacher, golden.batch(pair))["at"]
        golden.check_value(case, f"stage{stage}", value)


def test_a_dead_map_gives_zero_attention_and_finite_gradients():
    inputs = {"s_feat0": torch.zeros(4, 3, 8, 8, requires_grad=True)}
    inputs["t_feat0"] = torch.rand(4, 5, 4, 4)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(golden.load("at", "c0"), "at", student, teacher, torch.float32)
    method(student, teacher, golden.batch(inputs))["at"].backward()
    assert inputs["s_feat0"].grad.abs().max() == 0
