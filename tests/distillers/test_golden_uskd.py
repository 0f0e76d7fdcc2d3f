"""USKD against cls_KD's numbers (ranks of log-probabilities); its ranks, and its soft labels."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

import distillers
import models
from datasets import Batch, Info
from distillers.losses import two_labels
from tests.distillers import golden


def student_of(inputs):
    middle = inputs["s_feat_mid"][:, :, None, None]
    pixels = middle.expand(-1, -1, 3, 2)  # a map whose pooled value is the fixture's
    last = torch.zeros_like(pixels)
    return golden.outputs(inputs, "s", features=(last, pixels, last))


def run(case, dtype, labels=None, **options):
    inputs, hparams = golden.inputs(case, dtype), case.hparams
    inputs["labels"] = stored_labels(case, dtype) if labels is None else labels
    student = student_of(inputs)
    options = {k: hparams[k] for k in ("alpha", "beta", "mu")} | options
    method = golden.build(
        case, "uskd", student, student, dtype, **{"rank_space": "log_probabilities"} | options
    )
    return inputs, method, method(student, None, golden.batch(inputs))


def stored_labels(case, dtype):
    soft = "soft_labels" in case.groups["in"]
    return case.tensor("in", "soft_labels" if soft else "labels", dtype)


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("uskd"))
def test_uskd(name, dtype):
    case = golden.load("uskd", name)
    inputs, method, losses = run(case, dtype)
    total = torch.stack(list(losses.values())).sum()
    golden.check_value(case, "uskd", total)
    total.backward()
    golden.check_gradients(case, inputs)
    renamed = {f"uskd.fc.{kind}": f"weak_head.{kind}" for kind in ("weight", "bias")}
    golden.check_parameter_gradients(case, method, renamed)


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("uskd"))
def test_parts(name, dtype):
    case = golden.load("uskd", name)
    _, _, losses = run(case, dtype, alpha=1.0, beta=1.0, mu=1.0)
    for part, term in (("target", "target"), ("others", "nontarget"), ("weak", "weak_mu1")):
        golden.check_value(case, term, losses[f"uskd.{part}"])


@pytest.mark.parametrize("space", ["probabilities", "log_probabilities"])
def test_zipfs_law_by_a_loop(space):
    case = golden.load("uskd", "c1")
    inputs, method, _ = run(case, torch.float64, rank_space=space)
    weak = method.weak_head(inputs["s_feat_mid"]).log_softmax(dim=1).detach()
    log_p = inputs["s_logits"].log_softmax(dim=1).detach()
    named = torch.eye(20, dtype=torch.bool)[inputs["labels"]]
    found = method._zipf(weak, log_p, named)
    for row, y in enumerate(inputs["labels"].tolist()):
        u = weak[row].exp()
        p = log_p[row] if space == "log_probabilities" else log_p[row].exp()
        score = (u / (1 - u[y] + 1e-6) + p / (1 - p[y] + 1e-6)).tolist()
        law = [1 / (1 + sum(other > own for other in score)) for own in score]
        expected = [0.0 if c == y else v / (sum(law) - law[y]) for c, v in enumerate(law)]
        assert found[row].tolist() == pytest.approx(expected, rel=1e-12)


def test_one_hot_labels_are_hard_labels():
    case = golden.load("uskd", "c0")
    _, _, hard = run(case, torch.float64)
    hot = torch.eye(10, dtype=torch.float64)[case.tensor("in", "labels")]
    _, _, soft = run(case, torch.float64, labels=hot)
    for part, value in hard.items():
        torch.testing.assert_close(soft[part], value)


def test_two_labels_of_two_classes_leave_no_others():
    case = golden.load("uskd", "c0")
    inputs = golden.inputs(case, torch.float32) | {"s_logits": torch.randn(8, 2)}
    student = student_of(inputs)
    method = golden.build(case, "uskd", student, student, torch.float32)
    halves = torch.full((8, 2), 0.5)
    losses = method(student, None, golden.batch(inputs | {"labels": halves}))
    assert losses["uskd.others"] == 0 and all(torch.isfinite(v) for v in losses.values())


@pytest.mark.parametrize(
    ("network", "width"),
    [("resnet8", 32), ("ResNet18", 256), ("MobileNetV1", 512), ("MobileNetV2", 160),
     ("ShuffleV1", 480), ("ShuffleV2", 464), ("vgg8", 512)],
)  # fmt: skip
def test_the_map_before_the_last(network, width):
    """A convolution behind the stages counts as the last, as in cls_KD's configurations."""
    student = models.build(network, 10)
    labels = torch.arange(20) % 10
    data = Info("noise", 10, 32, tuple(map(str, range(10))), 20, labels, 4)
    method = distillers.build("uskd", student, None, data)
    assert method.weak_head.in_features == width
    outputs = student.outputs(torch.randn(2, 3, 32, 32))
    outputs = replace(outputs, final_map=None)  # as where several processes gather what is needed
    batch = Batch(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]), torch.arange(2), 1, 0)
    torch.stack(list(method(outputs, None, batch).values())).sum().backward()


def test_smoothing_alone_names_no_second_class():
    smooth = 0.9 * F.one_hot(torch.arange(6) % 5, 5).double() + 0.1 / 5
    classes, shares = two_labels(smooth)
    assert torch.equal(classes[:, 0], torch.arange(6) % 5) and not shares[:, 1].any()
    mixed = 0.9 * (0.7 * F.one_hot(torch.arange(6) % 5, 5) + 0.3 * F.one_hot(torch.tensor(4), 5))
    _, shares = two_labels(mixed + 0.1 / 5)
    assert (shares[:4, 1] > 0.2).all() and shares[4, 1] == 0
