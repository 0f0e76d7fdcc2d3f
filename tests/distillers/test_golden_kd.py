"""KD against RepDistiller's, mdistiller's and, with variant "cross_entropy", cls_KD's numbers."""

import pytest

import distillers
from tests.distillers import golden


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("kd"))
def test_kd(name, dtype):
    case = golden.load("kd", name)
    inputs, hparams = golden.inputs(case, dtype), case.hparams
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    weights = {"ce": hparams["ce_weight"], "kd": hparams["kd_weight"]}
    method = golden.build(
        case, "kd", student, teacher, dtype, kd_temperature=hparams["T"], **weights
    )
    losses = method(student, teacher, golden.batch(inputs))
    assert set(losses) == {"ce", "kd"}
    golden.check_value(case, "md_loss_ce", losses["ce"])
    golden.check_value(case, "md_loss_kd", losses["kd"])
    golden.check_value(case, "kd", losses["kd"] / hparams["kd_weight"])
    (losses["kd"] / hparams["kd_weight"]).backward()
    golden.check_gradients(case, inputs)


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("kd_clskd"))
def test_cross_entropy_variant(name, dtype):
    case = golden.load("kd_clskd", name)
    inputs, alpha = golden.inputs(case, dtype), case.hparams["alpha"]
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    options = {"kd": alpha, "kd_temperature": case.hparams["temp"], "variant": "cross_entropy"}
    method = golden.build(case, "kd", student, teacher, dtype, **options)
    losses = method(student, teacher, golden.batch(inputs))
    assert set(losses) == {"kd"}
    golden.check_value(case, "kd", losses["kd"])
    losses["kd"].backward()
    golden.check_gradients(case, inputs)


def test_its_preset_has_the_weights_of_cls_kd():
    case = golden.load("kd_clskd", "c0")
    preset = distillers.defaults("kd", "cls_kd")
    assert preset["ce"] == case.tensor("aux", "ce_factor") == 1 - preset["kd"]
    assert (preset["kd"], preset["kd_temperature"]) == (0.5, 3.0)
    assert distillers.defaults("kd")["variant"] == "kl_divergence"
