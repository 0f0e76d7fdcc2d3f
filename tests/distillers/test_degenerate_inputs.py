"""Dead maps, equal samples and the like: losses and gradients of ordinary size."""

import math

import pytest
import torch

from distillers.dist import pearson
from distillers.lskd import standardised
from tests.distillers.golden_rows import example, stored


def drawn(*leaves, **shapes):
    """Uniform inputs by name, of which ``leaves`` require gradients."""
    generator = torch.Generator().manual_seed(0)
    inputs = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    return inputs | {name: inputs[name].requires_grad_() for name in leaves}


def dead(inputs, name, *places):
    """``inputs`` with zeros at some places of one of them."""
    with torch.no_grad():
        for place in places:
            inputs[name][place] = 0
    return inputs


def zeroed(made, module):
    with torch.no_grad():
        for parameter in getattr(made.method, module).parameters():
            parameter.zero_()
    return made


def at_on_a_dead_map():
    inputs = drawn("s_feat0", s_feat0=(4, 3, 8, 8), t_feat0=(4, 5, 4, 4))
    return example("at", inputs=dead(inputs, "s_feat0", ...))


def crd_on_dead_embeddings():
    made = example("crd", dtype=torch.float32)
    dead(made.inputs, "s_embedding", ...)
    torch.nn.init.zeros_(made.method.embed_student.bias)
    return made


def ft_on_dead_maps():
    made = example("ft", inputs=dead(stored("ft"), "t_feat0", ...))
    return zeroed(made, "encoder")


def irg_on_equal_samples(variant):
    leaves = {"s_feat0": (4, 3, 4, 4), "s_feat1": (4, 6, 2, 2), "s_embedding": (4, 6)}
    teacher = {"t_feat0": (4, 4, 4, 4), "t_feat1": (4, 8, 2, 2), "t_embedding": (4, 6)}
    inputs = drawn(*leaves, **leaves, **teacher)
    with torch.no_grad():
        for leaf in leaves:
            inputs[leaf].fill_(1.0)
    weights = ("logits_weight", "edge_weight", "transformation_weight")
    return example(f"irg_{variant}", inputs=inputs, **dict.fromkeys(weights, 1.0))


def itrd_or_ega_on_a_dead_feature_and_a_dead_sample(name, side):
    inputs = drawn("s_embedding", s_embedding=(5, 6), t_embedding=(5, 6))
    made = example("itrd and ega", inputs=dead(inputs, f"{side}_embedding", (..., 2), 3))
    made.methods = [method for method in made.methods if method.name == name]
    return made


def itrd_on_a_dead_student():
    inputs = drawn("s_embedding", s_embedding=(4, 3), t_embedding=(4, 3))
    return example("itrd_ega", inputs=dead(inputs, "s_embedding", ...))


def kdsvd_on_dead_channels_and_samples():
    shapes = {f"{side}_feat{i}": (3, 6, 2, 2) for side in "st" for i in range(2)}
    inputs = drawn("s_feat0", "s_feat1", **shapes)
    dead(inputs, "s_feat0", (slice(None), slice(2, None)))
    dead(dead(inputs, "s_feat1", 0), "t_feat1", 1)
    made = example("kdsvd", inputs=inputs)
    del made.method.orient  # the reference's signs
    return made


def mgd_with_everything_masked():
    made = example("mgd", mask_ratio=1.0)
    del made.method.sample_mask  # the reference's mask
    return made


def rkd_on_equal_embeddings(count):
    inputs = stored("rkd")
    with torch.no_grad():
        inputs["s_embedding"][:count] = inputs["s_embedding"][0].clone()
    return example("rkd", inputs=inputs)


def semckd_on_dead_teachers():
    made = example("semckd", dtype=torch.float32)
    dead(dead(made.inputs, "t_feat0", ...), "t_feat1", ...)
    return zeroed(made, "queries")


