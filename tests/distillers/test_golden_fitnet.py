"""FitNet against RepDistiller's numbers; regressors by spatial ratio."""

import pytest
import torch

from distillers import Unsupported
from distillers.connectors import ConvReg
from tests.distillers import golden


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("fitnet"))
def test_fitnet(name, dtype):
    case = golden.load("fitnet", name)
    inputs = golden.inputs(case, dtype)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(case, "fitnet", student, teacher, dtype, weight=1.0, hint_layer=1)
    losses = method(student, teacher, golden.batch(inputs))
    golden.check_value(case, "hint", losses["fitnet"])
    losses["fitnet"].backward()
    golden.check_gradients(case, inputs)
    golden.check_parameter_gradients(
        case,
        method,
        {
            "regress.conv.weight": "regressor.0.weight",
            "regress.conv.bias": "regressor.0.bias",
            "regress.bn.weight": "regressor.1.weight",
            "regress.bn.bias": "regressor.1.bias",
        },
    )


@pytest.mark.parametrize("teacher", [1, 2, 3, 4, 5, 6, 7, 8, 16])
def test_the_regressor_meets_the_teachers_size(teacher):
    regressor = ConvReg(torch.Size((2, 3, 8, 8)), torch.Size((2, 5, teacher, teacher)))
    assert regressor(torch.rand(2, 3, 8, 8)).shape == (2, 5, teacher, teacher)


@pytest.mark.parametrize("teacher", [9, 15, 17, 32])
def test_other_ratios_are_unsupported(teacher):
    with pytest.raises(Unsupported, match=f"student's map 8×8, teacher's {teacher}×{teacher}"):
        ConvReg(torch.Size((2, 3, 8, 8)), torch.Size((2, 5, teacher, teacher)))


def test_a_missing_hint_layer_is_unsupported():
    case = golden.load("fitnet", "c0")
    inputs = golden.inputs(case, torch.float32)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    with pytest.raises(Unsupported, match="hint_layer 2 of 2 feature maps"):
        golden.build(case, "fitnet", student, teacher, torch.float32)
