"""SRRL against the numbers of cls_KD (on maps) and of SimKD's repository (on embeddings)."""

import pytest
import torch
from torch import nn

from tests.distillers import golden


def outputs(case, inputs):
    """Maps are the last ones; the teacher's embedding is its map's mean."""
    if "s_embedding" in inputs:
        return golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    pooled = {side: inputs[f"{side}_feat0"].mean(dim=(2, 3)) for side in "st"}
    return tuple(
        golden.outputs(inputs, side, final_map=inputs[f"{side}_feat0"], embedding=pooled[side])
        for side in "st"
    )


def build(case, inputs, dtype, **options):
    student, teacher = outputs(case, inputs)
    head = nn.Linear(teacher.embedding.shape[1], case.hparams["num_classes"])
    golden.fill(head)
    given = {
        "on": "embedding" if case.hparams["form"] == "simkd" else "map",
        "feature_weight": case.hparams.get("alpha", 1.0),
        "regression_weight": case.hparams.get("beta", 1.0),
    }
    return golden.build(
        case,
        "srrl",
        golden.StandIn(student),
        golden.StandIn(teacher, classifier=head),
        dtype,
        golden.info(student),
        weight=1.0,
        **(given | options),
    )


def run(case, method, inputs):
    terms = method(*outputs(case, inputs), golden.batch(inputs))
    return torch.stack(list(terms.values())).sum()


def parameters(case):
    part = "transfer" if case.hparams["form"] == "simkd" else "Connectors"
    names = ("0.weight", "1.weight", "1.bias")
    return {f"srrl.{part}.{name}": f"connector.{name}" for name in names}


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("srrl"))
def test_srrl(name, dtype):
    case = golden.load("srrl", name)
    inputs = golden.inputs(case, dtype)
    method = build(case, inputs, dtype)
    value = run(case, method, inputs)
    golden.check(case, "srrl", value, inputs)
    golden.check_parameter_gradients(case, method, parameters(case))


def test_pooling_comes_after_the_connector_or_before():
    case = golden.load("srrl", "c0")
    inputs = golden.inputs(case, torch.float64)
    on_map, on_embedding = (
        build(case, inputs, torch.float64, on=on) for on in ("map", "embedding")
    )
    assert run(case, on_map, inputs) != run(case, on_embedding, inputs)
    flat = inputs | {"s_feat0": inputs["s_feat0"].mean(dim=(2, 3), keepdim=True)}
    torch.testing.assert_close(run(case, on_map, flat), run(case, on_embedding, flat))


def test_a_student_that_reaches_the_teachers_feature_has_no_regression_left():
    """e_t through its own classifier gives z_t."""
    case = golden.load("srrl", "c0")
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64)
    method.connector = nn.Identity()
    same = inputs | {"s_feat0": inputs["t_feat0"]}
    pooled = inputs["t_feat0"].mean(dim=(2, 3))
    same["t_logits"] = pooled @ method.teacher_weight.T + method.teacher_bias
    assert run(case, method, same).item() == pytest.approx(0, abs=1e-12)


def test_the_teachers_classifier_is_neither_trained_nor_saved():
    case = golden.load("srrl", "c0")
    method = build(case, golden.inputs(case, torch.float32), torch.float32)
    kept = (*method.state_dict(), *(name for name, _ in method.named_parameters()))
    assert all(name.startswith("connector.") for name in kept)
