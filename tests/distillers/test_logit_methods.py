"""Methods on logits that have a fixture: loops over their formulas, soft labels."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import distillers
from distillers.dist import pearson
from distillers.dkd import decoupled_kl
from distillers.losses import two_labels
from tests.distillers import golden
from tests.distillers.golden_rows import example, stored
from tests.distillers.loops import softmax


def hot(labels, classes=10):
    return F.one_hot(labels, classes).double()


# ---- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["uskd", "wsld"])
def test_one_hot_labels_are_hard_labels(name):
    hard = example(name)
    soft = example(name, inputs=stored(name, labels=hot(hard.inputs["labels"])))
    torch.testing.assert_close(soft.losses(), hard.losses())


def test_dkd_takes_the_largest_class_of_soft_labels():
    dkd = example("dkd", ce=0.0)
    hard = dkd.losses()
    assert dkd.losses(labels=0.8 * hot(dkd.inputs["labels"]) + 0.02) == hard


def test_smoothing_alone_names_no_second_class():
    smooth = 0.9 * hot(torch.arange(6) % 5, 5) + 0.1 / 5
    classes, shares = two_labels(smooth)
    assert torch.equal(classes[:, 0], torch.arange(6) % 5) and not shares[:, 1].any()
    mixed = 0.9 * (0.7 * F.one_hot(torch.arange(6) % 5, 5) + 0.3 * F.one_hot(torch.tensor(4), 5))
    _, shares = two_labels(mixed + 0.1 / 5)
    assert (shares[:4, 1] > 0.2).all() and shares[4, 1] == 0


# ---- formulas ------------------------------------------------------------------------------------


def class_vectors(logits, kind):
    """The B-vectors, one per class, whose outer products are summed."""
    rows, classes = logits.shape
    means = logits.mean(dim=1) if kind == "row_centered" else None
    for j in range(classes):
        column = logits[:, j]
        yield column - (means if means is not None else column.sum() / rows)


@pytest.mark.parametrize("kind", ["row_centered", "column_centered"])
@pytest.mark.parametrize("case", golden.names("clkd"))
def test_sample_correlations_of_clkd_against_a_loop(case, kind):
    clkd = example("clkd", case, correlation=kind, correlation_weight=1.0)
    matrices = []
    for side in "st":
        logits = clkd.inputs[f"{side}_logits"].detach()
        outer = sum(torch.outer(v, v) for v in class_vectors(logits, kind))
        matrices.append(outer / (logits.shape[1] - 1))
    expected = (matrices[0] - matrices[1]).square().sum() / logits.shape[1] ** 2
    value = clkd.losses()["clkd.correlation"].detach()
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("column_centered", 6.46291876),
        ("class_covariance", 0.443613082),
        ("row_centered", 6.88094378),
    ],
)
def test_known_numbers_of_all_readings_of_clkd(kind, expected):
    """Inputs by formula: s · sin(a k + 0.0037 k² + b); values computed once from three sources."""
    k = torch.arange(80, dtype=torch.float64)
    inputs = {
        f"{side}_logits": (s * torch.sin(a * k + 0.0037 * k**2 + b)).float().double().reshape(8, 10)
        for side, a, b, s in (("s", 1.3, 0.2, 3), ("t", 0.7, 0.5, 4))
    }
    losses = example("clkd", inputs=inputs, correlation=kind).losses()
    assert losses["clkd.correlation"].item() / 0.4 == pytest.approx(expected, rel=1e-5)


def test_correlations_of_dist_are_those_of_torch():
    pair = torch.randn(2, 5, 7, dtype=torch.float64)
    rows = zip(*pair, strict=True)
    expected = torch.stack([torch.corrcoef(torch.stack(both))[0, 1] for both in rows])
    torch.testing.assert_close(pearson(*pair), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("classes", [2, 3, 1000])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e30])
def test_dkd_of_extreme_logits(scale, classes):
    generator = torch.Generator().manual_seed(0)
    student = (scale * torch.randn(6, classes, generator=generator)).requires_grad_()
    teacher = scale * torch.randn(6, classes, generator=generator)
    target, others = decoupled_kl(student, teacher, torch.arange(6) % classes, 4.0)
    (target + others).backward()
    assert torch.isfinite(target) and torch.isfinite(others) and target >= 0
    assert torch.isfinite(student.grad).all()
    assert classes > 2 or others == 0


MLKD = ("instance", "class", "batch")


def parts_of_mlkd(inputs, temperature, strong):
    """The three parts, sample by sample and class by class."""
    logits = {k: v.detach() for k, v in inputs.items()}
    q = F.softmax(logits["t_logits"], dim=1).numpy()
    m = q.max(axis=1) <= np.percentile(q.max(axis=1), 50)
    n = q.sum(axis=0) <= np.percentile(q.sum(axis=0), 50)
    size, classes = q.shape
    parts = dict.fromkeys(MLKD, 0.0)
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
@pytest.mark.parametrize("case", golden.names("mlkd"))
def test_mlkd_in_the_papers_form_against_a_loop(case, strong):
    mlkd = example("mlkd", case, mode="paper", weight=1.0, strong_correlations=strong)
    losses = mlkd.losses()
    for part, expected in parts_of_mlkd(mlkd.inputs, mlkd.h.T, strong).items():
        value = losses[f"mlkd.{part}"].detach()
        torch.testing.assert_close(value, expected.clone(), rtol=1e-10, atol=0, msg=part)


def test_nkd_against_a_loop():
    nkd = example("nkd", "c1")
    s, t = nkd.inputs["s_logits"].tolist(), nkd.inputs["t_logits"].tolist()
    target = others = 0.0
    for row_s, row_t, y in zip(s, t, nkd.inputs["labels"].tolist(), strict=True):
        target -= softmax(row_t)[y] * math.log(softmax(row_s)[y]) / len(s)
        p, q = (softmax([v / nkd.h.temp for v in r[:y] + r[y + 1 :]]) for r in (row_s, row_t))
        others -= sum(b * math.log(a) for a, b in zip(p, q, strict=True)) / len(s)
    losses = nkd.losses()
    assert losses["nkd.target"].item() == pytest.approx(target, rel=1e-12)
    expected = nkd.h.gamma * nkd.h.temp**2 * others
    assert losses["nkd.others"].item() == pytest.approx(expected, rel=1e-12)


def test_nkd_as_sdds_authors_run_it():
    """Target kept: Σ_c q'_c log p'_c over all classes; and a warm-up over both terms."""
    nkd = example("nkd", "c1", **distillers.defaults("nkd", "sdd") | {"ce": 0.0})
    late, early = nkd.losses(epoch=20), nkd.losses(epoch=5)
    rows = zip(nkd.inputs["s_logits"].tolist(), nkd.inputs["t_logits"].tolist(), strict=True)
    pairs = [pair for s, t in rows for pair in zip(softmax(s), softmax(t), strict=True)]
    expected = -1.5 * sum(q * math.log(p) for p, q in pairs) / len(nkd.inputs["labels"])
    assert late["nkd.others"].item() == pytest.approx(expected, rel=1e-12)
    assert all(early[part] == late[part] * (5 / 20) for part in late)


@pytest.mark.parametrize("case", golden.names("skd"))
def test_skd_in_the_papers_form_against_an_explicit_inverse(case):
    skd = example("skd", case, mode="paper", weight=1.0)
    grams = []
    for side in "st":
        rows = skd.inputs[f"{side}_logits"].detach()
        rows = rows / rows.norm(dim=1, keepdim=True)
        grams.append(rows @ rows.T)
    difference = grams[0] - grams[1]
    size, centered = len(difference), difference - difference.mean(dim=0)
    sigma = centered.T @ centered / (size - 1) + 0.1 * torch.eye(size, dtype=torch.float64)
    squared = [d @ torch.linalg.inv(sigma) @ d for d in difference]
    value = skd.losses()["skd.direction"].detach()
    expected = torch.stack(squared).sqrt().mean()
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("space", ["probabilities", "log_probabilities"])
def test_zipfs_law_of_uskd_against_a_loop(space):
    uskd = example("uskd", "c1", rank_space=space)
    weak = uskd.method.weak_head(uskd.inputs["s_feat_mid"]).log_softmax(dim=1).detach()
    log_p = uskd.inputs["s_logits"].log_softmax(dim=1).detach()
    named = torch.eye(20, dtype=torch.bool)[uskd.inputs["labels"]]
    laws = uskd.method._zipf(weak, log_p, named)
    for row, y in enumerate(uskd.inputs["labels"].tolist()):
        u = weak[row].exp()
        p = log_p[row] if space == "log_probabilities" else log_p[row].exp()
        score = (u / (1 - u[y] + 1e-6) + p / (1 - p[y] + 1e-6)).tolist()
        law = [1 / (1 + sum(other > own for other in score)) for own in score]
        expected = [0.0 if c == y else v / (sum(law) - law[y]) for c, v in enumerate(law)]
        assert laws[row].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("student", "teacher", "weight"),
    [(60.0, 0.0, 0.0), (0.0, 60.0, 1.0), (0.0, 0.0, 1 - 0.36787944), (60.0, 60.0, 0.0)],
    ids=["only the student fits", "only the teacher fits", "neither", "both"],
)
def test_weights_of_wsld(student, teacher, weight):
    label = torch.eye(10, dtype=torch.float64)[:1]
    weights = example("wsld").method._weights(student * label, teacher * label, torch.tensor([0]))
    torch.testing.assert_close(weights, torch.full_like(weights, weight), atol=1e-6, rtol=0)
