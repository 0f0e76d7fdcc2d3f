"""Methods that project features and have a fixture: SemCKD, SimKD, SRRL, VID and USKD."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import distillers
import models
from datasets import Batch, Info
from tests.distillers import golden
from tests.distillers.golden_rows import example
from tests.distillers.loops import normal

# ---- SemCKD --------------------------------------------------------------------------------------


@torch.no_grad()
def test_semckd_with_even_attention_is_a_mean_of_squares():
    semckd = example("semckd")
    semckd.method.options.temperature = 1e12
    sources, targets = semckd.student.features[1:], semckd.teacher.features[1:]
    total = 0.0
    for i, source in enumerate(sources):
        for j, target in enumerate(targets):
            pooled = F.adaptive_avg_pool2d(source, target.shape[2:])
            error = semckd.method.projectors[i][j](pooled) - target
            for b in range(8):
                total += error[b].pow(2).sum().item() / error[b].numel() / len(targets)
    assert semckd.loss().item() == pytest.approx(total / (8 * len(sources)), rel=1e-10)


def test_semckd_skips_partial_batches():
    semckd = example("semckd", "c1")
    assert semckd.loss(**{name: value[:5] for name, value in semckd.inputs.items()}) == 0


# ---- SimKD ---------------------------------------------------------------------------------------


class Answer(nn.Module):
    """A perfect projector: returns a given map, pooled to the size of its input."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return F.adaptive_avg_pool2d(self.answer, x.shape[2:])


@pytest.mark.parametrize("pair", [("wrn_16_2", "resnet8"), ("resnet8", "vgg8")], ids="-".join)
def test_a_perfect_projection_predicts_as_the_teacher(pair):
    """Whatever the teacher: also where its last stage is not what its classifier reads."""
    teacher, student = (models.build(name, 10).eval() for name in pair)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    teachers, students = teacher.outputs(images), student.outputs(images)
    info = golden.info(students, image_size=32)
    method = distillers.build("simkd", student, teacher, info).eval()
    method.projector = Answer(teachers.final_map)
    torch.testing.assert_close(method.predict(students), teachers.logits)
    assert method(students, teachers, golden.batch({"x": images}))["simkd"] == 0


def test_the_state_of_simkd_predicts_without_the_teacher():
    """A method built with another teacher predicts as this one once it has this one's state."""
    names = ("resnet8", "resnet14", "resnet14")
    student, teacher, other = (models.build(name, 10).eval() for name in names)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    outputs = student.outputs(images)
    info = golden.info(outputs, image_size=16)
    trained = distillers.build("simkd", student, teacher, info).eval()
    loaded = distillers.build("simkd", student, other, info).eval()
    assert not torch.equal(loaded.predict(outputs), trained.predict(outputs))
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded.predict(outputs), trained.predict(outputs))
    assert not trained.classifier.weight.requires_grad
    assert torch.equal(trained.classifier.weight, teacher.fc.weight)


# ---- SRRL ----------------------------------------------------------------------------------------


def test_srrl_pools_after_the_connector_or_before():
    on_map, on_embedding = (example("srrl on maps", on=on) for on in ("map", "embedding"))
    assert on_map.loss() != on_embedding.loss()
    flat = on_map.inputs["s_feat0"].mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(on_map.loss(s_feat0=flat), on_embedding.loss(s_feat0=flat))


def test_srrl_is_zero_for_the_teachers_own_feature():
    """e_t through the teacher's classifier gives z_t."""
    srrl = example("srrl on maps")
    srrl.method.connector = nn.Identity()
    pooled = srrl.inputs["t_feat0"].mean(dim=(2, 3))
    logits = pooled @ srrl.method.teacher_weight.T + srrl.method.teacher_bias
    value = srrl.loss(s_feat0=srrl.inputs["t_feat0"], t_logits=logits)
    assert value.item() == pytest.approx(0, abs=1e-12)


def test_srrl_neither_trains_nor_saves_the_teachers_classifier():
    method = example("srrl on maps").method
    kept = (*method.state_dict(), *(name for name, _ in method.named_parameters()))
    assert all(name.startswith("connector.") for name in kept)


# ---- VID -----------------------------------------------------------------------------------------


def test_vid_over_two_stages_is_torchs_gaussian():
    shapes = [("s", 0, 4, 8), ("s", 1, 5, 4), ("t", 0, 6, 8), ("t", 1, 7, 4)]
    inputs = {f"{x}_feat{i}": normal(3, c, n, n, seed=c).abs() for x, i, c, n in shapes}
    vid = example("vid", inputs=inputs, initial_variance=3.0)
    expected = 0.0
    for stage, predictor in enumerate(vid.method.predictors):
        nn.init.constant_(predictor.log_scale, math.log(math.exp(3 - 1e-5) - 1))
        density = torch.distributions.Normal(predictor.mean(inputs[f"s_feat{stage}"]), 3**0.5)
        log_p = density.log_prob(inputs[f"t_feat{stage}"]) + math.log(2 * math.pi) / 2
        expected -= log_p.mean()
    torch.testing.assert_close(vid.loss(), expected)


def test_the_variance_of_vid_starts_where_it_is_asked_for():
    vid = example("vid", "c2")
    networks = golden.StandIn(vid.student), golden.StandIn(vid.teacher)
    method = distillers.build("vid", *networks, golden.info(vid.student), initial_variance=2.0)
    variance = F.softplus(method.predictors[0].log_scale)
    torch.testing.assert_close(variance, torch.full((5,), 2 - 1e-5))


# ---- USKD ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "width"),
    [("resnet8", 32), ("ResNet18", 256), ("MobileNetV1", 512), ("MobileNetV2", 160),
     ("ShuffleV1", 480), ("ShuffleV2", 464), ("vgg8", 512)],
)  # fmt: skip
def test_the_map_before_the_last_that_uskd_reads(network, width):
    """A convolution behind the stages counts as the last, as in cls_KD's configurations."""
    student = models.build(network, 10)
    labels = torch.arange(20) % 10
    data = Info("noise", 10, 32, tuple(map(str, range(10))), 20, labels, 4)
    method = distillers.build("uskd", student, None, data)
    assert method.weak_head.in_features == width
    outputs = student.outputs(torch.randn(2, 3, 32, 32))
    # As where several processes gather only what is needed.
    outputs = dataclasses.replace(outputs, final_map=None)
    batch = Batch(torch.zeros(2, 3, 32, 32), torch.tensor([0, 1]), torch.arange(2), 1, 0)
    torch.stack(list(method(outputs, None, batch).values())).sum().backward()
