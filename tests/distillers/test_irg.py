"""IRG's formulas: worked examples, golden fixtures, and properties on any batch."""

from __future__ import annotations

import pytest
import torch

from distillers.irg import (
    aligned,
    edge_loss,
    edges,
    transformation,
    transformation_loss,
)
from tests.distillers import golden
from tests.distillers.loops import normal

DOUBLE = torch.float64
GRADIENT = 1e-8  # of the worked examples, which print nine digits


def tensor(*rows):
    return torch.tensor(rows, dtype=DOUBLE)


# ---- worked examples -----------------------------------------------------------------------------

TEACHER = tensor([0, 0], [3, 4], [6, 8])
STUDENT = tensor([0, 0], [1, 0], [0, 2])
DETACHED = tensor([0.013333333, 0.106666667], [0.186666667, -0.4], [-0.2, 0.293333333])


def test_edges_of_the_worked_example():
    expected = tensor([0, 0.25, 1], [0.25, 0, 0.25], [1, 0.25, 0])
    torch.testing.assert_close(edges(TEACHER), expected, rtol=1e-12, atol=0)
    value = edge_loss(edges(STUDENT), edges(TEACHER))
    assert value.item() == pytest.approx(1.21 / 6, rel=1e-12)


@pytest.mark.parametrize(("caffe", "expected"), [(True, DETACHED / 2), (False, DETACHED)])
def test_the_edge_gradient_is_the_authors_or_the_true_one(caffe, expected):
    x = STUDENT.clone().requires_grad_()
    edge_loss(edges(x, caffe_grad=caffe), edges(TEACHER)).backward()
    torch.testing.assert_close(x.grad, expected, atol=GRADIENT, rtol=0)


def test_transformation_of_the_worked_example():
    x, y = tensor([1, 0], [0, 1], [1, 1]), tensor([1, 2], [3, 1], [1, 2])
    target = transformation(x, y)
    torch.testing.assert_close(target, torch.tensor([4 / 9, 1, 1 / 9], dtype=DOUBLE))
    x = tensor([0, 0], [1, 1], [2, 0]).requires_grad_()
    y = tensor([1, 0], [1, 3], [2, 0]).requires_grad_()
    value = transformation_loss(transformation(x, y), target)
    assert value.item() == pytest.approx(0.025077160, abs=1e-9)
    value.backward()
    expected = tensor([-0.097222222, 0], [0, 0], [0, 0])
    torch.testing.assert_close(y.grad, expected, atol=GRADIENT, rtol=0)
    torch.testing.assert_close(x.grad, -expected, atol=GRADIENT, rtol=0)


def test_stage_alignment_averages_places_and_channels():
    early = torch.tensor([[[[1.0, 2], [3, 4]]], [[[0, 0], [0, 4]]]])
    late = torch.tensor([[1.0, 2], [3, 5]])[:, :, None, None]
    x, y = aligned(early, late)
    assert x.flatten().tolist() == [2.5, 1.0]
    assert y.flatten().tolist() == [1.5, 4.0]
    torch.testing.assert_close(transformation(x, y), torch.tensor([1 / 9, 1]))


def test_alignment_takes_the_smaller_of_every_side():
    x, y = torch.randn(2, 6, 4, 8), torch.randn(2, 3, 8, 4)
    small_x, small_y = aligned(x, y)
    torch.testing.assert_close(small_x, x.view(2, 3, 2, 4, 4, 2).mean((2, 5)))
    torch.testing.assert_close(small_y, y.view(2, 3, 4, 2, 4).mean(3))
    assert [z.shape for z in aligned(x, torch.randn(2, 4, 4, 4))] == [(2, 4, 4, 4)] * 2


def test_alignment_leaves_equal_shapes_alone():
    x, y = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(aligned(x, y), (x, y))


# ---- golden fixtures -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c0", "c4"])
def test_edges_match_the_fixture(name):
    case = golden.load("irg", name)
    inputs = golden.inputs(case, DOUBLE)
    matrix = edges(inputs["s_embedding"])
    torch.testing.assert_close(matrix, case.tensor("aux", "A_s"), rtol=1e-8, atol=0)
    golden.check_value(case, "edge", edge_loss(matrix, edges(inputs["t_embedding"])))


@pytest.mark.parametrize(("group", "caffe"), [("grad", False), ("grad_caffe", True)])
def test_one_edge_term_matches_the_fixture(group, caffe):
    case = golden.load("irg", "c0")
    inputs = golden.inputs(case, DOUBLE)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build("irg", student, teacher, DOUBLE,
        logits_weight=0.0, vertices="embedding", caffe_grad=caffe,
    )  # fmt: skip
    losses = method(student, teacher, golden.batch(inputs))
    golden.check_value(case, "edge_weighted", losses["irg.edge"])
    (losses["irg.edge"] / 0.005).backward()
    golden.check_gradients(case, inputs, group)


def test_transformation_matches_the_fixture():
    case = golden.load("irg", "c1")
    inputs = golden.inputs(case, DOUBLE)
    student = transformation(inputs["s_first0"], inputs["s_last0"])
    teacher = transformation(inputs["t_first0"], inputs["t_last0"])
    value = transformation_loss(student, teacher)
    golden.check_value(case, "tran", value)
    value.backward()
    golden.check_gradients(case, inputs)


