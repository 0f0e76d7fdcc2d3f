"""VID against RepDistiller's numbers, one stage per case, and against torch's Gaussian."""

import math

import pytest
import torch

import distillers
from tests.distillers import golden

PARAMETERS = {
    "vid.log_scale": "predictors.0.log_scale",
    **{f"vid.regressor.{i}.weight": f"predictors.0.mean.{i}.weight" for i in (0, 2, 4)},
}


def build(case, inputs, dtype):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    hparams = case.hparams
    method = golden.build(
        case,
        "vid",
        student,
        teacher,
        dtype,
        weight=1.0,
        initial_variance=hparams["init_pred_var"],
        hidden_channels=hparams["mid_channels"],
    )
    if case.params["fill_exceptions"]:
        initial = math.log(math.exp(hparams["init_pred_var"] - hparams["eps"]) - 1)
        torch.nn.init.constant_(method.predictors[0].log_scale, initial)
    return method


def run(method, inputs):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    return method(student, teacher, golden.batch(inputs))["vid"]


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("vid"))
def test_vid(name, dtype):
    case = golden.load("vid", name)
    inputs = golden.inputs(case, dtype)
    method = build(case, inputs, dtype)
    value = run(method, inputs)
    golden.check(case, "vid", value, inputs)
    golden.check_parameter_gradients(case, method, PARAMETERS)


def test_against_torch_over_two_stages():
    inputs = {
        "s_feat0": torch.rand(3, 4, 8, 8, dtype=torch.float64),
        "s_feat1": torch.rand(3, 5, 4, 4, dtype=torch.float64),
        "t_feat0": torch.rand(3, 6, 8, 8, dtype=torch.float64),
        "t_feat1": torch.rand(3, 7, 4, 4, dtype=torch.float64),
    }
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    case = golden.load("vid", "c0")
    method = golden.build(case, "vid", student, teacher, torch.float64, initial_variance=3.0)
    expected = 0.0
    for stage, predictor in enumerate(method.predictors):
        torch.nn.init.constant_(predictor.log_scale, math.log(math.exp(3 - 1e-5) - 1))
        density = torch.distributions.Normal(predictor.mean(inputs[f"s_feat{stage}"]), 3**0.5)
        log_p = density.log_prob(inputs[f"t_feat{stage}"]) + math.log(2 * math.pi) / 2
        expected -= log_p.mean()
    torch.testing.assert_close(run(method, inputs), expected)


def test_the_variance_starts_where_it_is_asked_for():
    inputs = golden.inputs(golden.load("vid", "c2"), torch.float64)
    student, teacher = (golden.StandIn(golden.outputs(inputs, side)) for side in "st")
    data = golden.info(golden.outputs(inputs, "s"))
    method = distillers.build("vid", student, teacher, data, initial_variance=2.0)
    log_scale = method.predictors[0].log_scale
    torch.testing.assert_close(torch.nn.functional.softplus(log_scale), torch.full((5,), 2 - 1e-5))
