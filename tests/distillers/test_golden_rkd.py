"""RKD against RepDistiller's numbers; angles in portions; degenerate embeddings."""

import pytest
import torch

from distillers import rkd
from tests.distillers import golden


def build(case, inputs, dtype, **options):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(case, "rkd", student, teacher, dtype, **options)
    return method(student, teacher, golden.batch(inputs))


@pytest.mark.parametrize("at_once", [2**24, 1])
@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("rkd"))
def test_rkd(name, dtype, at_once, monkeypatch):
    monkeypatch.setattr(rkd, "NUMBERS_AT_ONCE", at_once)
    case = golden.load("rkd", name)
    inputs, hparams = golden.inputs(case, dtype), case.hparams
    distance, angle = float(hparams["w_d"]), float(hparams["w_a"])
    losses = build(case, inputs, dtype, distance_weight=distance, angle_weight=angle)
    assert set(losses) == {"rkd.distance", "rkd.angle"}
    golden.check_value(case, "distance_unweighted", losses["rkd.distance"] / distance)
    golden.check_value(case, "angle_unweighted", losses["rkd.angle"] / angle)
    total = sum(losses.values())
    golden.check_value(case, "rkd", total)
    total.backward()
    golden.check_gradients(case, inputs)


def test_a_term_of_weight_zero_is_left_out():
    case = golden.load("rkd", "c0")
    inputs = golden.inputs(case, torch.float64)
    assert set(build(case, inputs, torch.float64, angle_weight=0.0)) == {"rkd.distance"}


@pytest.mark.parametrize("equal", [2, 6])
def test_equal_embeddings_give_gradients_of_ordinary_size(equal):
    case = golden.load("rkd", "c0")
    inputs = golden.inputs(case, torch.float64)
    with torch.no_grad():
        inputs["s_embedding"][:equal] = inputs["s_embedding"][0].clone()
    sum(build(case, inputs, torch.float64).values()).backward()
    assert inputs["s_embedding"].grad.abs().max() < 1e3
