"""ITRD and EGA, which share a fixture, against giakoumoglou/distillers' numbers."""

import pytest
import torch

import distillers
from tests.distillers import golden

PARAMETERS = {f"itrd.embed.linear.{kind}": f"embed.{kind}" for kind in ("weight", "bias")}


def networks(inputs):
    return golden.outputs(inputs, "s"), golden.outputs(inputs, "t")


def itrd(case, inputs, dtype):
    options = {"correlation_weight": 1.0, "mutual_weight": 1.0, "alpha": case.hparams["alpha_it"]}
    return golden.build(case, "itrd", *networks(inputs), dtype, weight=1.0, **options)


def ega(case, inputs, dtype):
    weight = case.hparams["ega_edge_weight"]
    return golden.build(case, "ega", *networks(inputs), dtype, weight=1.0, edge_weight=weight)


def total(terms):
    return torch.stack(list(terms.values())).sum()


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("itrd_ega"))
def test_both(name, dtype):
    case = golden.load("itrd_ega", name)
    inputs = golden.inputs(case, dtype)
    method = itrd(case, inputs, dtype)
    terms = method(*networks(inputs), golden.batch(inputs))
    golden.check_value(case, "correlation", terms["itrd.correlation"])
    golden.check_value(case, "mutual", terms["itrd.mutual"])
    value = total(terms)
    golden.check_value(case, "itrd", value)
    if "ega" in case.groups["out"]:
        graphs = total(ega(case, inputs, dtype)(*networks(inputs), golden.batch(inputs)))
        golden.check_value(case, "ega", graphs)
        value = value + graphs
    golden.check(case, "sum", value, inputs)
    golden.check_parameter_gradients(case, method, PARAMETERS)


def test_correlation_against_torch():
    case = golden.load("itrd_ega", "c0")
    inputs = golden.inputs(case, torch.float64)
    method = itrd(case, inputs, torch.float64)
    s, t = method.embed(inputs["s_embedding"]), inputs["t_embedding"]
    s, t = ((x - x.mean(dim=0)) / x.std(dim=0) for x in (s, t))
    expected = ((s * t).mean(dim=0) - 1).abs().pow(3).sum().log2()
    value = method(*networks(inputs), golden.batch(inputs))["itrd.correlation"]
    torch.testing.assert_close(value, expected)


def test_ega_against_torch():
    case = golden.load("itrd_ega", "c1")
    inputs = golden.inputs(case, torch.float64)
    size = len(inputs["s_embedding"])
    table = torch.corrcoef(torch.cat([inputs["t_embedding"], inputs["s_embedding"]]))
    edge = torch.linalg.norm(table[:size, :size] - table[size:, size:])
    node = torch.linalg.norm(table[:size, size:] - torch.eye(size))
    terms = ega(case, inputs, torch.float64)(*networks(inputs), golden.batch(inputs))
    torch.testing.assert_close(terms, {"ega.node": node, "ega.edge": 0.3 * edge})


def test_ega_of_equal_networks_has_no_edges_and_finite_gradients():
    inputs = {f"{side}_embedding": torch.eye(3, 4) for side in "st"}
    inputs["s_embedding"].requires_grad_()
    case = golden.load("itrd_ega", "c1")
    terms = ega(case, inputs, torch.float32)(*networks(inputs), golden.batch(inputs))
    total(terms).backward()
    assert terms["ega.edge"] == 0
    assert torch.isfinite(inputs["s_embedding"].grad).all()


def test_ega_needs_one_width():
    case = golden.load("itrd_ega", "c0")
    with pytest.raises(distillers.Unsupported, match=r"one width, not 10 .* and 14"):
        ega(case, golden.inputs(case, torch.float32), torch.float32)


@pytest.mark.parametrize("dead", ["s_embedding", "t_embedding"])
def test_dead_features_and_dead_samples(dead):
    inputs = {f"{side}_embedding": torch.rand(5, 6) for side in "st"}
    inputs[dead][:, 2] = 0
    inputs[dead][3] = 0
    inputs["s_embedding"].requires_grad_()
    case = golden.load("itrd_ega", "c1")
    for build in (itrd, ega):
        value = total(build(case, inputs, torch.float32)(*networks(inputs), golden.batch(inputs)))
        value.backward()
        assert torch.isfinite(value) and inputs["s_embedding"].grad.abs().max() < 1e3


def test_a_student_that_says_nothing_is_finite():
    inputs = {f"{side}_embedding": torch.rand(4, 3) for side in "st"}
    inputs["s_embedding"] = torch.zeros(4, 3, requires_grad=True)
    case = golden.load("itrd_ega", "c1")
    value = total(itrd(case, inputs, torch.float32)(*networks(inputs), golden.batch(inputs)))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(inputs["s_embedding"].grad).all()
