"""CRD, RRD and HKD: what banks and queues remember, and loops over the formulas."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from tests.distillers import golden
from tests.distillers.golden_rows import example
from tests.distillers.runs import Run, check_finite


def state(made):
    return {key: value.clone() for key, value in made.method.state_dict().items()}


@pytest.mark.parametrize("name", ["crd", "crd_queue"])
def test_without_gradients_nothing_is_remembered(name):
    made = example(name)
    before = state(made)
    with torch.no_grad():
        golden.check_value(made.case, name, made.loss())
    assert all(torch.equal(value, before[key]) for key, value in made.method.state_dict().items())


def test_the_last_of_equal_indices_is_remembered():
    once, twice = example("crd"), example("crd")
    indices = once.inputs["indices"]
    once.loss()
    twice.loss(indices=torch.cat([indices[-1:], indices[1:]]))
    for bank in ("memory_student", "memory_teacher"):
        rows = (getattr(made.method, bank)[indices[-1]] for made in (twice, once))
        torch.testing.assert_close(*rows)


@pytest.mark.parametrize("name", ["crd", "crd_queue", "hkd", "rrd", "rrd_bank"])
def test_banks_survive_a_forward_pass_that_overflows(name):
    """As in half precision, where the trainer skips such a step."""
    run = Run(name, negatives=32)

    def broken(outputs):
        embedding = outputs.embedding.clone()
        embedding[0] = torch.inf
        return dataclasses.replace(outputs, embedding=embedding)

    run.losses(change=broken)
    assert all(torch.isfinite(value).all() for value in run.method.state_dict().values())
    check_finite(run, run.losses(step=1))


# ---- queues --------------------------------------------------------------------------------------


def test_crd_queue_against_a_loop():
    crd = example("crd_queue")
    s, t = crd.method.embed(crd.student, crd.teacher)
    value = crd.loss()
    expected = 0.0
    for a, b in zip(s, t, strict=True):
        positive = (a @ b / crd.h.nce_t).exp()
        others = sum((a @ row / crd.h.nce_t).exp() for row in crd.method.queue)
        expected -= (positive / (positive + others)).log() / len(s)
    torch.testing.assert_close(value, expected)


def test_the_queue_is_a_ring():
    method = example("crd_queue", negatives=6).method
    start = method.queue.clone()
    assert torch.equal(method.enqueue(start[:4] + 1, learn=True)[:4], start[:4] + 1)
    assert method.pointer == 4
    method.enqueue(start[:4] + 2, learn=True)
    expected = torch.stack([*(start[2:4] + 2), *(start[2:4] + 1), *(start[:2] + 2)])
    assert torch.equal(method.queue, expected)
    assert method.pointer == 2


def test_of_a_batch_longer_than_the_queue_the_last_stay():
    method = example("crd_queue", negatives=3).method
    rows = torch.arange(5.0, dtype=torch.float64)[:, None].expand(5, 8)
    method.enqueue(rows, learn=True)
    assert method.queue[:, 0].tolist() == [3, 4, 2]
    assert method.pointer == 2


@pytest.mark.parametrize(("queue_init", "dim"), [("rows", 1), ("columns", 0)])
def test_the_queue_starts_with_unit_norms(queue_init, dim):
    crd = example("crd_queue", negatives=17, queue_init=queue_init)  # not the fixture's queue
    norms = crd.method.queue.norm(dim=dim)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_a_later_step_does_not_disturb_an_earlier_ones_gradient():
    crd = example("crd_queue", "c1")
    first, inputs = crd.loss(), crd.inputs
    crd.loss(**{key: value.detach() + 1 for key, value in inputs.items()})
    first.backward()
    golden.check_gradients(crd.case, inputs)


# ---- RRD -----------------------------------------------------------------------------------------


def test_the_least_loss_of_rrd_is_the_teachers_entropy():
    rrd = example("rrd")
    method = rrd.method
    method.options.student_temperature = method.options.teacher_temperature
    method.embed_student = method.embed_teacher
    value = rrd.loss(s_embedding=rrd.inputs["t_embedding"])
    t = F.normalize(method.embed_teacher(rrd.inputs["t_embedding"]), dim=1)
    p = torch.softmax(t @ method.queue.T / method.options.teacher_temperature, dim=1)
    torch.testing.assert_close(value, torch.special.entr(p).sum(dim=1).mean())


def test_the_gradient_of_rrd_on_banks_is_that_of_the_formula():
    """In a second step, in which Z is what the first one made it."""
    rrd = example("rrd_bank")
    rrd.loss()
    method, h, embedding = rrd.method, rrd.h, rrd.inputs["s_embedding"]
    bank = method.memory_teacher.clone()
    t = F.normalize(method.embed_teacher(rrd.inputs["t_embedding"]), dim=1)
    s = F.normalize(method.embed_student(embedding), dim=1)
    expected = 0.0
    for a, b, rows in zip(s, t, rrd.inputs["contrast_idx"], strict=True):
        own = (method.memory_student[rows] @ b / h.nce_t).exp()
        target = (own / method.normalizer_teacher / h.nce_t_t).softmax(dim=0)
        odds = (bank[rows] @ a / h.nce_t).exp() / method.normalizer_student
        log_p = (odds / h.nce_t_s).log_softmax(dim=0)
        expected = expected - (target.detach() * log_p).sum() / len(s)
    (wanted,) = torch.autograd.grad(expected, embedding)
    value = rrd.loss()
    (gradient,) = torch.autograd.grad(value, embedding)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, wanted)
