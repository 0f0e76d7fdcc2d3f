"""GK-DFD against its worked examples and golden fixtures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import distillers
from distillers.alignment import (
    alignment_matrix,
    alignment_weights,
    discriminative_projection,
    principal_axes,
    relation_projection,
)
from distillers.gk_dfd import consistency_loss, projected_loss, signed_loss
from distillers.graphs import (
    GraphConvolution,
    class_aware_adjacency,
    normalised_adjacency,
    unified_edge_metric,
)
from tests.distillers import golden

DOUBLE = torch.float64
PRINTED = {"rtol": 0, "atol": 1e-6}  # of the worked examples


def tensor(*rows):
    return torch.tensor(rows, dtype=DOUBLE)


def identity_convolution(dimension):
    convolution = GraphConvolution(dimension).to(DOUBLE)
    with torch.no_grad():
        convolution.weight_self.copy_(torch.eye(dimension))
        convolution.weight_neighbours.copy_(torch.eye(dimension))
        convolution.bias.zero_()
    return convolution


# ---- worked examples -----------------------------------------------------------------------------

LOGITS = tensor([2, 0, 0], [1, 0, 0], [0, 2, 0], [0, 1, 1])
CLASSES = torch.tensor([0, 0, 1, 1])
NODES_T = tensor([1, 0, 0], [0.8, 0.6, 0], [0, 1, 0], [0, 0.6, 0.8])
NODES_S = tensor([0.6, 0.8, 0], [1, 0, 0], [0, 0.8, 0.6], [0, 1, 0])
ADJACENCY = tensor(
    [1, 0.751427, 0.010692, 0.087977],
    [0.751427, 1, 0.106669, 0.216157],
    [0.010692, 0.106669, 1, 0.514052],
    [0.087977, 0.216157, 0.514052, 1],
)


def test_adjacency_from_probabilities():
    p = LOGITS.softmax(dim=1)
    torch.testing.assert_close(class_aware_adjacency(p, CLASSES), ADJACENCY, **PRINTED)
    u = unified_edge_metric(p)
    edges = u[[0, 0, 0, 1, 1, 2], [1, 2, 3, 2, 3, 3]]
    expected = torch.tensor([0.751427, 0.021384, 0.175955, 0.213339, 0.432313, 0.514052])
    torch.testing.assert_close(edges, expected.double(), **PRINTED)


def test_adjacency_from_logits_is_nearly_the_identity():
    expected = torch.eye(4, dtype=DOUBLE)
    expected[0, 1] = expected[1, 0] = 0.367879
    expected[2, 3] = expected[3, 2] = 0.096670
    torch.testing.assert_close(class_aware_adjacency(LOGITS, CLASSES), expected, **PRINTED)
    u = unified_edge_metric(LOGITS)[[0, 0, 1, 1], [2, 3, 2, 3]].sort().values
    expected = tensor(-0.440894, -0.413662, -0.393122, -0.323079)
    torch.testing.assert_close(u, expected, **PRINTED)


def test_graph_convolution():
    adjacency = class_aware_adjacency(LOGITS.softmax(dim=1), CLASSES)
    scaled = normalised_adjacency(adjacency)
    expected = tensor(
        [0.540512, 0.383583, 0.006154, 0.047968], [0.047968, 0.111306, 0.298474, 0.549999]
    )
    torch.testing.assert_close(scaled[[0, 3]], expected, **PRINTED)
    convolution = identity_convolution(2)
    nodes_t = convolution(tensor([1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]), adjacency)
    nodes_s = convolution(tensor([1, 0], [1, 0], [0.6, 0.8], [0, 1]), adjacency)
    expected = tensor(
        [0.988785, 0.149345], [0.823187, 0.567770], [-0.066925, 0.997758], [-0.442900, 0.896571]
    )
    torch.testing.assert_close(nodes_t, expected, **PRINTED)
    assert consistency_loss(nodes_s, nodes_t).item() == pytest.approx(0.135307560, abs=1e-9)


MATCHED = [
    # classes, positives, negatives, L, loss
    ([0, 0, 1, 1], 1, 2,
     [[0, -2, 1, 1], [-2, 0, 1, 1], [1, 1, 0, -2], [1, 1, -2, 0]], 0.179929383),
    ([0, 0, 1, 1], 1, 1,
     [[1, -2, 0, 1], [-2, -1, 2, 1], [0, 2, 0, -2], [1, 1, -2, 0]], 0.164585075),
    ([0, 0, 1, 2], 7, 56,
     [[1, -2, 0.5, 0.5], [-2, 1, 0.5, 0.5], [0.5, 0.5, -1, 0], [0.5, 0.5, 0, -1]], 0.557876126),
    ([0, 1, 2, 3], 7, 56, [[0] * 4] * 4, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("classes", "positives", "negatives", "laplacian", "loss"), MATCHED)
def test_discriminative_matching(classes, positives, negatives, laplacian, loss):
    classes = torch.tensor(classes)
    mean, axes, variances = principal_axes(NODES_T, ratio=1.5)
    torch.testing.assert_close(variances, tensor(0.441665, 0.150762), **PRINTED)
    weights = alignment_weights((NODES_T - mean) @ axes, classes, positives, negatives)
    torch.testing.assert_close(alignment_matrix(weights), tensor(*laplacian), **PRINTED)
    projection, exists = discriminative_projection(NODES_T, classes, 1.5, positives, negatives)
    assert exists.item() == (loss > 0)
    value = projected_loss(NODES_S, NODES_T, projection)
    assert value.item() == pytest.approx(loss, abs=1e-9)


@pytest.mark.parametrize(
    ("negatives", "eigenvalues"), [(2, (-4.652495, 0.907456)), (1, (-3.794112, 1.306982))]
)
def test_moment_of_the_worked_examples(negatives, eigenvalues):
    mean, axes, _ = principal_axes(NODES_T, ratio=1.5)
    points = (NODES_T - mean) @ axes
    moment = points.T @ alignment_matrix(alignment_weights(points, CLASSES, 1, negatives)) @ points
    torch.testing.assert_close(torch.linalg.eigvalsh(moment), tensor(*eigenvalues), **PRINTED)


@pytest.mark.parametrize(
    ("dimension", "loss"), [(1, -1.333333333), (None, -1.333333333), (2, -0.251826736)]
)
def test_signed_matching(dimension, loss):
    mean, projection, relations, exists = relation_projection(
        NODES_T, CLASSES, 1.5, positives=7, dimension=dimension
    )
    expected = tensor(
        [1, 1, -0.5, -0.5], [1, 1, -0.5, -0.5], [-0.5, -0.5, 1, 1], [-0.5, -0.5, 1, 1]
    )
    assert torch.equal(relations, expected)
    assert exists
    value = signed_loss(NODES_S, NODES_T, mean, projection, relations)
    assert value.item() == pytest.approx(loss, abs=1e-9)


# ---- golden fixtures -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c0", "c1"])
def test_adjacency_matches_the_fixture(name):
    case = golden.load("gkdfd", name)
    inputs = golden.inputs(case, DOUBLE)
    logits = inputs["t_logits"]
    predictions = logits if case.hparams["uem_input"] == "logits" else logits.softmax(dim=1)
    adjacency = class_aware_adjacency(predictions, inputs["labels"], case.hparams["kappa"])
    torch.testing.assert_close(adjacency, case.tensor("aux", "A"), rtol=1e-8, atol=1e-14)
    golden.check_value(case, "A12", adjacency[0, 1])


def test_graph_convolution_matches_the_fixture():
    case = golden.load("gkdfd", "c2")
    inputs = golden.inputs(case, DOUBLE)
    convolution = identity_convolution(2)
    nodes = [convolution(inputs[x], inputs["A"]) for x in ("x_s", "x_t")]
    torch.testing.assert_close(nodes[1], case.tensor("aux", "G_t"), rtol=1e-8, atol=1e-14)
    value = consistency_loss(*nodes)
    golden.check_value(case, "L_GC", value)
    value.backward()
    golden.check_gradients(case, inputs)


@pytest.mark.parametrize("name", ["c3", "c4", "c5", "c6"])
def test_discriminative_matching_matches_the_fixture(name):
    case = golden.load("gkdfd", name)
    inputs, hparams = golden.inputs(case, DOUBLE), case.hparams
    student, teacher, classes = inputs["G_s"], inputs["G_t"], inputs["labels"]
    projection, exists = discriminative_projection(
        teacher, classes, hparams["rho"], hparams["k1"], hparams["k2"], hparams["q"]
    )
    assert exists.item() != hparams["skipped"]
    if not hparams["skipped"]:
        projector = case.tensor("aux", "PU_projector")
        torch.testing.assert_close(projection @ projection.T, projector, rtol=0, atol=1e-8)
    value = projected_loss(student, teacher, projection)
    golden.check_value(case, "L_DFD", value)
    value.backward()
    golden.check_gradients(case, inputs)


@pytest.mark.parametrize("name", ["c10", "c11"])
def test_signed_matching_matches_the_fixture(name):
    case = golden.load("gkdfd", name)
    inputs, hparams = golden.inputs(case, DOUBLE), case.hparams
    student, teacher = inputs["G_s"], inputs["G_t"]
    *matched, _ = relation_projection(
        teacher, inputs["labels"], hparams["rho"], hparams["k1"], hparams["q"]
    )
    torch.testing.assert_close(matched[2], case.tensor("aux", "R"), rtol=1e-8, atol=0)
    value = signed_loss(student, teacher, *matched)
    golden.check_value(case, "L_feat", value)
    value.backward()
    golden.check_gradients(case, inputs)


def head_parameters(head, side):
    """The fixture's names of a head's parameters."""
    return {
        f"lin_{side}_weight": head.vertex.weight,
        f"lin_{side}_bias": head.vertex.bias,
        f"W0_{side}": head.convolution.weight_self,
        f"W1_{side}": head.convolution.weight_neighbours,
        f"bias_{side}": head.convolution.bias,
    }


def loaded(method, inputs):
    """``method`` with the fixture's parameters; returns them by the fixture's names."""
    named = head_parameters(method.student_head, "s") | head_parameters(method.teacher_head, "t")
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(inputs[name])
    return named


WHOLE = {
    "c12": {},
    "c13": {"teacher_head": "joint"},
    "c14": {"structure": "signed", "class_source": "predictions", "teacher_head": "joint"},
}


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", WHOLE)
def test_whole_method_matches_the_fixture(name, dtype):
    case = golden.load("gkdfd", name)
    inputs, hparams = golden.inputs(case, dtype), case.hparams
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    options = WHOLE[name] | {
        "dimension": len(inputs["bias_s"]),
        "kappa": hparams["kappa"],
        "uem_input": hparams["uem_input"],
        "pca_ratio": hparams["rho"],
        "positives": hparams["k1"],
        "negatives": hparams["k2"],
        "subspace_dimension": hparams["q"],
        "alpha": hparams["alpha"],
        "beta": hparams["beta"],
        "ce": 1.0,
    }
    method = golden.build("gk_dfd", student, teacher, dtype, **options)
    parameters = loaded(method, inputs)
    losses = method(student, teacher, golden.batch(inputs))
    parts = {"ce": "ce", "gk_dfd.gc": "L_GC", "gk_dfd.dfd": "L_DFD"}
    parts |= {"gk_dfd.graph": "L_graph", "gk_dfd.feature": "L_feat"}
    weights = {"ce": 1.0, "L_GC": 0.7, "L_graph": 0.7, "L_DFD": 1.2, "L_feat": 1.2}
    for part, loss in losses.items():
        golden.check_value(case, parts[part], loss / weights[parts[part]])
    total = sum(losses.values())
    golden.check_value(case, "total", total)
    total.backward()
    golden.check_gradients(case, inputs | parameters)


class GivenVertices(nn.Module):
    """A head whose vertices are its input and whose convolution's matrices are identities."""

    def __init__(self, dimension):
        super().__init__()
        self.convolution = identity_convolution(dimension)

    def forward(self, vertices, adjacency):
        return vertices, self.convolution(vertices, adjacency)


