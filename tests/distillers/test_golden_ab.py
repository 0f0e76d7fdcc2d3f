"""AB against RepDistiller's numbers; its connectors, its stages, its pairs."""

import pytest
import torch
from torch import nn

from distillers import Unsupported
from tests.distillers import golden


def build(case, dtype, inputs=None, **options):
    inputs = inputs or golden.inputs(case, dtype)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(case, "ab", student, teacher, dtype, **options)
    return method, student, teacher, inputs


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("ab"))
def test_ab(name, dtype):
    case = golden.load("ab", name)
    method, student, teacher, inputs = build(case, dtype, margin=case.hparams["margin"])
    losses = method.initial(student, teacher, golden.batch(inputs))
    golden.check_value(case, "total", losses["ab"])
    losses["ab"].backward()
    golden.check_gradients(case, inputs)
    kinds = {"conv.weight": "0.weight", "conv.bias": "0.bias", "bn.weight": "1.weight"}
    kinds |= {"bn.bias": "1.bias"}
    learned = [i for i, c in enumerate(method.connectors) if not isinstance(c, nn.Identity)]
    golden.check_parameter_gradients(
        case,
        method,
        {
            f"connector.connectors.{i}.{theirs}": f"connectors.{i}.{ours}"
            for i in learned
            for theirs, ours in kinds.items()
        },
    )
    assert 4 * len(learned) == len(case.params["parameters"])


def test_against_a_loop():
    """One stage of equal shapes: neuron by neuron, half of the weight of the last stage."""
    case = golden.load("ab", "c0")
    inputs = golden.inputs(case, torch.float64)
    inputs["s_preact0"] = inputs["s_preact1"]
    inputs["t_preact0"] = inputs["t_preact1"]
    method, student, teacher, _ = build(case, torch.float64, inputs, margin=0.7)
    total = 0.0
    for s, t in zip(inputs["s_preact1"].flatten(), inputs["t_preact1"].flatten(), strict=True):
        s, t = s.item(), t.item()
        if t > 0:
            total += (s - 0.7) ** 2 if s <= 0.7 else 0.0
        else:
            total += (s + 0.7) ** 2 if s > -0.7 else 0.0
    value = method.initial(student, teacher, golden.batch(inputs))["ab"]
    assert value.item() == pytest.approx(1.5 * total * 3 / (1000 * 4), rel=1e-12)


def test_the_main_stage_is_cross_entropy():
    case = golden.load("ab", "c0")
    method, student, teacher, inputs = build(case, torch.float32, ce=1.0)
    assert set(method(student, teacher, golden.batch(inputs))) == {"ce"}
    stage = method.init_stage()
    assert (stage.epochs, stage.lr, stage.uses_student) == (30, None, True)


def test_the_students_feature_part_is_trained():
    case = golden.load("ab", "c0")
    inputs = golden.inputs(case, torch.float32)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    part = nn.Linear(2, 2)
    network = golden.StandIn(student, feature_modules=(part,))
    method = golden.build(case, "ab", network, teacher, torch.float32, golden.info(student))
    trained = set(method.init_stage().modules.parameters())
    assert trained == {*part.parameters(), *method.connectors.parameters()}
    assert part not in set(method.modules())


def test_another_number_of_stages_is_unsupported():
    case = golden.load("ab", "c0")
    inputs = golden.inputs(case, torch.float32)
    del inputs["t_preact1"]
    with pytest.raises(Unsupported, match="student has 2 stages, the teacher 1"):
        build(case, torch.float32, inputs)
