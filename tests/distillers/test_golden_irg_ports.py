"""IRG's two ports to PyTorch (variants aberhu and semckd) against their own numbers."""

import pytest
import torch

import distillers
from tests.distillers import golden


def networks(inputs):
    return golden.outputs(inputs, "s"), golden.outputs(inputs, "t")


def run(case, inputs, dtype, variant, **weights):
    student, teacher = networks(inputs)
    method = golden.build(
        case, "irg", student, teacher, dtype, weight=1.0, variant=variant, **weights
    )
    return method(student, teacher, golden.batch(inputs))


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("irg_aberhu"))
def test_aberhu(name, dtype):
    case = golden.load("irg_aberhu", name)
    inputs = golden.inputs(case, dtype)
    weights = {
        "logits_weight": case.hparams["w_vert"],
        "edge_weight": case.hparams["w_edge"],
        "transformation_weight": case.hparams["w_tran"],
    }
    terms = run(case, inputs, dtype, "aberhu", **weights)
    golden.check_value(case, "vert", terms["irg.logits"] / weights["logits_weight"])
    golden.check_value(case, "edge", terms["irg.edge"] / weights["edge_weight"])
    moved = terms["irg.transformation"] / weights["transformation_weight"]
    golden.check_value(case, "tran", moved)
    value = torch.stack(list(terms.values())).sum()
    golden.check(case, "irg", value, inputs)


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("irg_semckd"))
def test_semckd(name, dtype):
    case = golden.load("irg_semckd", name)
    inputs = golden.inputs(case, dtype)
    terms = run(case, inputs, dtype, "semckd", logits_weight=1.0, edge_weight=1.0)
    same_width = inputs["s_embedding"].shape == inputs["t_embedding"].shape
    assert set(terms) == {"irg.edge"} | ({"irg.vertex"} if same_width else set())
    value = torch.stack(list(terms.values())).sum()
    golden.check(case, "irg", value, inputs)


@pytest.mark.parametrize("variant", ["aberhu", "semckd"])
def test_equal_samples_give_finite_gradients(variant):
    inputs = {
        "s_feat0": torch.ones(4, 3, 4, 4),
        "s_feat1": torch.ones(4, 6, 2, 2),
        "t_feat0": torch.rand(4, 4, 4, 4),
        "t_feat1": torch.rand(4, 8, 2, 2),
        "s_embedding": torch.ones(4, 6),
        "t_embedding": torch.rand(4, 6),
    }
    for key in ("s_feat0", "s_feat1", "s_embedding"):
        inputs[key].requires_grad_()
    weights = {"logits_weight": 1.0, "edge_weight": 1.0, "transformation_weight": 1.0}
    terms = run(golden.load("irg_semckd", "c0"), inputs, torch.float32, variant, **weights)
    value = torch.stack(list(terms.values())).sum()
    value.backward()
    gradients = [x.grad for x in inputs.values() if x.grad is not None]
    assert torch.isfinite(value) and all(torch.isfinite(g).all() for g in gradients)


def test_presets_bring_the_ports_weights():
    case = golden.load("irg_aberhu", "c0")
    inputs = golden.inputs(case, torch.float32)
    student, teacher = networks(inputs)
    pair = golden.StandIn(student), golden.StandIn(teacher), golden.info(student)
    aberhu, semckd = (
        distillers.build("irg", *pair, preset=preset, ce=0.0)(
            student, teacher, golden.batch(inputs)
        )
        for preset in ("aberhu", "semckd")
    )
    golden.check_value(case, "irg", torch.stack(list(aberhu.values())).sum())
    assert set(semckd) == {"kd", "irg.edge"}


def test_aberhu_needs_two_stages():
    case = golden.load("irg_aberhu", "c0")
    inputs = golden.inputs(case, torch.float32)
    del inputs["s_feat1"]
    with pytest.raises(distillers.Unsupported, match=r"two stages .*, got 1 \(student\) and 2"):
        run(case, inputs, torch.float32, "aberhu")
