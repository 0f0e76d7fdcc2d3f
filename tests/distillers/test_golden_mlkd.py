"""MLKD against the authors' numbers, which are mode "released"; mode "paper" against a loop."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.distillers import golden

PARTS = {"instance": "loss_kd", "class": "loss_cc", "batch": "loss_bc"}


def views(inputs, side):
    strong = golden.outputs(inputs, side, "_strong")
    return dataclasses.replace(golden.outputs(inputs, side), views=(strong,))


def run(case, dtype, **options):
    inputs, hparams = golden.inputs(case, dtype), case.hparams
    student, teacher = views(inputs, "s"), views(inputs, "t")
    weights = {"ce": hparams["ce_weight"], "weight": hparams["kd_weight"]}
    options = {"temperature": hparams["T"]} | weights | options
    method = golden.build(case, "mlkd", student, teacher, dtype, **options)
    return inputs, method(student, teacher, golden.batch(inputs))


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("mlkd"))
def test_mlkd(name, dtype):
    case = golden.load("mlkd", name)
    inputs, losses = run(case, dtype)
    golden.check_value(case, "loss_ce", losses.pop("ce"))
    for part, theirs in PARTS.items():
        golden.check_value(case, theirs, losses[f"mlkd.{part}"])
    total = torch.stack(list(losses.values())).sum()
    golden.check_value(case, "total_without_ce", total)
    total.backward()
    golden.check_gradients(case, inputs)


def expected_of_paper(inputs, temperature, strong):
    """The three parts, sample by sample and class by class."""
    logits = {k: v.detach() for k, v in inputs.items()}
    q = F.softmax(logits["t_logits"], dim=1).numpy()
    m = q.max(axis=1) <= np.percentile(q.max(axis=1), 50)
    n = q.sum(axis=0) <= np.percentile(q.sum(axis=0), 50)
    size, classes = q.shape
    parts = dict.fromkeys(PARTS, 0.0)
    for suffix in ("", "_strong"):
        weak = not suffix
        for t in (temperature, 3.0, 5.0, 2.0, 6.0):
            p_s, p_t = (F.softmax(logits[f"{x}_logits{suffix}"] / t, dim=1) for x in "st")
            for b in range(size):
                kl = (p_t[b] * (p_t[b].log() - p_s[b].log())).sum()
                parts["instance"] += t**2 * kl * (m[b] if weak else 1) / size
                row = (p_s @ p_s[b] - p_t @ p_t[b]).square().sum()
                parts["batch"] += row / size * (m[b] if weak else strong)
            for c in range(classes):
                row = (p_s.T @ p_s[:, c] - p_t.T @ p_t[:, c]).square().sum()
                parts["class"] += row / classes * (n[c] if weak else strong)
    return parts


@pytest.mark.parametrize("strong", [False, True])
@pytest.mark.parametrize("name", golden.names("mlkd"))
def test_the_papers_form(name, strong):
    case = golden.load("mlkd", name)
    options = {"mode": "paper", "weight": 1.0, "strong_correlations": strong}
    inputs, losses = run(case, torch.float64, **options)
    for part, expected in expected_of_paper(inputs, case.hparams["T"], strong).items():
        found = losses[f"mlkd.{part}"].detach()
        torch.testing.assert_close(found, expected.clone(), rtol=1e-10, atol=0, msg=part)
