"""RRD on memory banks against giakoumoglou/distillers' numbers, and against autograd."""

import pytest
import torch
import torch.nn.functional as F

from distillers.crd import CRD
from tests.distillers import golden, test_golden_crd
from tests.distillers.test_golden_crd import check_state, run
from tests.distillers.test_golden_rrd import HEADS

BANKED = [n for n in golden.names("rrd") if "memory_v1" in golden.load("rrd", n).groups["in"]]


def build(case, inputs, dtype):
    student, teacher = case.hparams["nce_t_s"], case.hparams["nce_t_t"]
    options = {"student_temperature": student, "teacher_temperature": teacher}
    return test_golden_crd.build(case, inputs, dtype, "rrd_bank", **options)


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
    check_state(case, method, step=1)


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