def worked(case, dtype=DOUBLE, **options):
    """Inputs and losses of the method on the unit vertices x_s, x_t."""
    inputs = golden.inputs(case, dtype)
    student = golden.outputs(inputs, "s", embedding=inputs["x_s"])
    teacher = golden.outputs(inputs, "t", embedding=inputs["x_t"])
    width = inputs["x_s"].shape[1]
    method = golden.build("gk_dfd", student, teacher, dtype, dimension=width, ce=1.0, **options)
    method.student_head, method.teacher_head = GivenVertices(width), GivenVertices(width)
    return inputs, method(student, teacher, golden.batch(inputs))


@pytest.mark.parametrize(("name", "total"), [("c7", 1.379704028), ("c8", 1.453011159)])
def test_end_to_end_example(name, total):
    case = golden.load("gkdfd", name)
    inputs, losses = worked(
        case, uem_input=case.hparams["uem_input"], pca_ratio=1.5, positives=1, negatives=2
    )
    golden.check_value(case, "ce", losses["ce"])
    golden.check_value(case, "L_GC", losses["gk_dfd.gc"] / 0.7)
    golden.check_value(case, "L_DFD", losses["gk_dfd.dfd"] / 1.2)
    value = sum(losses.values())
    assert value.item() == pytest.approx(total, abs=1e-9)
    value.backward()
    golden.check_gradients(case, inputs)


def test_signed_graph_example():
    case = golden.load("gkdfd", "c9")
    options = distillers.find("gk_dfd").presets["signed"]
    inputs, losses = worked(case, **options)
    golden.check_value(case, "L_graph", losses["gk_dfd.graph"] / 0.7)
    assert (losses["gk_dfd.graph"] / 0.7).item() == pytest.approx(0.468970675, abs=1e-6)
    losses["gk_dfd.graph"].div(0.7).backward()
    golden.check_gradients(case, inputs)
