"""LSKD around KD, DKD and MLKD against the authors' numbers."""

import dataclasses

import pytest
import torch

import distillers
from distillers.lskd import standardised
from tests.distillers import golden


def views(inputs, side):
    strong = golden.outputs(inputs, side, "_strong")
    return dataclasses.replace(golden.outputs(inputs, side), views=(strong,))


def run(case, name, inputs, dtype, **options):
    student, teacher = views(inputs, "s"), views(inputs, "t")
    method = golden.build(case, name, student, teacher, dtype, **options)
    return method(student, teacher, golden.batch(inputs, epoch=case.hparams["epoch"]))


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("lskd"))
def test_lskd(name, dtype):
    case = golden.load("lskd", name)
    inputs, hparams = golden.inputs(case, dtype), case.hparams
    t, kd = hparams["T"], hparams["kd_weight"]
    weights = {option: hparams[option] for option in ("alpha", "beta")}
    assert hparams["warmup"] == 20 and hparams["eps"] == 1e-7
    terms = {"kd": run(case, "lskd+kd", inputs, dtype, kd=kd, kd_temperature=t)["kd"]}
    dkd = run(case, "lskd+dkd", inputs, dtype, temperature=t, **weights)
    terms["dkd"] = dkd["dkd.tckd"] + dkd["dkd.nckd"]
    mlkd = run(case, "lskd+mlkd", inputs, dtype, weight=kd, temperature=t)
    for part, theirs in (("instance", "kd"), ("class", "cc"), ("batch", "bc")):
        terms[f"mlkd_{theirs}"] = mlkd[f"mlkd.{part}"]
    for term, value in terms.items():
        golden.check_value(case, term, value)
    total = torch.stack(list(terms.values())).sum()
    golden.check_value(case, "sum", total)
    total.backward()
    golden.check_gradients(case, inputs)


@pytest.mark.parametrize("name", golden.names("lskd"))
def test_standardised_logits(name):
    case = golden.load("lskd", name)
    for side in "st":
        found = standardised(case.tensor("in", f"{side}_logits"))
        torch.testing.assert_close(found, case.tensor("aux", f"{side}_standardised"))


def test_equal_logits_become_zeros_without_a_gradient():
    logits = torch.full((2, 5), 3.0, requires_grad=True)
    found = standardised(logits)
    (found * torch.arange(5.0)).sum().backward()
    assert not found.any() and not logits.grad.any()


@pytest.mark.parametrize(
    ("name", "preset", "expected"),
    [
        ("lskd+kd", None, {"ce": 0.1, "kd": 9.0, "kd_temperature": 2.0}),
        ("lskd+kd", "imagenet", {"ce": 1.0, "kd": 9.0, "kd_temperature": 2.0}),
        ("lskd+dkd", None, {"ce": 1.0, "alpha": 9.0, "beta": 72.0, "temperature": 2.0}),
        ("lskd+dkd", "imagenet", {"alpha": 9.0, "beta": 4.5, "temperature": 2.0}),
        ("lskd+mlkd", None, {"ce": 0.1, "weight": 9.0, "temperature": 2.0}),
        ("lskd+ctkd+kd", None, {"ce": 0.1, "kd": 9.0}),
        ("lskd+crd+kd", None, {"kd": 1.0, "weight": 0.8, "kd_temperature": 4.0}),
    ],
)
def test_defaults_are_the_authors(name, preset, expected):
    found = distillers.defaults(name, preset)
    assert {option: found[option] for option in expected} == expected
