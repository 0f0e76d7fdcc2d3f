"""HKD, for which there is no fixture, against loops over its formulas and torch's gradients."""

import pytest
import torch
from torch.nn.functional import normalize

from datasets import Batch
from distillers.crd import CRD
from distillers.hkd import nearest
from models import Outputs
from tests.distillers import golden

SIZE, TRAIN, K = 10, 30, 6


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {
        "s_logits": draw(SIZE, 5),
        "t_logits": draw(SIZE, 5),
        "s_embedding": draw(SIZE, 7).requires_grad_(),
        "t_embedding": draw(SIZE, 4),
        "indices": torch.randperm(TRAIN, generator=generator)[:SIZE],
        "rows": torch.randint(TRAIN, (SIZE, K), generator=generator),
    }


def outputs(inputs, side):
    return Outputs(inputs[f"{side}_logits"], embedding=inputs[f"{side}_embedding"])


def build(inputs, **options):
    student, teacher = outputs(inputs, "s"), outputs(inputs, "t")
    labels = torch.arange(TRAIN) % 5
    data = golden.info(student, TRAIN, train_labels=labels)
    given = {"weight": 1.0, "feature_dim": 3, "negatives": K, "neighbours": 4}
    method = golden.build("hkd", student, teacher, torch.float64, data, **(given | options))
    method.sample_negatives = lambda batch: torch.cat(
        [inputs["indices"][:, None], inputs["rows"]], dim=1
    )
    return method


def batch_of(inputs):
    size = len(inputs["s_embedding"])
    return Batch(torch.zeros(size, 3, 8, 8), torch.zeros(size).long(), inputs["indices"], 1, 0)


def run(method, inputs):
    return method(outputs(inputs, "s"), outputs(inputs, "t"), batch_of(inputs))["hkd"]


def contrast(anchors, positives, bank, rows, temperature=0.07):
    total = 0.0
    for anchor, positive, negatives in zip(anchors, positives, rows, strict=True):
        scores = [anchor @ positive, *(anchor @ bank[row] for row in negatives)]
        total = total - torch.log_softmax(torch.stack(scores) / temperature, 0)[0]
    return total / len(anchors)


def graph(convolution, vertices, logits, count):
    p = normalize(torch.softmax(logits, dim=1), dim=1)
    nodes = []
    for i in range(len(p)):
        order = sorted(range(len(p)), key=lambda j: (j != i, -float(p[i] @ p[j])))
        mean = torch.stack([vertices[j] for j in order[:count]]).mean(dim=0)
        mixed = vertices[i] @ convolution.weight_self + mean @ convolution.weight_neighbours
        nodes.append(normalize(mixed + convolution.bias, dim=0))
    return torch.stack(nodes)


def expected(method, inputs, count=4, own=True):
    s = normalize(method.embed_student(inputs["s_embedding"]), dim=1)
    t = normalize(method.embed_teacher(inputs["t_embedding"]), dim=1)
    banks = method.memory_student.clone(), method.memory_teacher.clone()
    m_s, m_t = (bank[inputs["indices"]] for bank in banks)
    for_s, for_t = banks if own else banks[::-1]
    rows = inputs["rows"]
    vertex = contrast(s, m_t, for_s, rows) + contrast(t, m_s, for_t, rows)
    g_s = graph(method.graph_student, s, inputs["s_logits"], count)
    g_t = graph(method.graph_teacher, t, inputs["t_logits"], count)
    p_s, p_t = (normalize(0.75 * m + 0.25 * g.detach()) for m, g in ((m_s, g_s), (m_t, g_t)))
    nodes = contrast(g_s, p_t, for_s, rows) + contrast(g_t, p_s, for_t, rows)
    return vertex, nodes, (s, t)


def gradients(method, inputs, loss):
    return torch.autograd.grad(loss, [inputs["s_embedding"], *method.parameters()])


@pytest.mark.parametrize("product_up_to", [16, 0])
@pytest.mark.parametrize("source", ["own", "other"])
def test_against_loops(inputs, source, product_up_to, monkeypatch):
    monkeypatch.setattr(CRD, "product_up_to", product_up_to)
    method = build(inputs, negatives_from=source)
    vertex, nodes, _ = expected(method, inputs, own=source == "own")
    wanted = gradients(method, inputs, vertex + nodes)
    loss = run(method, inputs)
    torch.testing.assert_close(loss, vertex + nodes)
    torch.testing.assert_close(gradients(method, inputs, loss), wanted)


def test_the_banks_are_moving_averages_and_change_only_where_gradients_are_on(inputs):
    method = build(inputs)
    *_, embeddings = expected(method, inputs)
    before = {side: getattr(method, f"memory_{side}").clone() for side in ("student", "teacher")}
    with torch.no_grad():
        run(method, inputs)
    assert all(torch.equal(getattr(method, f"memory_{side}"), before[side]) for side in before)
    run(method, inputs)
    for (side, bank), embedding in zip(before.items(), embeddings, strict=True):
        bank[inputs["indices"]] = normalize(0.9 * bank[inputs["indices"]] + 0.1 * embedding, dim=1)
        torch.testing.assert_close(getattr(method, f"memory_{side}"), bank)


def test_a_batch_smaller_than_the_neighbourhood_has_no_graph_term(inputs):
    method = build(inputs, neighbours=SIZE + 1)
    vertex, *_ = expected(method, inputs)
    torch.testing.assert_close(run(method, inputs), vertex)


def test_every_sample_has_itself_and_its_nearest_neighbour():
    logits = torch.tensor([[9.0, 0, 0], [8, 0, 0], [0, 9, 0], [0, 8, 0.1], [0.0, 0, 9]])
    edges = nearest(logits, 2)
    assert edges.sum(dim=1).tolist() == [2] * 5
    assert edges.diagonal().tolist() == [1] * 5
    assert [edges[0, 1], edges[1, 0], edges[2, 3], edges[3, 2]] == [1] * 4


def test_negatives_are_of_other_classes(inputs):
    method = build(inputs)
    del method.sample_negatives
    labels = inputs["indices"] % 5
    batch = Batch(torch.zeros(SIZE, 3, 8, 8), labels, inputs["indices"], 1, 0)
    rows = method.sample_negatives(batch)
    assert torch.equal(rows[:, 0], inputs["indices"])
    assert (rows[:, 1:] % 5 != labels[:, None]).all()