def sp_or_nst(name, *place):
    inputs = drawn("s_feat0", s_feat0=(4, 3, 4, 4), t_feat0=(4, 3, 4, 4))
    return example(name, inputs=dead(inputs, "s_feat0", place))


MADE = {  # and the largest gradient that is allowed
    "at": (at_on_a_dead_map, 0.0),
    "crd": (crd_on_dead_embeddings, math.inf),
    "ft": (ft_on_dead_maps, math.inf),
    "irg, aberhu": (lambda: irg_on_equal_samples("aberhu"), math.inf),
    "irg, semckd": (lambda: irg_on_equal_samples("semckd"), math.inf),
    "itrd, dead student": (itrd_on_a_dead_student, math.inf),
    "kdsvd": (kdsvd_on_dead_channels_and_samples, math.inf),
    "mgd, all masked": (mgd_with_everything_masked, 0.0),
    "nst": (lambda: sp_or_nst("nst", slice(None), 1), 10.0),
    "rkd, two equal": (lambda: rkd_on_equal_embeddings(2), 1e3),
    "rkd, all equal": (lambda: rkd_on_equal_embeddings(6), 1e3),
    "semckd": (semckd_on_dead_teachers, math.inf),
    "sp": (lambda: sp_or_nst("sp", 1), 1.0),
}
for _name in ("itrd", "ega"):
    for _side in "st":
        MADE[f"{_name}, dead {_side}"] = (
            lambda name=_name, side=_side: itrd_or_ega_on_a_dead_feature_and_a_dead_sample(
                name, side
            ),
            1e3,
        )


@pytest.mark.parametrize(("make", "largest"), MADE.values(), ids=MADE)
def test_losses_gradients_and_state_are_finite(make, largest):
    made = make()
    value = made.loss()
    value.backward()
    gradients = [x.grad for x in made.inputs.values() if x.grad is not None]
    assert torch.isfinite(value) and gradients
    for gradient in gradients:
        assert torch.isfinite(gradient).all() and gradient.abs().max() <= largest
    assert all(torch.isfinite(state).all() for state in made.method.state_dict().values())


def test_pkt_has_no_gradient_at_a_zero_embedding():
    inputs = drawn("s_embedding", s_embedding=(4, 3), t_embedding=(4, 3))
    example("pkt", inputs=dead(inputs, "s_embedding", 1)).loss().backward()
    gradient = inputs["s_embedding"].grad
    assert gradient[1].abs().max() == 0
    assert 0 < gradient.abs().max() < 1


def test_ega_of_equal_networks_has_no_edges_and_finite_gradients():
    inputs = {f"{side}_embedding": torch.eye(3, 4) for side in "st"}
    inputs["s_embedding"].requires_grad_()
    losses = example("itrd and ega", inputs=inputs).losses()
    (losses["ega.node"] + losses["ega.edge"]).backward()
    assert losses["ega.edge"] == 0
    assert torch.isfinite(inputs["s_embedding"].grad).all()


@pytest.mark.parametrize("mode", ["released", "paper"])
def test_skd_between_equal_logits_has_no_distance_and_no_gradient(mode):
    logits = torch.randn(6, 10, requires_grad=True)
    inputs = {"s_logits": logits, "t_logits": logits}
    direction = example("skd", inputs=inputs, mode=mode).losses()["skd.direction"]
    direction.backward()
    assert direction == 0 and not logits.grad.any()


def test_equal_logits_are_standardised_to_zeros_without_a_gradient():
    logits = torch.full((2, 5), 3.0, requires_grad=True)
    values = standardised(logits)
    (values * torch.arange(5.0)).sum().backward()
    assert not values.any() and not logits.grad.any()


def test_a_constant_row_has_no_correlation_and_no_gradient():
    constant = torch.full((1, 7), 0.25, requires_grad=True)
    value = pearson(constant, torch.randn(1, 7))
    value.sum().backward()
    assert value == 0 and not constant.grad.any()
