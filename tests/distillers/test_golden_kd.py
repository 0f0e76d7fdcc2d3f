"""KD against RepDistiller's and mdistiller's numbers."""

import pytest

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
