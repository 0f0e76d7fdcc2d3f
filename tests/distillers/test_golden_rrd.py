"""RRD against giakoumoglou/distillers' numbers over two steps."""

import pytest
import torch

from tests.distillers import golden

HEADS = {f"embed_s.{kind}": f"embed_student.{kind}" for kind in ("weight", "bias")}
QUEUED = [name for name in golden.names("rrd") if "queue" in golden.load("rrd", name).groups["in"]]


def build(case, inputs, dtype):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    hparams = case.hparams
    method = golden.build(
        case,
        "rrd",
        student,
        teacher,
        dtype,
        weight=1.0,
        feature_dim=hparams["feat_dim"],
        negatives=hparams["nce_k"],
        student_temperature=hparams["nce_t_s"],
        teacher_temperature=hparams["nce_t_t"],
    )
    method.queue.copy_(inputs["queue"])
    return method


def run(method, inputs, suffix=""):
    student, teacher = (golden.outputs(inputs, side, suffix) for side in "st")
    return method(student, teacher, golden.batch(inputs, suffix))["rrd"]


def check_queue(case, method, step):
    expected = case.tensor("aux", f"queue_after{step}")
    torch.testing.assert_close(method.queue.float(), expected)
    assert method.pointer == case.tensor("aux", f"ptr_after{step}")


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", QUEUED)
def test_two_steps(name, dtype):
    case = golden.load("rrd", name)
    inputs = golden.inputs(case, dtype)
    method = build(case, inputs, dtype)
    first = run(method, inputs)
    golden.check_value(case, "rrd", first)
    check_queue(case, method, 1)
    golden.check_value(case, "rrd_step2", run(method, inputs, "_step2"))
    check_queue(case, method, 2)
    first.backward()  # the queue has changed since
    golden.check_gradients(case, inputs)
    golden.check_parameter_gradients(case, method, HEADS)
    assert all(p.grad is None for p in method.embed_teacher.parameters())


def test_the_least_loss_is_the_teachers_entropy():
    case = golden.load("rrd", "c0")
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64)
    method.options.student_temperature = method.options.teacher_temperature
    method.embed_student = method.embed_teacher
    value = run(method, inputs | {"s_embedding": inputs["t_embedding"]})
    t = torch.nn.functional.normalize(method.embed_teacher(inputs["t_embedding"]), dim=1)
    p = torch.softmax(t @ method.queue.T / method.options.teacher_temperature, dim=1)
    torch.testing.assert_close(value, torch.special.entr(p).sum(dim=1).mean())
