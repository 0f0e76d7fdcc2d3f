"""ReviewKD against mdistiller's numbers; its context loss, its warm-up, its levels."""

import pytest
import torch

from distillers.reviewkd import hierarchical_context
from tests.distillers import golden

KINDS = {
    "conv1.0.weight": "reduce.0.weight",
    "conv1.1.weight": "reduce.1.weight",
    "conv1.1.bias": "reduce.1.bias",
    "att_conv.0.weight": "attention.weight",
    "att_conv.0.bias": "attention.bias",
    "conv2.0.weight": "expand.0.weight",
    "conv2.1.weight": "expand.1.weight",
    "conv2.1.bias": "expand.1.bias",
}


def build(case, dtype, **options):
    """Fixtures give each side either maps or their preacts; what lacks is never read."""
    inputs = golden.inputs(case, dtype)
    student, teacher = (_both(golden.outputs(inputs, side), inputs, side) for side in "st")
    options = {
        "weight": case.hparams["weight"],
        "warmup": float(case.hparams["warmup"]),
        "mid_channels": case.hparams["mid_channel"],
        "student_preacts": case.hparams["stu_preact"],
    } | options
    method = golden.build(case, "reviewkd", student, teacher, dtype, **options)
    return method, student, teacher, inputs


def _both(found, inputs, side):
    maps = found.features or found.preacts
    unread = tuple(torch.full_like(m, torch.nan) for m in maps)
    features, preacts = found.features or unread, found.preacts or unread
    return golden.outputs(inputs, side, features=features, preacts=preacts)


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("reviewkd"))
def test_reviewkd(name, dtype):
    case = golden.load("reviewkd", name)
    method, student, teacher, inputs = build(case, dtype)
    batch = golden.batch(inputs, epoch=case.hparams["epoch"])
    losses = method(student, teacher, batch)
    golden.check_value(case, "loss_kd", losses["reviewkd"])
    losses["reviewkd"].backward()
    golden.check_gradients(case, inputs)
    renamed = {}
    for parameter in case.params["parameters"]:
        _, level, kind = parameter["name"].split(".", 2)
        renamed[parameter["name"]] = f"fusions.{level}.{KINDS[kind]}"
    golden.check_parameter_gradients(case, method, renamed)
    assert set(renamed.values()) == {name for name, _ in method.named_parameters()}


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("reviewkd"))
def test_the_context_loss_after_the_warm_up(name, dtype):
    case = golden.load("reviewkd", name)
    method, student, teacher, inputs = build(case, dtype, weight=1.0)
    losses = method(student, teacher, golden.batch(inputs, epoch=240))
    golden.check_value(case, "hcl", losses["reviewkd"])


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 8])
def test_the_context_loss_by_hand(side):
    generator = torch.Generator().manual_seed(side)
    s, t = torch.randn(2, 3, 2, side, side, generator=generator, dtype=torch.float64)
    total, weights = float(((s - t) ** 2).mean()), [1.0]
    for pooled in (4, 2, 1):
        if pooled >= side:
            continue
        weights.append(weights[-1] / 2)
        means = [
            (s - t)[..., _bin(y, side, pooled), _bin(x, side, pooled)].mean((2, 3)).square()
            for y in range(pooled)
            for x in range(pooled)
        ]
        total += weights[-1] * float(torch.stack(means).mean())
    assert hierarchical_context(s, t).item() == pytest.approx(total / sum(weights), rel=1e-12)


def _bin(index, side, bins):
    return slice(index * side // bins, -(-(index + 1) * side // bins))


@pytest.mark.parametrize(("epochs", "epoch", "share"), [(240, 5, 0.25), (24, 1, 0.5), (24, 2, 1)])
def test_warm_up(epochs, epoch, share):
    case = golden.load("reviewkd", "c0")
    method, student, teacher, inputs = build(case, torch.float64)
    method.info = golden.info(student, epochs=epochs)
    late = method(student, teacher, golden.batch(inputs, epoch=epochs))["reviewkd"]
    early = method(student, teacher, golden.batch(inputs, epoch=epoch))["reviewkd"]
    torch.testing.assert_close(early, share * late)


def test_levels_are_paired_from_the_deepest():
    case = golden.load("reviewkd", "c0")
    _, student, teacher, inputs = build(case, torch.float32)
    keep = {"features": student.features[:1] + student.features[2:]}
    short = golden.outputs(inputs, "s", preacts=keep["features"], **keep)
    method = golden.build(case, "reviewkd", short, teacher, torch.float32)
    assert [f.expand[0].out_channels for f in method.fusions] == [10, 8]
    assert torch.isfinite(method(short, teacher, golden.batch(inputs))["reviewkd"])
