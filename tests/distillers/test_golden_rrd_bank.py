"""RRD on memory banks against giakoumoglou/distillers' numbers, and against autograd."""

import pytest
import torch
import torch.nn.functional as F

from distillers.crd import CRD
from tests.distillers import golden

HEADS = {f"embed_s.{kind}": f"embed_student.{kind}" for kind in ("weight", "bias")}
BANKED = [n for n in golden.names("rrd") if "memory_v1" in golden.load("rrd", n).groups["in"]]


def build(case, inputs, dtype):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    hparams = case.hparams
    method = golden.build(
        case,
        "rrd_bank",
        student,
        teacher,
        dtype,
        golden.info(student, train_size=hparams["n_data"]),
        feature_dim=hparams["feat_dim"],
        negatives=hparams["nce_k"],
        student_temperature=hparams["nce_t_s"],
        teacher_temperature=hparams["nce_t_t"],
        temperature=hparams["nce_t"],
        momentum=hparams["nce_m"],
    )
    method.memory_student.copy_(inputs["memory_v1"])
    method.memory_teacher.copy_(inputs["memory_v2"])
    method.sample_negatives = lambda batch: inputs["contrast_idx"].clone()
    return method


def run(method, inputs):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    return method(student, teacher, golden.batch(inputs))["rrd_bank"]


def test_there_is_a_case():
    assert BANKED


@pytest.mark.parametrize("product_up_to", [16, 0])
@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", BANKED)
def test_one_step(name, dtype, product_up_to, monkeypatch):
    monkeypatch.setattr(CRD, "product_up_to", product_up_to)
    case = golden.load("rrd", name)
    inputs = golden.inputs(case, dtype)
    method = build(case, inputs, dtype)
    golden.check(case, "rrd", run(method, inputs), inputs)
    golden.check_parameter_gradients(case, method, HEADS)
    assert all(p.grad is None for p in method.embed_teacher.parameters())
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    for number, side in enumerate(("student", "teacher"), 1):
        bank = getattr(method, f"memory_{side}").float()
        torch.testing.assert_close(
            bank, case.tensor("aux", f"memory_v{number}_after1"), **tolerance
        )
        z = getattr(method, f"normalizer_{side}").float()
        torch.testing.assert_close(z, case.tensor("aux", "params_after1")[1 + number], **tolerance)


@pytest.mark.parametrize("name", BANKED)
def test_its_gradient_is_that_of_the_formula(name):
    """In a second step, in which Z is what the first one made it."""
    case = golden.load("rrd", name)
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64)
    run(method, inputs)
    embedding, bank = inputs["s_embedding"], method.memory_teacher.clone()
    t = F.normalize(method.embed_teacher(inputs["t_embedding"]), dim=1)
    s = F.normalize(method.embed_student(embedding), dim=1)
    expected = 0.0
    for a, b, rows in zip(s, t, inputs["contrast_idx"], strict=True):
        own = (method.memory_student[rows] @ b / case.hparams["nce_t"]).exp()
        target = (own / method.normalizer_teacher / case.hparams["nce_t_t"]).softmax(dim=0)
        odds = (bank[rows] @ a / case.hparams["nce_t"]).exp() / method.normalizer_student
        log_p = (odds / case.hparams["nce_t_s"]).log_softmax(dim=0)
        expected = expected - (target.detach() * log_p).sum() / len(s)
    (wanted,) = torch.autograd.grad(expected, embedding)
    value = run(method, inputs)
    (found,) = torch.autograd.grad(value, embedding)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(found, wanted)
