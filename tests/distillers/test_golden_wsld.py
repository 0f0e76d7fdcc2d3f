"""WSLD against cls_KD's numbers; its weights."""

import pytest
import torch

from tests.distillers import golden


def run(case, dtype, **changes):
    inputs = golden.inputs(case, dtype) | changes
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    options = {"temperature": case.hparams["temp"], "alpha": case.hparams["alpha"]}
    method = golden.build(case, "wsld", student, teacher, dtype, **options)
    return inputs, method, method(student, teacher, golden.batch(inputs))["wsld"]


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("wsld"))
def test_wsld(name, dtype):
    case = golden.load("wsld", name)
    inputs, _, value = run(case, dtype)
    golden.check(case, "wsld", value, inputs)


def test_one_hot_labels_are_hard_labels():
    case = golden.load("wsld", "c0")
    inputs, _, hard = run(case, torch.float64)
    hot = torch.eye(10, dtype=torch.float64)[inputs["labels"]]
    torch.testing.assert_close(run(case, torch.float64, labels=hot)[2], hard)


@pytest.mark.parametrize(
    ("student", "teacher", "weight"),
    [(60.0, 0.0, 0.0), (0.0, 60.0, 1.0), (0.0, 0.0, 1 - 0.36787944), (60.0, 60.0, 0.0)],
    ids=["only the student fits", "only the teacher fits", "neither", "both"],
)
def test_weights(student, teacher, weight):
    case = golden.load("wsld", "c0")
    _, method, _ = run(case, torch.float64)
    label = torch.eye(10, dtype=torch.float64)[:1]
    found = method._weights(student * label, teacher * label, torch.tensor([0]))
    torch.testing.assert_close(found, torch.full_like(found, weight), atol=1e-6, rtol=0)
