"""CRD with a queue against giakoumoglou/distillers' numbers; the queue itself."""

import pytest
import torch

from tests.distillers import golden

HEADS = {
    f"embed_{side[0]}.{kind}": f"embed_{side}.{kind}"
    for side in ("student", "teacher")
    for kind in ("weight", "bias")
}


def build(case, inputs, dtype, **options):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    hparams = case.hparams
    given = {
        "feature_dim": hparams["feat_dim"],
        "negatives": hparams["nce_k"],
        "temperature": hparams["nce_t"],
    }
    method = golden.build(
        case, "crd_queue", student, teacher, dtype, weight=1.0, **(given | options)
    )
    if not options:
        method.queue.copy_(inputs["queue"])
    return method


def run(method, inputs):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    return method(student, teacher, golden.batch(inputs))["crd_queue"]


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("crd_queue"))
def test_one_step(name, dtype):
    case = golden.load("crd_queue", name)
    inputs = golden.inputs(case, dtype)
    method = build(case, inputs, dtype)
    value = run(method, inputs)
    golden.check(case, "crd_queue", value, inputs)
    golden.check_parameter_gradients(case, method, HEADS)
    torch.testing.assert_close(method.queue.float(), case.tensor("aux", "queue_after1"))
    assert method.pointer == case.tensor("aux", "ptr_after1")


def test_against_a_loop():
    case = golden.load("crd_queue", "c0")
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    s, t = method.embed(student, teacher)
    value = run(method, inputs)
    expected = 0.0
    for a, b in zip(s, t, strict=True):
        positive = (a @ b / case.hparams["nce_t"]).exp()
        others = sum((a @ row / case.hparams["nce_t"]).exp() for row in method.queue)
        expected -= (positive / (positive + others)).log() / len(s)
    torch.testing.assert_close(value, expected)


def test_the_queue_is_a_ring():
    case = golden.load("crd_queue", "c0")
    inputs = golden.inputs(case, torch.float64)  # 4 samples
    method = build(case, inputs, torch.float64, negatives=6)
    start = method.queue.clone()
    assert torch.equal(method.enqueue(start[:4] + 1, learn=True)[:4], start[:4] + 1)
    assert method.pointer == 4
    method.enqueue(start[:4] + 2, learn=True)
    expected = torch.stack([*(start[2:4] + 2), *(start[2:4] + 1), *(start[:2] + 2)])
    assert torch.equal(method.queue, expected)
    assert method.pointer == 2


def test_of_a_batch_longer_than_the_queue_the_last_stay():
    case = golden.load("crd_queue", "c0")
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64, negatives=3)
    rows = torch.arange(5.0, dtype=torch.float64)[:, None].expand(5, 8)
    method.enqueue(rows, learn=True)
    assert method.queue[:, 0].tolist() == [3, 4, 2]
    assert method.pointer == 2


@pytest.mark.parametrize(("queue_init", "dim"), [("rows", 1), ("columns", 0)])
def test_how_the_queue_starts(queue_init, dim):
    case = golden.load("crd_queue", "c0")
    inputs = golden.inputs(case, torch.float32)
    queue = build(case, inputs, torch.float32, queue_init=queue_init).queue
    norms = queue.norm(dim=dim)
    torch.testing.assert_close(norms, torch.ones_like(norms))


def test_without_gradients_nothing_is_remembered():
    case = golden.load("crd_queue", "c0")
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64)
    with torch.no_grad():
        golden.check_value(case, "crd_queue", run(method, inputs))
    assert torch.equal(method.queue, inputs["queue"]) and method.pointer == 0


def test_a_later_step_does_not_disturb_an_earlier_ones_gradient():
    case = golden.load("crd_queue", "c1")
    inputs = golden.inputs(case, torch.float64)
    method = build(case, inputs, torch.float64)
    value = run(method, inputs)
    run(method, {key: value.detach() + 1 for key, value in inputs.items()})
    value.backward()
    golden.check_gradients(case, inputs)
