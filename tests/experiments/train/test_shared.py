"""What the runs of a cohort share no method can change: who tries fails, and nobody else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import distillers
from datasets import Batch
from distillers import Distiller, Needs
from experiments.rundir.outcome import Outcome
from experiments.train import trainer
from experiments.train.cohort import Cohort
from experiments.train.teachers import Teacher
from models import Outputs
from tests.experiments import tiny

WRITES: dict[str, tuple[Callable[[Outputs, Outputs, Batch, Distiller], object], str]] = {
    "outputs": (lambda s, t, b, m: t.embedding.mul_(2), "teacher.embedding"),
    "feature": (lambda s, t, b, m: t.features[1].add_(1), "teacher.features[1]"),
    "view_of_it": (lambda s, t, b, m: t.logits[:, 0].zero_(), "teacher.logits"),
    "images": (lambda s, t, b, m: b.images.neg_(), "batch.images"),
    "labels": (lambda s, t, b, m: b.labels.zero_(), "batch.labels"),
    "all_labels": (lambda s, t, b, m: m.info.train_labels.zero_(), "info.train_labels"),
    "weights": (lambda s, t, b, m: m.kept[0].mul_(2), "the teacher's fc.weight"),
    "student": (lambda s, t, b, m: s.features[0].detach().neg_(), "student.features[0]"),
}


class Writes(Distiller):
    """Changes what is not its own, in the fourth step."""

    needs = Needs(embedding=True, features=True)

    def setup(self, student, teacher, info):
        self.kept = [teacher.fc.weight]

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        if batch.step == 3:
            with torch.no_grad():
                self.write(student, teacher, batch, self)
        return (student.embedding.mean() - teacher.embedding.mean()).square()


class WritesInSetup(Distiller):
    """Changes the teacher while it is built."""

    def setup(self, student, teacher, info):
        with torch.no_grad():
            teacher.fc.bias.add_(1)

    def loss(self, student, teacher, batch):
        return student.logits.square().mean()


class Draws(Distiller):
    """Noise from every global generator, in every hook."""

    needs = Needs(embedding=True)

    def setup(self, student, teacher, info):
        self.register_buffer("start", torch.tensor(random.random() + np.random.rand()))

    def on_epoch(self, epoch):
        self.factor = random.random() + np.random.rand() + float(torch.rand(()))

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        noise = random.random() + np.random.rand() + torch.rand(())
        return (self.start + self.factor + noise) * student.embedding.square().mean()


@pytest.fixture(autouse=True)
def methods() -> Iterator[None]:
    own = {"draws": Draws, "writes_in_setup": WritesInSetup}
    own |= {
        f"writes_{name}": type(f"Writes{name}", (Writes,), {"write": staticmethod(write)})
        for name, (write, _) in WRITES.items()
    }
    for name, cls in own.items():
        distillers.register(name, title=name, paper="test")(cls)
    yield
    for name in own:
        del distillers.registry.REGISTRY._entries[name]


def cohort(runs: Path, *methods: str) -> Cohort:
    """A cohort whose teacher has a file, as those of jobs have."""
    job = tiny.cohort(runs, methods)
    assert job.teacher is not None
    file = runs.parent / f"{runs.name}.safetensors"
    save_file(dict(job.teacher.module.state_dict()), file)
    job.teacher = Teacher(job.teacher.module, job.teacher.record, file)
    return job


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    """The weights of the neighbours when nobody disturbs them."""
    runs = tmp_path_factory.mktemp("alone")
    trainer.train(tiny.cohort(runs, ("kd", "crd", "at")))
    return {name: tiny.weights(runs, name) for name in ("kd", "crd", "at")}


@pytest.mark.parametrize("kind", WRITES)
def test_who_writes_fails_by_name_and_nobody_else_notices(tmp_path, alone, kind):
    job = cohort(tmp_path / "runs", "kd", f"writes_{kind}", "crd", "at")
    labels = job.data.info.train_labels.clone()
    states = trainer.train(job)
    ends = {spec.method: states[spec.id] for spec in job.specs}
    assert ends == {
        "kd": Outcome.DONE, f"writes_{kind}": Outcome.FAILED, "crd": Outcome.DONE,
        "at": Outcome.DONE,
    }  # fmt: skip
    (error,) = (tmp_path / "runs").rglob("error.txt")
    line = error.read_text().partition("\n")[0]
    assert line.startswith(f"writes_{kind} changes {WRITES[kind][1]} in place, which others read")
    for name, weights in alone.items():
        tiny.assert_same_weights(tiny.weights(tmp_path / "runs", name), weights)
    assert torch.equal(job.data.info.train_labels, labels)


def test_writing_while_it_is_built(tmp_path, alone):
    job = cohort(tmp_path / "runs", "writes_in_setup", "kd", "crd", "at")
    states = trainer.train(job)
    assert [states[spec.id] for spec in job.specs] == [Outcome.FAILED] + 3 * [Outcome.DONE]
    for name, weights in alone.items():
        tiny.assert_same_weights(tiny.weights(tmp_path / "runs", name), weights)


def test_global_generators_are_the_runs_own(tmp_path):
    """The same numbers alone, in company, and resumed; and the caller's generators stay put."""
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    trainer.train(tiny.cohort(tmp_path / "alone", ("draws",)))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.seed(2)
    np.random.seed(2)
    trainer.train(tiny.cohort(tmp_path / "company", ("crd", "draws", "kd")))
    job = tiny.cohort(tmp_path / "resumed", ("draws",))
    job.stop = tiny.stop_after(8)
    assert set(trainer.train(job).values()) == {Outcome.INTERRUPTED}
    random.seed(3)
    trainer.train(tiny.cohort(tmp_path / "resumed", ("draws",)))
    expected = tiny.weights(tmp_path / "alone", "draws")
    for place in ("company", "resumed"):
        tiny.assert_same_weights(tiny.weights(tmp_path / place, "draws"), expected)
