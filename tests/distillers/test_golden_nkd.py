"""NKD against cls_KD's numbers; soft labels, two classes, and a loop over the formula."""

import math

import pytest
import torch

import distillers
from tests.distillers import golden


def run(case, dtype, **changes):
    inputs = golden.inputs(case, dtype) | changes
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    options = {"temperature": case.hparams["temp"], "gamma": case.hparams["gamma"]}
    method = golden.build(case, "nkd", student, teacher, dtype, **options)
    return inputs, method(student, teacher, golden.batch(inputs))


def labels(case, dtype):
    soft = "soft_labels" in case.groups["in"]
    return case.tensor("in", "soft_labels" if soft else "labels", dtype)


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("nkd"))
def test_nkd(name, dtype):
    case = golden.load("nkd", name)
    inputs, losses = run(case, dtype, labels=labels(case, dtype))
    assert set(losses) == {"nkd.target", "nkd.others"}
    total = losses["nkd.target"] + losses["nkd.others"]
    golden.check_value(case, "nkd", total)
    total.backward()
    golden.check_gradients(case, inputs)


def softmax(values):
    top = max(values)
    powers = [math.exp(v - top) for v in values]
    return [power / sum(powers) for power in powers]


def test_a_loop_over_the_formula():
    case = golden.load("nkd", "c1")
    inputs, losses = run(case, torch.float64)
    s, t = inputs["s_logits"].tolist(), inputs["t_logits"].tolist()
    temperature, gamma, target, others = case.hparams["temp"], case.hparams["gamma"], 0.0, 0.0
    for row_s, row_t, y in zip(s, t, inputs["labels"].tolist(), strict=True):
        target -= softmax(row_t)[y] * math.log(softmax(row_s)[y]) / len(s)
        p, q = (softmax([v / temperature for v in r[:y] + r[y + 1 :]]) for r in (row_s, row_t))
        others -= sum(b * math.log(a) for a, b in zip(p, q, strict=True)) / len(s)
    assert losses["nkd.target"].item() == pytest.approx(target, rel=1e-12)
    assert losses["nkd.others"].item() == pytest.approx(gamma * temperature**2 * others, rel=1e-12)


def test_with_two_classes_only_the_target_is_left():
    case = golden.load("nkd", "c0")
    small = {f"{side}_logits": torch.randn(4, 2, dtype=torch.float64) for side in "st"}
    _, losses = run(case, torch.float64, labels=torch.tensor([0, 1, 1, 0]), **small)
    assert losses["nkd.others"] == 0 and losses["nkd.target"] > 0


def test_as_sdds_authors_run_it():
    """Target kept: Σ_c q'_c log p'_c over all classes; and a warm-up over both terms."""
    case = golden.load("nkd", "c1")
    inputs = golden.inputs(case, torch.float64)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    options = distillers.defaults("nkd", "sdd") | {"ce": 0.0}
    method = golden.build(case, "nkd", student, teacher, torch.float64, **options)
    late, early = (method(student, teacher, golden.batch(inputs, epoch=e)) for e in (20, 5))
    rows = zip(inputs["s_logits"].tolist(), inputs["t_logits"].tolist(), strict=True)
    pairs = [pair for s, t in rows for pair in zip(softmax(s), softmax(t), strict=True)]
    expected = -1.5 * sum(q * math.log(p) for p, q in pairs) / len(inputs["labels"])
    assert late["nkd.others"].item() == pytest.approx(expected, rel=1e-12)
    assert all(early[part] == late[part] * (5 / 20) for part in late)
