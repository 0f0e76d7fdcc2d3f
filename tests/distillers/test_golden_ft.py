"""FT against RepDistiller's numbers; what its two stages train."""

import pytest
import torch

from tests.distillers import golden

PARAMETERS = {
    f"translator.encoder.{i}.{kind}": f"translator.{i}.{kind}"
    for i in (0, 1, 3, 4, 6, 7)
    for kind in ("weight", "bias")
}


def build(case, dtype, **options):
    inputs = golden.inputs(case, dtype)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(case, "ft", student, teacher, dtype, weight=1.0, **options)
    return method, student, teacher, inputs


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("ft"))
def test_ft(name, dtype):
    case = golden.load("ft", name)
    method, student, teacher, inputs = build(case, dtype)
    losses = method(student, teacher, golden.batch(inputs))
    golden.check_value(case, "ft", losses["ft"])
    losses["ft"].backward()
    golden.check_gradients(case, inputs)
    golden.check_parameter_gradients(case, method, PARAMETERS)
    paraphraser = method.init_stage().modules
    assert all(p.grad is None for p in paraphraser.parameters())


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("ft"))
def test_initial_stage(name, dtype):
    case = golden.load("ft", name)
    method, _, teacher, inputs = build(case, dtype)
    losses = method.initial(None, teacher, golden.batch(inputs))
    golden.check_value(case, "init_loss", losses["ft"])


def test_the_initial_stage_trains_the_paraphraser_only():
    method, _, teacher, inputs = build(golden.load("ft", "c0"), torch.float64)
    stage = method.init_stage()
    assert (stage.epochs, stage.lr, stage.uses_student) == (30, 0.01, False)
    method.initial(None, teacher, golden.batch(inputs))["ft"].backward()
    assert all(p.grad is not None for p in stage.modules.parameters())
    assert all(p.grad is None for p in method.translator.parameters())


def test_the_rate_may_be_the_recipes():
    method, *_ = build(golden.load("ft", "c0"), torch.float32, initial_lr=None, initial_epochs=3)
    assert (method.init_stage().epochs, method.init_stage().lr) == (3, None)


@torch.no_grad()
def test_against_a_loop():
    case = golden.load("ft", "c1")
    method, student, teacher, inputs = build(case, torch.float64)
    own, target = method.translator(inputs["s_feat0"]), method.encoder(inputs["t_feat0"])
    target = torch.nn.functional.avg_pool2d(target, 2)  # 8×8 to the student's 4×4
    total, (size, _, height, width) = 0.0, own.shape
    for s, t in zip(own, target, strict=True):
        energies = [f.pow(2).sum(0) / len(f) for f in (s, t)]
        s, t = (e / e.pow(2).sum().sqrt() for e in energies)
        total += float((s - t).abs().sum()) / (size * height * width)
    value = method(student, teacher, golden.batch(inputs))["ft"]
    assert float(value) == pytest.approx(total, rel=1e-12)


def test_dead_maps_have_finite_gradients():
    method, student, _, inputs = build(golden.load("ft", "c0"), torch.float64)
    dead = golden.outputs({**inputs, "t_feat0": torch.zeros_like(inputs["t_feat0"])}, "t")
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.zero_()
    method(student, dead, golden.batch(inputs))["ft"].backward()
    assert torch.isfinite(inputs["s_feat0"].grad).all()
