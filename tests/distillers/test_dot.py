"""DOT's optimiser against mdistiller's trace; what a scaler does reaches both gradients."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import distillers
from distillers import MethodError
from distillers.dot import TwoMomenta
from tests.distillers import golden
from tests.distillers.runs import Run

PLAIN = torch.amp.GradScaler("cpu", enabled=False)


def build(**options):
    """DOT around KD; the networks do not matter here."""
    outputs = golden.outputs({"s_logits": torch.zeros(2, 3)}, "s")
    return golden.build("dot+kd", outputs, outputs, torch.float32, **options)


def recipe(case):
    hparams = case.hparams
    settings = {key: hparams[key] for key in ("lr", "momentum", "weight_decay")}
    return SimpleNamespace(make_optimizer=lambda params: torch.optim.SGD(params, **settings))


def losses(case, params, step, factor=1.0):
    """Sums whose gradients are the stored ones."""

    def total(kind):
        given = case.groups["in"]
        keys = [(p, f"{kind}{step}_p{i}") for i, p in enumerate(params)]
        terms = [(p * case.tensor("in", key, p.dtype)).sum() for p, key in keys if key in given]
        return factor * torch.stack(terms).sum()

    return {"ce": total("gtask"), "kd": total("gkd")}


def start(case, dtype):
    method = build(delta=case.hparams["delta"])
    params = [nn.Parameter(case.tensor("in", f"p{i}", dtype)) for i in range(3)]
    return method, params, method.optimizer(params, recipe(case))


def train(case, dtype, scaler=PLAIN, factor=1.0):
    method, params, optimizer = start(case, dtype)
    for step in range(case.hparams["steps"]):
        optimizer.zero_grad()
        method.step(losses(case, params, step, factor), optimizer, scaler)
        yield params


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.names("dot"))
def test_trace(name, dtype):
    """p0 has both gradients, p1 only the task's, p2 only distillation's."""
    case = golden.load("dot", name)
    for step, params in enumerate(train(case, dtype), start=1):
        for i, p in enumerate(params):
            expected = case.tensor("aux", f"p{i}_after{step}", dtype)
            torch.testing.assert_close(p.detach(), expected, rtol=1e-5, atol=1e-6)
    golden.check_value(case, "sum_p", torch.stack([p.sum() for p in params]).sum())


def test_three_steps_by_hand():
    """p = [1, 2], h = [0.2, −0.1] · step, g = [0.1, 0.3]."""
    p = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = TwoMomenta(torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01), 0.075)
    expected = [[0.969, 1.978], [0.88945603, 1.94937205], [0.74401778, 1.928267]]
    for step in range(1, 4):
        p.grad = step * torch.tensor([0.2, -0.1], dtype=torch.float64)
        optimizer.put_aside()
        p.grad = torch.tensor([0.1, 0.3], dtype=torch.float64)
        optimizer.step()
        assert p.tolist() == pytest.approx(expected[step - 1], abs=1e-7)


def test_without_delta_it_is_sgd():
    """On the sum of both gradients."""
    case = golden.load("dot", "c0")
    method, (p, *_), _ = start(case, torch.float64)
    method.options.delta = 0.0
    plain = nn.Parameter(p.detach().clone())
    ours = method.optimizer([p], recipe(case))
    theirs = recipe(case).make_optimizer([plain])
    for step in range(case.hparams["steps"]):
        ours.zero_grad()
        method.step(losses(case, [p], step), ours, PLAIN)
        theirs.zero_grad()
        sum(losses(case, [plain], step).values()).backward()
        theirs.step()
        torch.testing.assert_close(p, plain)


class Halving(torch.amp.GradScaler):
    """Halves all gradients before the update, as gradient averaging or clipping might."""

    def step(self, optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad /= 2
        return super().step(optimizer)


def test_the_scaler_applies_to_both_gradients():
    case = golden.load("dot", "c0")
    *_, halved = train(case, torch.float64, Halving("cpu", enabled=False), factor=2.0)
    *_, plain = train(case, torch.float64)
    assert all(torch.equal(a, b) for a, b in zip(halved, plain, strict=True))


def test_scaled_gradients_are_unscaled():
    case = golden.load("dot", "c0")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    *_, scaled = train(case, torch.float32, scaler)
    *_, plain = train(case, torch.float32)
    torch.testing.assert_close(scaled, plain)


@pytest.mark.parametrize("overflow", ["ce", "kd"])
def test_an_overflow_of_either_gradient_skips_the_update(overflow):
    case = golden.load("dot", "c0")
    method, params, optimizer = start(case, torch.float32)
    before = copy.deepcopy(params)
    terms = losses(case, params, 0)
    terms[overflow] = terms[overflow] * torch.inf
    method.step(terms, optimizer, torch.amp.GradScaler("cpu"))
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))


def test_training_resumes_from_a_saved_state():
    case = golden.load("dot", "c0")
    method, params, optimizer = start(case, torch.float64)
    *_, expected = train(case, torch.float64)
    for step in range(case.hparams["steps"]):
        if step == 2:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer = method.optimizer(params, recipe(case))
            optimizer.load_state_dict(saved)
        optimizer.zero_grad()
        method.step(losses(case, params, step), optimizer, PLAIN)
    assert all(torch.equal(a, b) for a, b in zip(params, expected, strict=True))


def test_parameter_groups_and_learning_rates_are_the_recipes():
    p, q = (nn.Parameter(torch.ones(2)) for _ in range(2))
    groups = [{"params": [p]}, {"params": [q], "weight_decay": 0.0}]
    made = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.5)
    optimizer = build().optimizer([p, q], SimpleNamespace(make_optimizer=lambda _: made))
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.5, 0.0]
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.1]


@pytest.mark.parametrize("term", ["ce", "kd"])
def test_one_term_alone(term):
    case = golden.load("dot", "c0")
    method, params, optimizer = start(case, torch.float32)
    before = copy.deepcopy(params)
    method.step({term: losses(case, params, 0)[term]}, optimizer, PLAIN)
    assert not torch.equal(params[0], before[0])


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (torch.optim.AdamW, "AdamW"),
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True), "SGD Nesterov"),
    ],
)
def test_other_optimisers_are_rejected(make, kind):
    params = [nn.Parameter(torch.zeros(2))]
    with pytest.raises(MethodError, match=f"optimiser {kind}: expected plain SGD"):
        build().optimizer(params, SimpleNamespace(make_optimizer=make))


@pytest.mark.parametrize("inner", ["kd", "dkd", "crd", "fitnet+kd", "simkd"])
def test_around_a_method(inner):
    """At Δ = 0 without weight decay it is that method; at Δ > 0 it differs if there is a task."""

    def trained(name, **options):
        run = Run(name, **options)
        params = [*run.student.parameters(), *run.method.parameters()]
        make = SimpleNamespace(make_optimizer=lambda p: torch.optim.SGD(p, 0.05, momentum=0.9))
        optimizer = run.method.optimizer(params, make)
        for step in range(3):
            optimizer.zero_grad()
            run.method.step(run.losses(step=step), optimizer, PLAIN)
        return params

    expected, same = trained(inner), trained(f"dot+{inner}", delta=0.0)
    torch.testing.assert_close(same, expected, rtol=1e-3, atol=1e-5)
    if distillers.defaults(inner)["ce"]:
        assert (trained(f"dot+{inner}", delta=0.5)[0] - expected[0]).abs().max() > 1e-3


def test_an_initial_stage_takes_a_plain_optimiser():
    run = Run("dot+fsp", ("resnet14", "resnet8"))
    params = list(run.method.init_stage().modules.parameters())
    before = copy.deepcopy(params)
    batch = run.batch()
    losses = run.method.initial(*(run.outputs(n, batch) for n in run.networks()), batch)
    run.method.step(losses, torch.optim.SGD(params, 0.1), PLAIN)
    assert not all(torch.equal(a, b) for a, b in zip(params, before, strict=True))
