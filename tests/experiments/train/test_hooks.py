"""Every hook of the base class works through the trainer, which names no method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import distillers
from datasets import Batch
from distillers import Distiller, InitStage, Needs
from experiments.matrix.recipe import Recipe
from experiments.rundir.outcome import Outcome
from experiments.train import trainer
from models import Outputs
from results import records
from tests.experiments import tiny

pytestmark = pytest.mark.usefixtures("own_registry")
RECIPE = Recipe(epochs=3, batch_size=16, milestones=())


class Staged(Distiller):
    """Two initial epochs for the first half of the student, on maps; then cross-entropy alone."""

    needs = Needs(features=True, preacts=True)

    def init_stage(self) -> InitStage:
        epochs = 2 * distillers.base.REFERENCE_EPOCHS // self.info.epochs
        return InitStage(epochs=epochs, modules=self.parts[0], lr=0.01)

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Any) -> None:
        super().setup(student, teacher, info)
        self.parts = (student.feature_modules(),)  # in a tuple: the student's, not this module's

    def init_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        assert student.preacts and teacher.preacts
        return (student.preacts[-1] - teacher.preacts[-1]).square().mean()


class OwnHead(Distiller):
    """Trains a classifier of its own on the student's embedding, and predicts with it."""

    needs = Needs(embedding=True)
    defaults = {"ce": 0.0}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Any) -> None:
        width = self.probe(student).embedding.shape[1]
        self.head = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, info.num_classes))

    def predict(self, student: Outputs) -> Tensor:
        return self.head(student.embedding)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(self.predict(student), batch.labels)


class TwoPasses(Distiller):
    """Its own optimiser and step: both losses backward one after the other, as DOT does."""

    defaults = {"kd": 0.5}

    def optimizer(self, params: list[nn.Parameter], recipe: Any) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, lr=recipe.lr / 50)

    def step(self, losses: dict[str, Tensor], optimizer: Any, scaler: Any) -> None:
        losses["kd"].backward(retain_graph=True)
        losses["ce"].backward()
        optimizer.step()

    def on_epoch(self, epoch: int) -> None:
        self.options.kd_temperature = 1.0 + epoch


class FailsLate(Distiller):
    """Breaks in the very last step."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        if (batch.epoch, batch.step) == (self.info.epochs, 5):
            raise LookupError("at the end")
        return student.logits.square().mean()


class FailsToStart(Distiller):
    """Breaks when an epoch begins."""

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return student.logits.square().mean()

    def on_epoch(self, epoch: int) -> None:
        raise LookupError("at the start")


class TwoViews(Distiller):
    """Agreement of a second view of the same samples; noise from torch's global generator."""

    needs = Needs(views=("weak",), teacher=False)

    def task_loss(self, student: Outputs, batch: Batch) -> Tensor:
        (view,) = student.views
        return super().task_loss(student, batch) + super().task_loss(view, batch)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        noise = torch.rand_like(student.logits)
        return ((student.logits - student.views[0].logits) * noise).square().mean()


METHODS = {"staged": Staged, "own_head": OwnHead, "two_passes": TwoPasses, "two_views": TwoViews}
FAILING = {"fails_late": FailsLate, "fails_to_start": FailsToStart}


@pytest.fixture(autouse=True)
def registered(own_registry: None) -> None:
    for name, cls in {**METHODS, **FAILING}.items():
        distillers.register(name, title=name, paper="test")(cls)


def run(runs: Path, *methods: str, stop_after: int | None = None) -> set[str]:
    job = tiny.cohort(runs, methods, RECIPE)
    if stop_after is not None:
        job.stop = tiny.stop_after(stop_after)
    return set(trainer.train(job).values())


def record(runs: Path, method: str) -> dict[str, Any]:
    stored = records.read(tiny.spec(method, RECIPE).directory(runs))
    assert stored is not None
    return stored


@pytest.mark.parametrize("method", METHODS)
def test_alone_in_a_cohort_and_resumed_are_the_same(method: str, tmp_path: Path) -> None:
    others = [name for name in METHODS if name != method]
    assert run(tmp_path / "cohort", *others, method, "kd") == {Outcome.DONE}
    for steps in (2, 4, 8):
        assert run(tmp_path / "alone", method, stop_after=steps) == {Outcome.INTERRUPTED}
    assert run(tmp_path / "alone", method) == {Outcome.DONE}
    a, b = (tiny.weights(tmp_path / part, method, RECIPE) for part in ("cohort", "alone"))
    tiny.assert_same_weights(a, b)


