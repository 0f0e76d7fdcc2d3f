"""AB, FSP and FT: what their initial stages train, and their losses against loops."""

import pytest
import torch
from torch import nn

from distillers.fsp import flow
from tests.distillers import golden
from tests.distillers.golden_rows import example, stored


@pytest.mark.parametrize("name", ["ab", "fsp"])
def test_the_student_learns_first_and_then_from_labels_only(name):
    made = example(name, ce=1.0)
    main = made.method(made.student, made.teacher, golden.batch(made.inputs))
    assert set(main) == {"ce"}
    part = nn.Linear(2, 2)
    network = golden.StandIn(made.student, feature_modules=(part,))
    data = golden.info(made.student)
    method = golden.build(name, network, made.teacher, made.dtype, data)
    stage = method.init_stage()
    assert (stage.epochs, stage.lr, stage.uses_student) == (30, None, True)
    assert set(stage.modules.parameters()) == {*part.parameters(), *method.parameters()}
    assert part not in set(method.modules())


def test_ab_against_a_loop():
    """One stage of equal shapes: neuron by neuron; 1.5 is the sum of the weights 1 and 1/2."""
    inputs = stored("ab")
    inputs |= {f"{side}_preact0": inputs[f"{side}_preact1"] for side in "st"}
    total = 0.0
    for s, t in zip(inputs["s_preact1"].flatten(), inputs["t_preact1"].flatten(), strict=True):
        s, t = s.item(), t.item()
        if t > 0:
            total += (s - 0.7) ** 2 if s <= 0.7 else 0.0
        else:
            total += (s + 0.7) ** 2 if s > -0.7 else 0.0
    value = example("ab", inputs=inputs, margin=0.7).loss()
    assert value.item() == pytest.approx(1.5 * total * 3 / (1000 * 4), rel=1e-12)


def test_a_flow_matrix_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    lower = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    upper = torch.randn(2, 2, 4, 5, generator=generator, dtype=torch.float64)
    matrix = flow(lower, upper)
    for b in range(2):
        for c in range(2):
            for d in range(3):
                expected = sum(
                    upper[b, c, y, x] * lower[b, d, y, x] for y in range(4) for x in range(5)
                )
                assert matrix[b, c, d].item() == pytest.approx(expected.item() / 20, rel=1e-12)


def test_ft_trains_its_paraphraser_first():
    ft = example("ft, initial stage")
    stage = ft.method.init_stage()
    assert (stage.epochs, stage.lr, stage.uses_student) == (30, 0.01, False)
    ft.loss().backward()
    assert all(p.grad is not None for p in stage.modules.parameters())
    assert all(p.grad is None for p in ft.method.translator.parameters())


def test_the_learning_rate_of_ft_may_be_the_recipes():
    stage = example("ft", initial_lr=None, initial_epochs=3).method.init_stage()
    assert (stage.epochs, stage.lr) == (3, None)


@torch.no_grad()
def test_ft_against_a_loop():
    ft = example("ft", "c1")
    own, target = (
        ft.method.translator(ft.inputs["s_feat0"]),
        ft.method.encoder(ft.inputs["t_feat0"]),
    )
    target = torch.nn.functional.avg_pool2d(target, 2)  # 8×8 to the student's 4×4
    total, (size, _, height, width) = 0.0, own.shape
    for s, t in zip(own, target, strict=True):
        energies = [f.pow(2).sum(0) / len(f) for f in (s, t)]
        s, t = (e / e.pow(2).sum().sqrt() for e in energies)
        total += float((s - t).abs().sum()) / (size * height * width)
    assert float(ft.loss()) == pytest.approx(total, rel=1e-12)
