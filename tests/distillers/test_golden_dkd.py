"""DKD against mdistiller's numbers; the warm-up; logits where mdistiller's formula overflows."""

import pytest
import torch

from distillers.dkd import decoupled_kl
from tests.distillers import golden


def run(case, dtype, epoch, data=None, **options):
    inputs, hparams = golden.inputs(case, dtype), case.hparams
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    options = {
        "ce": hparams["ce_weight"],
        "alpha": hparams["alpha"],
        "beta": hparams["beta"],
        "temperature": hparams["T"],
        "warmup": float(hparams["warmup"]),
    } | options
    data = golden.info(student, **data or {})
    method = golden.build(case, "dkd", student, teacher, dtype, data, **options)
    return inputs, method(student, teacher, golden.batch(inputs, epoch=epoch))


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("dkd"))
def test_dkd(name, dtype):
    case = golden.load("dkd", name)
    inputs, losses = run(case, dtype, case.hparams["epoch"])
    assert set(losses) == {"ce", "dkd.tckd", "dkd.nckd"}
    golden.check_value(case, "loss_ce", losses["ce"])
    total = losses["dkd.tckd"] + losses["dkd.nckd"]
    golden.check_value(case, "loss_kd", total)
    total.backward()
    golden.check_gradients(case, inputs)


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("dkd"))
def test_parts_without_warm_up(name, dtype):
    case = golden.load("dkd", name)
    _, losses = run(case, dtype, epoch=240, alpha=1.0, beta=1.0)
    golden.check_value(case, "tckd", losses["dkd.tckd"])
    golden.check_value(case, "nckd", losses["dkd.nckd"])


@pytest.mark.parametrize(
    ("epochs", "options", "epoch", "factor"),
    [
        (240, {"warmup": 20.0}, 5, 5 / 20),
        (240, {"warmup": 20.0}, 20, 1.0),
        (240, {"warmup": 20.0}, 21, 1.0),
        (24, {"warmup": 20.0}, 1, 1 / 2),  # scaled: 2 epochs of 24
        (24, {"warmup_absolute": 20}, 1, 1 / 20),
        (24, {"warmup": 0.0}, 1, 1.0),
    ],
)
def test_warm_up(epochs, options, epoch, factor):
    case = golden.load("dkd", "c0")
    _, early = run(case, torch.float64, epoch, {"epochs": epochs}, **options)
    _, late = run(case, torch.float64, epochs, {"epochs": epochs}, warmup=0.0)
    for part in ("dkd.tckd", "dkd.nckd"):
        torch.testing.assert_close(early[part], factor * late[part])


@pytest.mark.parametrize("classes", [2, 3, 1000])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e30])
def test_extreme_logits(scale, classes):
    generator = torch.Generator().manual_seed(0)
    student = (scale * torch.randn(6, classes, generator=generator)).requires_grad_()
    teacher = scale * torch.randn(6, classes, generator=generator)
    target, others = decoupled_kl(student, teacher, torch.arange(6) % classes, 4.0)
    (target + others).backward()
    assert torch.isfinite(target) and torch.isfinite(others) and target >= 0
    assert torch.isfinite(student.grad).all()
    assert classes > 2 or others == 0


def test_soft_labels_count_by_their_largest_class():
    case = golden.load("dkd", "c0")
    inputs = golden.inputs(case, torch.float64)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(case, "dkd", student, teacher, torch.float64)
    hard = method(student, teacher, golden.batch(inputs))
    mixed = 0.8 * torch.eye(10, dtype=torch.float64)[inputs["labels"]] + 0.02
    soft = method(student, teacher, golden.batch(inputs | {"labels": mixed}))
    assert hard == soft
