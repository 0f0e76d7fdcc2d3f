"""CTKD around KD against the authors' numbers; its curriculum."""

import pytest
import torch

import distillers
from distillers import Unsupported
from tests.distillers import golden


def build(case, inputs, dtype, name="ctkd+kd", data=None, **options):
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    hparams = case.hparams
    assert (hparams["decay_max"], hparams["decay_min"]) == (0, -1)
    options = {
        "kd": 1.0,
        "initial_temperature": hparams["t_start"],
        "temperature_range": hparams["t_end"],
        "curriculum": float(hparams["decay_loops"]),
    } | options
    data = data or golden.info(student)
    method = golden.build(case, name, student, teacher, dtype, data, **options)
    if case.params["fill_exceptions"]:
        torch.nn.init.ones_(method.theta)
    return student, teacher, method


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("ctkd"))
def test_ctkd(name, dtype):
    case = golden.load("ctkd", name)
    inputs = golden.inputs(case, dtype)
    student, teacher, method = build(case, inputs, dtype)
    epoch = case.hparams["epoch"]
    found = method.temperature(4.0, epoch)
    torch.testing.assert_close(found.float(), case.tensor("aux", "temperature")[0])
    assert method._lambda(epoch) == pytest.approx(-case.tensor("aux", "grl_lambda").item())
    losses = method(student, teacher, golden.batch(inputs, epoch=epoch))
    assert set(losses) == {"kd"} and losses["kd"].dtype == dtype
    golden.check_value(case, "kd", losses["kd"])
    losses["kd"].backward()
    golden.check_gradients(case, inputs)
    golden.check_parameter_gradients(case, method, {"temp.global_T": "theta"})


def test_the_temperatures_gradient_by_differences():
    case = golden.load("ctkd", "c1")
    inputs = golden.inputs(case, torch.float64)
    student, teacher, method = build(case, inputs, torch.float64)

    def value(theta):
        torch.nn.init.constant_(method.theta, theta)
        return method(student, teacher, golden.batch(inputs, epoch=5))["kd"]

    value(0.3).backward()
    slope = (value(0.3 + 1e-6) - value(0.3 - 1e-6)).item() / 2e-6
    assert method.theta.grad.item() == pytest.approx(-method._lambda(5) * slope, rel=1e-6)


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
    case = golden.load("ctkd", "c0")
    inputs = golden.inputs(case, torch.float32)
    data = golden.info(golden.outputs(inputs, "s"), epochs=epochs)
    *_, method = build(case, inputs, torch.float32, data=data, **options)
    assert method._lambda(epoch) == pytest.approx(expected, abs=1e-6)


def test_it_starts_at_the_papers_temperature_and_makes_the_task_harder():
    case = golden.load("ctkd", "c0")
    inputs = golden.inputs(case, torch.float64)
    student, teacher, method = build(case, inputs, torch.float64)
    assert method.temperature(4.0, 1).item() == pytest.approx(15.6211716)
    batch = golden.batch(inputs, epoch=20)
    before = method(student, teacher, batch)["kd"]
    before.backward()
    with torch.no_grad():
        method.theta -= 0.1 * method.theta.grad  # a step of gradient descent
        assert method(student, teacher, batch)["kd"] > before


def test_without_hintons_term_there_is_nothing_to_temper():
    case = golden.load("ctkd", "c0")
    inputs = golden.inputs(case, torch.float32)
    with pytest.raises(Unsupported, match=r"kd is 0; expected ctkd\+NAME\+kd or ctkd\+dkd"):
        build(case, inputs, torch.float32, kd=0.0)
    assert distillers.defaults("ctkd+dkd+kd")["kd"] == 1.0


def test_dkd_has_the_learned_temperature_too():
    """Its terms are those of DKD at the fixed T; θ gets the gradient of both."""
    case = golden.load("ctkd", "c0")
    inputs = golden.inputs(case, torch.float64)
    options = {"alpha": 1.0, "beta": 2.0, "kd": 0.0}
    student, teacher, method = build(case, inputs, torch.float64, "ctkd+dkd", **options)
    batch, t = golden.batch(inputs, epoch=20), method.temperature(4.0, 20)
    plain = golden.build(
        case, "dkd", student, teacher, torch.float64, temperature=t.item(), alpha=1.0, beta=2.0
    )
    losses, expected = method(student, teacher, batch), plain(student, teacher, batch)
    assert losses.keys() == expected.keys() == {"dkd.tckd", "dkd.nckd"}
    for part, value in expected.items():
        torch.testing.assert_close(losses[part], value, rtol=1e-12, atol=0)
    before = sum(losses.values())
    before.backward()
    with torch.no_grad():
        method.theta -= 0.1 * method.theta.grad
        assert sum(method(student, teacher, batch).values()) > before


@pytest.mark.parametrize(
    ("name", "preset", "expected"),
    [
        ("ctkd+dkd", None, {"ce": 1.0, "kd": 0.0, "alpha": 1.0, "beta": 2.0}),
        ("ctkd+dkd", "imagenet", {"kd": 0.0, "beta": 0.5, "curriculum_absolute": 5.0}),
        ("ctkd+dkd+kd", "imagenet", {"kd": 1.0}),
        ("ctkd+kd", None, {"ce": 0.1, "kd": 0.9}),
        ("ctkd+kd", "imagenet", {"ce": 1.0, "kd": 1.0, "curriculum_absolute": 5.0}),
    ],
)
def test_defaults_are_the_authors(name, preset, expected):
    found = distillers.defaults(name, preset)
    assert {option: found[option] for option in expected} == expected


def test_the_cross_entropys_variant_has_its_own_temperature():
    """KD's variant adds the teacher's entropy at the learned T."""
    case = golden.load("ctkd", "c1")
    inputs = golden.inputs(case, torch.float64)
    student, teacher, method = build(case, inputs, torch.float64, variant="cross_entropy")
    t = method.temperature(4.0, 5)
    log_p, log_q = ((inputs[f"{x}_logits"] / t).log_softmax(1) for x in "st")
    expected = -(log_q.exp() * log_p).sum(dim=1).mean() * t**2
    found = method(student, teacher, golden.batch(inputs, epoch=5))["kd"]
    torch.testing.assert_close(found, expected)
