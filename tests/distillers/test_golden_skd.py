"""SKD against StreamLined's numbers; the paper's form against an explicit inverse."""

import pytest
import torch

from tests.distillers import golden


def run(case, dtype, **options):
    inputs, hparams = golden.inputs(case, dtype), case.hparams
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    options = {
        "ce": hparams["ce_weight"],
        "weight": hparams["kd_weight"],
        "temperature": hparams["T"],
        "tikhonov": hparams["tik"],
    } | options
    method = golden.build(case, "skd", student, teacher, dtype, **options)
    return inputs, method(student, teacher, golden.batch(inputs))


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("skd"))
def test_skd(name, dtype):
    case = golden.load("skd", name)
    inputs, losses = run(case, dtype)
    golden.check_value(case, "loss_ce", losses.pop("ce"))
    golden.check_value(case, "loss_kd", losses["skd.instance"])
    golden.check_value(case, "loss_bc", losses["skd.direction"])
    total = torch.stack(list(losses.values())).sum()
    golden.check_value(case, "total_without_ce", total)
    total.backward()
    golden.check_gradients(case, inputs)


@pytest.mark.parametrize("name", golden.names("skd"))
def test_the_papers_form(name):
    case = golden.load("skd", name)
    inputs, losses = run(case, torch.float64, mode="paper", weight=1.0)
    grams = []
    for side in "st":
        rows = inputs[f"{side}_logits"].detach()
        rows = rows / rows.norm(dim=1, keepdim=True)
        grams.append(rows @ rows.T)
    difference = grams[0] - grams[1]
    centered = difference - difference.mean(dim=0)
    sigma = centered.T @ centered / (len(difference) - 1) + 0.1 * torch.eye(
        len(difference), dtype=torch.float64
    )
    squared = [d @ torch.linalg.inv(sigma) @ d for d in difference]
    expected = torch.stack(squared).sqrt().mean()
    torch.testing.assert_close(losses["skd.direction"].detach(), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("mode", ["released", "paper"])
def test_equal_logits_have_no_distance_and_no_gradient(mode):
    case = golden.load("skd", "c0")
    logits = torch.randn(6, 10, requires_grad=True)
    student = golden.outputs({"s_logits": logits}, "s")
    method = golden.build(case, "skd", student, student, torch.float32, mode=mode)
    losses = method(student, student, golden.batch({"s_logits": logits}))
    losses["skd.direction"].backward()
    assert losses["skd.direction"] == 0 and not logits.grad.any()
