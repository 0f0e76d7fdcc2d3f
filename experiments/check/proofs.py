"""Short trainings that prove a method's runs independent of their company and of interruptions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import distillers
import models
from datasets import Data
from experiments.errors import InputError
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, RunSpec, TeacherSpec
from experiments.rundir.layout import ERROR, HEAD, WEIGHTS
from experiments.rundir.outcome import Outcome
from experiments.train import networks, teachers, trainer
from experiments.train.cohort import Cohort
from experiments.train.teachers import Teacher
from experiments.wording import plural
from models.checkpoints.files import sha256

RECIPE = Recipe(epochs=2, batch_size=16, schedule="cosine", lr=0.01)
SIZE = 136  # training images: nine steps an epoch, the last with half a batch
CPU = torch.device("cpu")
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Laboratory:
    """Where short trainings take place: a data set, an untrained teacher, a folder for runs."""

    data: Data
    student: str
    teacher: Teacher
    folder: Path

    @classmethod
    def furnish(cls, data: Data, teacher: str, student: str, folder: Path) -> Laboratory:
        """A laboratory with a teacher of seeded, untrained weights: any teacher proves as much."""
        with networks.seeded("check", teacher):
            network = models.build(teacher, data.info.num_classes)
        file = folder / "teacher.safetensors"
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, file)
        spec = TeacherSpec(name=teacher, sha256=sha256(file))
        return cls(data, student, teachers.load(spec, file, data, RECIPE, CPU), folder)

    def spec(self, method: str) -> RunSpec:
        """The run of a method with its default options."""
        known = self.teacher.record
        taught = distillers.find(method).needs_of(distillers.defaults(method)).teacher
        return RunSpec(
            dataset=DataSpec(name=self.data.info.name),
            teacher=TeacherSpec(name=known.name, sha256=known.sha256) if taught else None,
            student=self.student,
            method=method,
            options=distillers.resolve(method),
            recipe=RECIPE,
        )

    def train(
        self, place: str, methods: Sequence[str], stop: Callable[[], bool] = lambda: False
    ) -> dict[str, Weights]:
        """Method -> the weights with which its run ended, of those that ended.

        All train in one cohort, in this order. Raises InputError if one fails; runs that ``stop``
        interrupts can be resumed at the same ``place``.
        """
        specs = [self.spec(method) for method in methods]
        cohort = Cohort(specs, self.folder / place, self.data, self.teacher, CPU, stop=stop)
        states = trainer.train(cohort)
        for spec in specs:
            if states[spec.id] not in (Outcome.DONE, Outcome.INTERRUPTED):
                error = spec.directory(cohort.runs) / ERROR
                raise InputError(error.read_text(encoding="utf-8").partition("\n")[0])
        done = [spec for spec in specs if states[spec.id] == Outcome.DONE]
        return {spec.method: _weights(spec.directory(cohort.runs)) for spec in done}


def _weights(directory: Path) -> Weights:
    """What a run is tested with: the student's weights and, if it has one, the method's head."""
    head = directory / HEAD
    own = {f"head.{k}": v for k, v in load_file(head).items()} if head.exists() else {}
    return {**load_file(directory / WEIGHTS), **own}


def company(lab: Laboratory, method: str) -> list[str]:
    """Train a method alone, others alone, and all together: every run must end the same."""
    others = [other for other in ("vanilla", "kd") if other != method]
    try:
        alone = lab.train("alone", [method]) | lab.train("others", others)
        together = lab.train("together", [others[0], method, *others[1:]])
    except InputError as error:
        return [str(error)]
    return [
        f"{name} ends with other weights beside {'the others' if name == method else method} "
        "than alone"
        for name, weights in together.items()
        if not _equal(weights, alone[name])
    ]


def resume(lab: Laboratory, method: str) -> list[str]:
    """Interrupt a run in its first and in its last epoch, resume it: it must end the same."""
    found = []
    try:
        straight = lab.train("alone", [method])[method]  # from disk, if it is done
    except InputError as error:
        return [str(error)]
    steps = lab.data.steps_per_epoch()
    for after in (2, steps + steps // 2):
        place = f"stopped-{after}"
        try:
            lab.train(place, [method], stop_after(after))
            (resumed,) = lab.train(place, [method]).values()
        except InputError as error:
            return [f"resumed after {plural(after, 'step')}: {error}"]
        if not _equal(straight, resumed):
            found.append(
                f"interrupted after {plural(after, 'step')} and resumed, {method} ends with other "
                "weights: keep its state in parameters and buffers, its randomness in "
                "self.draw(batch)"
            )
    return found


def stop_after(steps: int) -> Callable[[], bool]:
    """A `Cohort.stop` that lets so many steps pass."""
    calls = itertools.count()
    return lambda: next(calls) >= steps


def _equal(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