def test_the_initial_stage_trains_its_part_only_and_is_in_the_history(tmp_path: Path) -> None:
    run(tmp_path, "staged")
    directory = tiny.spec("staged", RECIPE).directory(tmp_path)
    rows = (directory / "history.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [
        *(["initial", str(e)] for e in (1, 2)),
        *(["main", str(e)] for e in (1, 2, 3)),
    ]
    assert record(tmp_path, "staged").steps == 5 * 6


def test_a_constant_initial_rate_and_untouched_head(tmp_path: Path) -> None:
    job = tiny.cohort(tmp_path, ("staged",), RECIPE)
    member = job.join(job.specs[0])
    assert member is not None
    learner = member.learner
    head = learner.student.classifier.weight.clone()
    body = learner.student.layer1[0].conv1.weight.clone()
    batch = next(job.data.train_stream(0, 1, 0, learner.stream))
    trainer.step(job, [member], batch)
    assert learner.optimizer.param_groups[0]["lr"] == 0.01
    assert torch.equal(learner.student.classifier.weight, head)
    assert not torch.equal(learner.student.layer1[0].conv1.weight, body)
    assert not learner.student.classifier.training and learner.student.layer1.training


def test_a_method_with_its_own_head_is_tested_by_it_and_keeps_it(tmp_path: Path) -> None:
    run(tmp_path, "own_head")
    made = record(tmp_path, "own_head")
    directory = tiny.spec("own_head", RECIPE).directory(tmp_path)
    assert made.parameters.extra_at_test == 2 * 64 + 64 * 10 + 10
    saved = tiny.load_file(directory / "method.safetensors")
    assert {"head.0.running_mean", "head.1.weight", "head.1.bias"} <= set(saved)
    assert saved["head.0.num_batches_tracked"] == made.steps, "scoring changes no statistics"


def test_a_methods_own_learning_rate_follows_the_schedule(tmp_path: Path) -> None:
    job = tiny.cohort(tmp_path, ("two_passes",), RECIPE.model_copy(update={"schedule": "cosine"}))
    member = job.join(job.specs[0])
    assert member is not None
    learner = member.learner
    for batch in job.data.train_stream(0, 1, 0, learner.stream):
        trainer.step(job, [member], batch)
    expected = RECIPE.model_copy(update={"schedule": "cosine"}).rate(1, 5, 6) / 50
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_views_reach_student_and_batch(tmp_path: Path) -> None:
    job = tiny.cohort(tmp_path, ("two_views",), RECIPE)
    member = job.join(job.specs[0])
    assert member is not None
    batch = next(job.data.train_stream(0, 1, 0, member.learner.stream))
    assert len(batch.views) == 1 and not torch.equal(batch.views[0], batch.images)
    without = replace(batch, views=())
    with pytest.raises(ValueError, match="unpack"):
        member.learner.take_step(without, None)


@pytest.mark.parametrize("method", FAILING)
def test_a_failing_run_leaves_once_and_for_all(method: str, tmp_path: Path) -> None:
    job = tiny.cohort(tmp_path, (method, "vanilla"), RECIPE)
    reports = []
    job.report = lambda spec, row: reports.append((spec.method, row.get("state")))
    states = trainer.train(job)
    assert sorted(states.values()) == [Outcome.DONE, Outcome.FAILED]
    assert [state for name, state in reports if name == method and state] == [Outcome.FAILED]
    directory = tiny.spec(method, RECIPE).directory(tmp_path)
    assert not (directory / records.RESULT).exists()
    assert (directory / "error.txt").read_text().startswith("LookupError: at the ")


def test_kd_without_a_teacher_is_refused(tmp_path: Path) -> None:
    job = tiny.cohort(tmp_path, ("vanilla",), RECIPE)
    options = {**job.specs[0].options, "kd": 0.5}
    job.specs = [job.specs[0].model_copy(update={"options": options})]
    assert set(trainer.train(job).values()) == {Outcome.FAILED}
    error = job.specs[0].directory(tmp_path) / "error.txt"
    assert error.read_text().startswith("vanilla needs a teacher")
