"""CTKD: its temperature's gradient, its curriculum, and the terms that it tempers."""

import pytest
import torch

from tests.distillers import golden
from tests.distillers.golden_rows import example


def test_the_temperatures_gradient_by_differences():
    ctkd = example("ctkd", "c1")

    def value(theta):
        torch.nn.init.constant_(ctkd.method.theta, theta)
        return ctkd.loss(epoch=5)

    value(0.3).backward()
    slope = (value(0.3 + 1e-6) - value(0.3 - 1e-6)).item() / 2e-6
    assert ctkd.method.theta.grad.item() == pytest.approx(-ctkd.method._lambda(5) * slope, rel=1e-6)


@pytest.mark.parametrize(
    ("epochs", "options", "epoch", "expected"),
    [
        (240, {}, 1, 0.0244717),
        (240, {}, 2, 0.0954915),
        (240, {}, 10, 1.0),
        (240, {}, 200, 1.0),
        (24, {}, 1, 1.0),  # ten of 240 epochs are one of 24
        (24, {"curriculum_absolute": 2}, 1, 0.5),
        (24, {"curriculum": 0.0}, 1, 1.0),
    ],
)
def test_curriculum(epochs, options, epoch, expected):
    data = golden.info(example("ctkd").student, epochs=epochs)
    method = example("ctkd", data=data, **options).method
    assert method._lambda(epoch) == pytest.approx(expected, abs=1e-6)


def check_the_task_gets_harder(made):
    """θ descends the reversed gradient, so a step of the optimiser raises the loss."""
    before = made.loss(epoch=20)
    before.backward()
    with torch.no_grad():
        made.method.theta -= 0.1 * made.method.theta.grad
        assert made.loss(epoch=20) > before


def test_it_starts_at_the_papers_temperature_and_makes_the_task_harder():
    ctkd = example("ctkd")
    assert ctkd.method.temperature(4.0, 1).item() == pytest.approx(15.6211716)
    check_the_task_gets_harder(ctkd)


def test_dkd_has_the_learned_temperature_too():
    """Its terms are those of DKD at the fixed T; θ gets the gradient of both."""
    options = {"alpha": 1.0, "beta": 2.0}
    ctkd = example("ctkd")
    ctkd.methods = [
        golden.build("ctkd+dkd", ctkd.student, ctkd.teacher, torch.float64, kd=0.0, **options)
    ]
    torch.nn.init.ones_(ctkd.method.theta)
    t = ctkd.method.temperature(4.0, 20).item()
    dkd = golden.build("dkd", ctkd.student, ctkd.teacher, torch.float64, temperature=t, **options)
    expected = dkd(ctkd.student, ctkd.teacher, golden.batch(ctkd.inputs, epoch=20))
    assert expected.keys() == {"dkd.tckd", "dkd.nckd"}
    torch.testing.assert_close(ctkd.losses(epoch=20), expected, rtol=1e-12, atol=0)
    check_the_task_gets_harder(ctkd)


def test_the_cross_entropys_variant_has_its_own_temperature():
    """KD's variant adds the teacher's entropy at the learned T."""
    ctkd = example("ctkd", "c1", variant="cross_entropy")
    t = ctkd.method.temperature(4.0, 5)
    log_p, log_q = ((ctkd.inputs[f"{x}_logits"] / t).log_softmax(1) for x in "st")
    expected = -(log_q.exp() * log_p).sum(dim=1).mean() * t**2
    torch.testing.assert_close(ctkd.loss(epoch=5), expected)
