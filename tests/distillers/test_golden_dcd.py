"""DCD against giakoumoglou/distillers' numbers and against a plain loop."""

import pytest
import torch

from tests.distillers import golden

PARAMETERS = {"dcd.params.tau": "log_scale"} | {
    f"dcd.embed_{side[0]}.{kind}": f"embed_{side}.{kind}"
    for side in ("student", "teacher")
    for kind in ("weight", "bias")
}


def build(case, inputs, dtype, **options):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    hparams = case.hparams
    given = {
        "feature_dim": hparams["feat_dim"],
        "consistency_weight": hparams["alpha"],
        "max_scale": hparams["max_tau"],
        "learn_scale": hparams["trainable"],
    }
    method = golden.build(case, "dcd", student, teacher, dtype, weight=1.0, **(given | options))
    if "dcd.params.tau" in case.params["fill_exceptions"]:
        torch.nn.init.constant_(method.log_scale, hparams["init_tau"])
    return method


def run(method, inputs):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    return method(student, teacher, golden.batch(inputs))


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("dcd"))
def test_dcd(name, dtype):
    case = golden.load("dcd", name)
    inputs = golden.inputs(case, dtype)
    method = build(case, inputs, dtype)
    terms = run(method, inputs)
    golden.check_value(case, "contrastive", terms["dcd.contrastive"])
    value = torch.stack(list(terms.values())).sum()
    golden.check(case, "dcd", value, inputs)
    golden.check_parameter_gradients(case, method, PARAMETERS)


def test_against_a_loop():
    case = golden.load("dcd", "c0")
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64, consistency_weight=0.7)
    s, t = (
        torch.nn.functional.normalize(head(inputs[f"{side}_embedding"]), dim=1)
        for side, head in (("s", method.embed_student), ("t", method.embed_teacher))
    )
    exps = [[(torch.e * a @ b).exp() for b in t] for a in s]
    expected = 0.0
    for i, row in enumerate(exps):
        expected -= (row[i] / sum(row)).log() / len(s)
        for j in range(len(s)):
            p = row[j] / sum(row)
            q = exps[j][i] / sum(line[i] for line in exps)
            expected += 0.7 * q * (q / p).log() / len(s)
    torch.testing.assert_close(torch.stack(list(run(method, inputs).values())).sum(), expected)


def test_the_scale_learns_only_on_demand():
    case = golden.load("dcd", "c0")
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64, learn_scale=False)
    torch.stack(list(run(method, inputs).values())).sum().backward()
    assert not method.log_scale.requires_grad and method.log_scale.grad is None
    golden.check_gradients(case, inputs)
