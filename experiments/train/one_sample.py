"""Batches of one sample: which runs cannot be trained on them and leave them out.

Batch normalisation cannot be trained on one value per channel, which is what a single image gives
where a network's map is 1×1. Whether a run meets that follows from its network, its method and the
size of the images, so it is tried once, with new networks, before the run takes a step. A run that
can be trained on one sample keeps its batches: its numbers are as they were.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

import distillers
import models
from datasets import Batch, Info
from datasets.randomness import generator
from distillers import Distiller, Unsupported
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import RunSpec
from experiments.train import networks

Step = Callable[[int], Mapping[str, Tensor]]  # number of samples -> losses


def count(info: Info, sampler: str | None) -> tuple[int, int]:
    """Batches of one sample, and all batches, in an epoch of a single process."""
    size, total = info.batch_size, info.train_size
    if sampler is not None:  # its batches are all full
        steps = max(1, total // size)
        return (steps if size == 1 else 0), steps
    steps = -(-total // size)
    return (steps if size == 1 else int(total % size == 1)), steps


@dataclass(frozen=True)
class LeftOut:
    """What a run leaves out: batches per epoch by stage, none where there are none; and a note."""

    batches: Mapping[str, int] = field(default_factory=dict)
    note: str = ""


def left_out(spec: RunSpec, info: Info) -> LeftOut:
    """The batches of one sample that a run cannot be trained on, in a single process.

    Raises Unsupported if nothing would be left of an epoch.
    """
    sampler = distillers.find(spec.method).needs_of(spec.options).sampler
    single, steps = count(info, sampler)
    if not single:
        return LeftOut()
    stages, who = _failing(spec, info)
    sizes = f"{info.train_size} training images in batches of {info.batch_size}"
    if stages and single == steps:
        raise Unsupported(
            f"every batch has one image ({sizes}), on which {who} cannot be trained: expected at "
            "least two"
        )
    note = (
        f"the last batch of every epoch is left out: it has one image ({sizes}), on which {who} "
        "cannot be trained"
    )
    return LeftOut(dict.fromkeys(stages, single), note) if stages else LeftOut()


def refusal(spec: RunSpec, info: Info) -> str | None:
    """Why a run has no batch that it can be trained on; None if it has."""
    sampler = distillers.find(spec.method).needs_of(spec.options).sampler
    single, steps = count(info, sampler)
    try:
        if single == steps:
            left_out(spec, info)
    except Unsupported as error:
        return str(error)
    return None


def _failing(spec: RunSpec, info: Info) -> tuple[list[str], str]:
    """The stages in which a step on one sample fails where one on two does not, and of whom."""
    with networks.seeded("one sample", spec.student, spec.method):
        bn_mode = spec.source.bn_mode if spec.source else None
        main = network_fails(spec.student, info.num_classes, info.image_size, bn_mode)
        if main and distillers.find(spec.method).init_stage is Distiller.init_stage:
            return ["main"], spec.student
        steps = _Trial(spec, info).steps()
        found = [stage for stage, step in steps.items() if _only_one_fails(step)]
    return found, spec.student if main else f"{spec.student} with {spec.method}"


@functools.cache  # all methods of a student ask
def network_fails(name: str, classes: int, side: int, bn_mode: str | None = None) -> bool:
    """Whether the network alone cannot be trained on one image of ``side`` pixels, but on two.

    ``bn_mode`` is that of a linear probe on it.
    """
    network = _student(name, classes, bn_mode).train()
    return _only_one_fails(
        lambda samples: {"logits": network(torch.randn(samples, 3, side, side)).sum()}
    )


def _student(name: str, classes: int, bn_mode: str | None) -> models.Classifier:
    network = models.build(name, classes)
    return models.LinearProbe(network, classes, bn_mode) if bn_mode else network


def _only_one_fails(step: Step) -> bool:
    return _fails(step, 1) and not _fails(step, 2)


def _fails(step: Step, samples: int) -> bool:
    try:
        losses = step(samples)
        total = torch.stack(list(losses.values())).sum()
        if total.requires_grad:
            total.backward()
    except Exception:  # noqa: BLE001  (whatever a user's code raises: the two sizes are compared)
        return True
    return not bool(torch.isfinite(total))


@dataclass
class _Trial:
    """New networks and the method of a run, on the CPU, for steps that leave no trace."""

    spec: RunSpec
    info: Info

    def __post_init__(self) -> None:
        self.recipe = Recipe()
        bn_mode = self.spec.source.bn_mode if self.spec.source else None
        self.student = _student(self.spec.student, self.info.num_classes, bn_mode)
        self.teacher = self._teacher()
        self.method = distillers.build(
            self.spec.method, self.student, self.teacher, self.info, **self.spec.options
        )
        self.stage = self.method.init_stage()

    def _teacher(self) -> models.Classifier | None:
        if self.spec.teacher is None:
            return None
        return networks.freeze(models.build(self.spec.teacher.name, self.info.num_classes))

    def steps(self) -> dict[str, Step]:
        """The run's stages, each as a function from a number of samples to its losses."""
        return (
            {"initial": self._initial, "main": self._main} if self.stage else {"main": self._main}
        )

    def _main(self, samples: int) -> dict[str, Tensor]:
        self.student.train()
        batch, method = self._batch(samples), self.method
        student = networks.run(self.student, batch, method.needs, self.recipe)
        losses: dict[str, Tensor] = method(student, self._taught(batch), batch)
        if type(method).predict is not Distiller.predict:
            method.eval()
            method.predict(student.promoted())
            method.train()
        return losses

    def _initial(self, samples: int) -> dict[str, Tensor]:
        assert self.stage is not None
        self.student.train(False)
        self.stage.modules.train()
        batch, student = self._batch(samples), None
        if self.stage.uses_student:
            student = networks.run(self.student, batch, self.method.needs, self.recipe)
        return self.method.initial(student, self._taught(batch), batch)

    def _taught(self, batch: Batch) -> models.Outputs | None:
        """The teacher's outputs."""
        if self.teacher is None or not self.method.needs.teacher:
            return None
        with torch.no_grad():
            return networks.run(self.teacher, batch, self.method.needs, self.recipe)

    def _batch(self, samples: int) -> Batch:
        """Noise under real labels."""
        self.method.train()
        self.method.on_epoch(1)
        indices = torch.arange(samples) % self.info.train_size
        draw, side = generator("one sample"), self.info.image_size
        images, *views = (
            torch.randn(samples, 3, side, side, generator=draw)
            for _ in ("", *self.method.needs.views)
        )
        labels = self.info.train_labels[indices]
        return Batch(images, labels, indices, epoch=1, step=0, views=tuple(views))
