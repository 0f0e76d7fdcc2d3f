"""Training with what transformer recipes add: mixup, EMA, clipping, decay exemptions."""

from __future__ import annotations

import errno

import pytest
import torch

from distillers import Needs
from experiments.matrix.recipe import Recipe
from experiments.rundir.outcome import Outcome
from experiments.train import networks, result, trainer
from experiments.train.distributed import SINGLE
from experiments.train.ema import EMA
from experiments.train.grad_scaler import Scaler
from experiments.train.learner import Learner
from tests.experiments import tiny

RECIPE = Recipe(
    epochs=2,
    batch_size=16,
    schedule="cosine",
    optimizer="adamw",
    lr=1e-3,
    weight_decay=0.05,
    decay_exempt="vectors",
    mixup=0.8,
    cutmix=1.0,
    label_smoothing=0.1,
    random_erasing=0.25,
    clip_norm=1.0,
    ema_decay=0.8,
)


def learner(tmp_path, recipe: Recipe, method: str = "kd") -> Learner:
    source = tiny.data(recipe.epochs)
    taught = tiny.teacher(source)
    taught.module.to(recipe.parameter_dtype)
    return Learner(
        tiny.spec(method, recipe), source, taught, torch.device("cpu"), tmp_path / method
    )


def test_every_method_trains_under_it(tmp_path):
    states = trainer.train(tiny.cohort(tmp_path, tiny.METHODS, RECIPE))
    assert set(states.values()) == {Outcome.DONE}


def test_stopped_in_an_epoch_and_resumed_is_the_same(tmp_path):
    trainer.train(tiny.cohort(tmp_path / "whole", ("fitnet",), RECIPE))
    job = tiny.cohort(tmp_path / "parts", ("fitnet",), RECIPE)
    job.stop = tiny.stop_after(7)
    assert set(trainer.train(job).values()) == {Outcome.INTERRUPTED}
    trainer.train(tiny.cohort(tmp_path / "parts", ("fitnet",), RECIPE))
    parts, whole = (tiny.weights(tmp_path / p, "fitnet", RECIPE) for p in ("parts", "whole"))
    tiny.assert_same_weights(parts, whole)


def test_the_average_follows_its_formula_and_replaces_the_weights_in_place():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    average = EMA([net], 0.9)
    expected = net[0].weight.detach().clone()
    for _ in range(3):
        with torch.no_grad():
            net[0].weight += 1
            net[1].num_batches_tracked += 1
        average.update()
        expected = 0.9 * expected + 0.1 * net[0].weight.detach()
    live = net[0].weight.detach().clone()
    with average.in_place():
        assert torch.allclose(net[0].weight, expected)
        assert net[1].num_batches_tracked == 3
    assert torch.equal(net[0].weight, live)


def test_published_weights_are_the_average(tmp_path):
    plain = RECIPE.model_copy(update={"ema_decay": 0.0})
    for recipe in (RECIPE, plain):
        trainer.train(tiny.cohort(tmp_path, ("kd",), recipe))
    a, b = (tiny.weights(tmp_path, "kd", recipe)["fc.weight"] for recipe in (RECIPE, plain))
    assert not torch.equal(a, b)
    assert torch.allclose(a, b, atol=0.05)


def test_killed_before_its_result_a_run_publishes_the_average(tmp_path, monkeypatch):
    """It has taken its last step then, and trains no more."""
    trainer.train(tiny.cohort(tmp_path / "whole", ("kd",), RECIPE))

    def refuse(*_):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(result, "finish", refuse)
        states = trainer.train(tiny.cohort(tmp_path / "late", ("kd",), RECIPE))
        assert set(states.values()) == {Outcome.INTERRUPTED}
    trainer.train(tiny.cohort(tmp_path / "late", ("kd",), RECIPE))
    late, whole = (tiny.weights(tmp_path / p, "kd", RECIPE) for p in ("late", "whole"))
    tiny.assert_same_weights(late, whole)


def test_the_norm_of_the_whole_gradient_is_clipped():
    params = [torch.nn.Parameter(torch.full((3,), 2.0)), torch.nn.Parameter(torch.ones(1))]
    optimizer = torch.optim.SGD(params, lr=1.0)
    sum(10 * p.square().sum() for p in params).backward()
    before = [p.detach().clone() for p in params]
    Scaler(torch.device("cpu"), False, SINGLE, clip_norm=0.5).step(optimizer)
    moved = torch.cat([b - p.detach() for b, p in zip(before, params, strict=True)])
    assert moved.norm() == pytest.approx(0.5, rel=1e-4)


def test_a_step_that_bypasses_the_scaler_is_refused(tmp_path):
    made = learner(tmp_path, RECIPE)
    made.distiller.step = lambda losses, optimizer, scaler: optimizer.step()
    batch = next(made.data.train_stream(0, 1))
    with pytest.raises(RuntimeError, match=r"kd: its step\(\) never calls scaler.step"):
        made.take_step(batch, networks.run(tiny.teacher(made.data).module, batch, Needs(), RECIPE))


def test_double_precision_reaches_everything(tmp_path):
    recipe = Recipe(epochs=1, batch_size=16, milestones=(), precision="fp64")
    job = tiny.cohort(tmp_path, ("crd", "fitnet"), recipe)
    assert job.teacher is not None
    job.teacher.module.double()
    assert set(trainer.train(job).values()) == {Outcome.DONE}
    made = learner(tmp_path / "more", recipe, "crd")
    for tensor in [*made.student.parameters(), *made.distiller.parameters()]:
        assert tensor.dtype == torch.float64
    assert made.distiller.memory_student.dtype == torch.float64
    assert tiny.weights(tmp_path, "crd", recipe)["fc.weight"].dtype == torch.float64