def test_stage_alignment_matches_the_fixture():
    case = golden.load("irg", "c3")
    inputs = golden.inputs(case, DOUBLE)
    moved = transformation(*aligned(inputs["s_feat_early"], inputs["s_feat_late"]))
    torch.testing.assert_close(moved, case.tensor("aux", "lam"), rtol=1e-8, atol=0)


def staged(inputs, side, tail):
    """Outputs whose stages are the fixture's (first, last) pairs, then the tail as last stage."""
    stages = []
    while (key := f"{side}_first{len(stages)}") in inputs:
        stages.append((inputs[key], inputs[key.replace("first", "last")]))
    maps = tuple(tuple(x[:, :, None, None] for x in stage) for stage in (*stages, tail))
    return golden.outputs(inputs, side, blocks=maps)


@pytest.mark.parametrize("name", ["c2", "c5"])
@pytest.mark.parametrize(("group", "caffe"), [("grad", False), ("grad_caffe", True)])
def test_all_terms_match_the_fixture(name, group, caffe):
    case = golden.load("irg", name)
    inputs = golden.inputs(case, DOUBLE)
    student = staged(inputs, "s", [inputs[f"s_tail{i}"] for i in range(3)])
    teacher = staged(inputs, "t", [inputs["t_tail"]])  # one block: no transformation there
    options = {"ce": 1.0, "transformation_weight": 0.005, "caffe_grad": caffe}
    method = golden.build("irg", student, teacher, DOUBLE, **options)
    losses = method(student, teacher, golden.batch(inputs))
    golden.check_value(case, "ce", losses["ce"])
    for term, part, weight in (
        ("logits", "logits", 0.1),
        ("edge", "edge", 0.005),
        ("tran", "transformation", 0.005),
    ):
        golden.check_value(case, term, losses[f"irg.{part}"] / weight)
    total = sum(losses.values())
    golden.check_value(case, "mtk", total)
    total.backward()
    golden.check_gradients(case, inputs, group)


def test_float32_matches_the_fixture_too():
    case = golden.load("irg", "c5")
    inputs = golden.inputs(case, torch.float32)
    student = staged(inputs, "s", [inputs[f"s_tail{i}"] for i in range(3)])
    teacher = staged(inputs, "t", [inputs["t_tail"]])
    method = golden.build(
        "irg", student, teacher, torch.float32, ce=1.0, transformation_weight=0.005
    )
    losses = method(student, teacher, golden.batch(inputs))
    total = sum(losses.values())
    golden.check_value(case, "mtk", total)
    total.backward()
    golden.check_gradients(case, inputs)


# ---- any batch -----------------------------------------------------------------------------------


def test_edges_ignore_translation_rotation_and_scale():
    x = normal(9, 5)
    rotation = torch.linalg.qr(normal(5, 5, seed=1)).Q
    moved = 3.7 * (x @ rotation) + normal(5, seed=2)
    torch.testing.assert_close(edges(moved), edges(x), rtol=1e-10, atol=1e-12)


def test_edges_and_transformations_follow_a_permutation_of_the_batch():
    x, y, order = normal(9, 5), normal(9, 5, seed=1), torch.randperm(9)
    torch.testing.assert_close(edges(x[order]), edges(x)[order][:, order])
    torch.testing.assert_close(transformation(x[order], y[order]), transformation(x, y)[order])


def test_caffe_gradient_is_half_of_the_true_one():
    gradients = []
    for caffe in (True, False):
        x = normal(9, 5).requires_grad_()
        edge_loss(edges(x, caffe), edges(normal(9, 7, seed=1))).backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[0], gradients[1] / 2, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("caffe", [True, False])
def test_equal_vertices_have_no_edges_and_no_gradient(caffe):
    x = torch.ones(3, 2, requires_grad=True)
    matrix = edges(x, caffe)
    assert torch.equal(matrix, torch.zeros(3, 3))
    edge_loss(matrix, edges(TEACHER.float())).backward()
    assert torch.equal(x.grad, torch.zeros(3, 2))


def test_one_sample_has_an_edge_matrix_of_zero():
    assert torch.equal(edges(torch.ones(1, 4)), torch.zeros(1, 1))


def test_a_stage_that_moves_nothing_has_zero_lambda():
    x = torch.ones(3, 2, requires_grad=True)
    moved = transformation(x, torch.ones(3, 2))
    assert torch.equal(moved, torch.zeros(3))
    transformation_loss(moved, torch.ones(3)).backward()
    assert torch.equal(x.grad, torch.zeros(3, 2))


def test_nan_features_give_nan_edges():
    assert edges(torch.tensor([[1.0, float("nan")], [0, 0]])).isnan().any()


def test_edges_of_close_points_far_from_the_origin_are_exact():
    x = 1000 + torch.tensor([[0.0], [0.25], [1.0]])
    torch.testing.assert_close(edges(x), edges(x.double() - 1000).float(), rtol=1e-6, atol=0)
