"""Two classes: every part of a method's loss trains the student, or the method says n/a."""

import math

import pytest
import torch

import distillers
from distillers import Unsupported
from tests.distillers.pairs import SAME_FAMILY, TOKENS, network
from tests.distillers.runs import Run, info, own, total

STEPS = 2
COMPOSED = [f"{wrapper}+kd" for wrapper in distillers.wrappers()]
OPTIONS = [  # options under which two classes are enough, and the part that they switch off
    ("dkd", {"beta": 0.0}, "dkd.nckd"),
    ("nkd", {"gamma": 0.0}, "nkd.others"),
    ("nkd", {"keep_target": True}, None),
    ("rld", {"beta": 0.0}, "rld.correlation"),
    ("uskd", {"beta": 0.0}, "uskd.others"),
    ("wkd_l", {"transport_weight": 0.0}, None),
    ("clkd", {"correlation": "class_covariance"}, None),
]


def needs_three(name, options=None):
    return distillers.find(name).needs_of(distillers.resolve(name, options or {})).min_classes > 2


def gradients(run, terms):
    """The largest gradient of the student for each term; 0 where a term has none."""
    student = [p for p in run.student.parameters() if p.requires_grad]
    return {
        name: max(
            (
                float(g.abs().max())
                for g in torch.autograd.grad(term, student, retain_graph=True, allow_unused=True)
                if g is not None
            ),
            default=0.0,
        )
        for name, term in terms.items()
        if term.requires_grad
    }


def own_parts(losses):
    """The parts of the method's own term; of KD its only one, of vanilla the cross-entropy."""
    return own(losses) or {name: losses[name] for name in (["kd"] if "kd" in losses else losses)}


def check_trains(run, off=None):
    """Each part is finite, and its gradient no mere rounding, in the first step and the last."""
    seen: dict[str, float] = {}
    for number in range(STEPS):
        losses = run.losses(step=number)
        assert torch.isfinite(total(losses))
        if number in (0, STEPS - 1):
            for name, value in gradients(run, own_parts(losses)).items():
                assert math.isfinite(value)
                seen[name] = max(seen.get(name, 0.0), value)
        run.step(number)
    assert set(seen) == set(own_parts(losses))
    assert min(value for name, value in seen.items() if name != off) > 1e-6, seen
    assert total(run.losses(step=0)) < 1e4  # no divergence


@pytest.mark.parametrize("name", [*distillers.names(), *COMPOSED])
def test_with_two_classes_every_part_trains_or_the_method_is_not_applicable(name):
    if not needs_three(name):
        check_trains(Run(name, classes=2))
        return
    for pair in (SAME_FAMILY, TOKENS):
        teacher, student = (network(net, 2) for net in pair)
        with pytest.raises(Unsupported, match="needs at least 3 classes, and random has 2"):
            distillers.build(name, student, teacher, info(2))


@pytest.mark.parametrize(("name", "options", "off"), OPTIONS, ids=str)
def test_without_the_part_that_needs_three_classes_two_are_enough(name, options, off):
    assert needs_three(name) and not needs_three(name, options)
    check_trains(Run(name, classes=2, **options), off)


@pytest.mark.parametrize("name", [n for n in distillers.names() if needs_three(n)] + ["lskd+kd"])
def test_with_three_classes_they_train(name):
    run = Run(name, classes=3)
    losses = run.losses()
    assert min(gradients(run, own_parts(losses)).values()) > 1e-6
    assert torch.isfinite(total(losses))
