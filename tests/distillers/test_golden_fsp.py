"""FSP against RepDistiller's numbers; its matrices, its stages, its pairs."""

import pytest
import torch
from torch import nn

from distillers import Unsupported
from distillers.fsp import flow
from tests.distillers import golden


def outputs(inputs, side):
    """The fixtures' first map is the stem."""
    listed = golden.outputs(inputs, side)
    return golden.outputs(inputs, side, features=listed.features[1:])


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("fsp"))
def test_fsp(name, dtype):
    case = golden.load("fsp", name)
    inputs = golden.inputs(case, dtype)
    student, teacher = outputs(inputs, "s"), outputs(inputs, "t")
    method = golden.build(case, "fsp", student, teacher, dtype)
    losses = method.initial(student, teacher, golden.batch(inputs))
    golden.check_value(case, "total", losses["fsp"])
    losses["fsp"].backward()
    golden.check_gradients(case, inputs)


@pytest.mark.parametrize("name", golden.names("fsp"))
def test_flow_matrices(name):
    case = golden.load("fsp", name)
    inputs = golden.inputs(case, torch.float64)
    matrices = [item for item in case.groups["aux"] if item.startswith("s_fsp")]
    assert matrices
    for i, item in enumerate(matrices):
        found = flow(inputs[f"s_feat{i}"], inputs[f"s_feat{i + 1}"])
        expected = case.tensor("aux", item, torch.float64)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_flow_matrix_by_a_loop():
    generator = torch.Generator().manual_seed(0)
    lower = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    upper = torch.randn(2, 2, 4, 5, generator=generator, dtype=torch.float64)
    found = flow(lower, upper)
    for b in range(2):
        for c in range(2):
            for d in range(3):
                expected = sum(
                    upper[b, c, y, x] * lower[b, d, y, x] for y in range(4) for x in range(5)
                )
                assert found[b, c, d].item() == pytest.approx(expected.item() / 20, rel=1e-12)


def test_stages():
    case = golden.load("fsp", "c0")
    inputs = golden.inputs(case, torch.float32)
    student, teacher = outputs(inputs, "s"), outputs(inputs, "t")
    part = nn.Linear(2, 2)
    network = golden.StandIn(student, feature_modules=(part,))
    info = golden.info(student)
    method = golden.build(case, "fsp", network, teacher, torch.float32, info, ce=1.0)
    assert set(method(student, teacher, golden.batch(inputs))) == {"ce"}
    stage = method.init_stage()
    assert (stage.epochs, stage.lr, stage.uses_student) == (30, None, True)
    assert set(stage.modules.parameters()) == set(part.parameters())
    assert part not in set(method.modules())


def test_other_channels_are_unsupported():
    case = golden.load("fsp", "c0")
    inputs = golden.inputs(case, torch.float32)
    student, teacher = outputs(inputs, "s"), outputs(inputs, "t")
    inputs["t_feat1"] = inputs["t_feat1"].repeat(1, 2, 1, 1)
    with pytest.raises(Unsupported, match=r"\[4, 6, 8\] channels, the teacher's \[4, 12, 8\]"):
        golden.build(case, "fsp", student, outputs(inputs, "t"), torch.float32)
    assert golden.build(case, "fsp", student, teacher, torch.float32)
