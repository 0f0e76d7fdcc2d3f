"""One step of a method on a tiny batch: mistakes that training would hide, or meet much later.

A run's loss falls even if the method's own term is detached from the student, if its connector is
never trained, or if it writes into the teacher's outputs. Here each of these has a sentence.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

import distillers
import models
from datasets import Batch, Info
from datasets.randomness import generator, seed
from distillers import Distiller, Needs
from experiments.check.structure import (
    hidden_parameters,
    own_state,
    parameters_made,
    stored_parts,
    trained_leaves,
)
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import RunSpec
from experiments.train import networks, shared
from experiments.train.distributed import SINGLE
from experiments.train.grad_scaler import Scaler
from models import Outputs

SAMPLES = 8  # two of each of four classes, where the data has them
CPU = torch.device("cpu")


def findings(spec: RunSpec, info: Info) -> list[str]:
    """What is wrong with the method of ``spec``, a sentence each; empty if nothing was found.

    Both networks are new ones; only their shapes matter. Raises Unsupported where the method
    cannot serve the pair.
    """
    with networks.seeded("dry step", spec.method):
        try:
            return _Step(spec, info).findings()
        except distillers.Unsupported:
            raise
        except Exception as error:  # noqa: BLE001  (whatever a user's code raises)
            return [distillers.explain(error)]


class Pair:
    """A method with its two networks, and batches for them."""

    def __init__(self, spec: RunSpec, info: Info, recipe: Recipe | None = None) -> None:
        size = min(info.batch_size, max(SAMPLES, _needs(spec).min_batch))
        self.recipe = recipe or Recipe()
        self.info = replace(info, batch_size=size, train_labels=info.train_labels.clone())
        self.student = models.build(spec.student, info.num_classes)
        self.teacher = None
        if spec.teacher:
            self.teacher = networks.freeze(models.build(spec.teacher.name, info.num_classes))
        self.method = distillers.build(
            spec.method, self.student, self.teacher, self.info, seed=seed("dry"), **spec.options
        )
        self.method.train()
        self.name = spec.method

    def batch(self, epoch: int = 1, size: int | None = None, alone: bool = False) -> Batch:
        """Noise with real labels; ``alone``: no two samples of a class, where the data allows."""
        size = size or self.info.batch_size
        indices = _indices(self.info.train_labels, size, 1 if alone else 2)
        draw = generator("dry step", epoch)
        side = self.info.image_size
        images = [
            torch.randn(size, 3, side, side, generator=draw) for _ in ("", *self.method.needs.views)
        ]
        labels = self.info.train_labels[indices]
        return Batch(images[0], labels, indices, epoch, 0, tuple(images[1:]))

    def outputs(self, batch: Batch) -> tuple[Outputs, Outputs | None]:
        """Student's and teacher's outputs, as the trainer gives them to a method."""
        needs = self.method.needs
        student = networks.run(self.student, batch, needs, self.recipe)
        if self.teacher is None or not needs.teacher:
            return student, None
        with torch.no_grad():
            union = Needs(preacts=needs.preacts, blocks=needs.blocks)
            return student, networks.run(self.teacher, batch, union, self.recipe)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of the main stage on a batch."""
        return self.method(*self.outputs(batch), batch)


class _Step(Pair):
    """The checks, in the order in which an author would want to hear of them."""

    def findings(self) -> list[str]:
        stored = list(stored_parts(self.method, self.student, self.teacher))
        if stored:  # its parameters would confuse every check below
            return stored
        before = own_state(self.method)
        found: list[str] = []
        reached: list[Tensor] = []
        with parameters_made() as made:
            stage = self.method.init_stage()
            if stage is not None:
                initial = self._initial(stage.uses_student)
                found += _not_finite(self.name, initial)
                reached += trained_leaves(initial.values())
            for epoch in dict.fromkeys((1, self.info.epochs)):  # a weight may grow from 0
                self.method.on_epoch(epoch)
                plain = _plain_attributes(self.method)
                batch = self.batch(epoch)
                outputs = self.outputs(batch)
                losses, changed = self._watched(batch, *outputs)
                found += changed
                found += _not_finite(self.name, losses, epoch)
                found += _kept_outside(self.method, plain)
                own = {k: v for k, v in losses.items() if k not in ("ce", "kd")} or losses
                reached += trained_leaves(losses.values())
                reaches = self._reaches_student(own)
        found += self._parameters(reached, made)
        if not reaches:
            found.append(
                f"{self._term()} of {self.name} does not depend on the student: is something "
                "detached, or computed under torch.no_grad()?"
            )
        found += _appeared(self.name, before, own_state(self.method))
        if not found:
            found += self._update(losses)
        return list(dict.fromkeys(found))

    def _term(self) -> str:
        """The hook that an author would look at first."""
        hooks = ("loss", "soft_loss", "task_loss", "forward")
        kind = type(self.method)
        own = [h for h in hooks if getattr(kind, h) is not getattr(Distiller, h)]
        return f"{own[0]}()" if own else "the loss"

    def _initial(self, uses_student: bool) -> dict[str, Tensor]:
        batch = self.batch()
        student, teacher = self.outputs(batch)
        return self.method.initial(student if uses_student else None, teacher, batch)

    def _watched(
        self, batch: Batch, student: Outputs, teacher: Outputs | None
    ) -> tuple[dict[str, Tensor], list[str]]:
        """The losses, and a sentence if computing them changed a value that is not the method's."""
        named = [
            *shared.of_batch(batch, teacher),
            *shared.of_outputs("student", student),
            ("info.train_labels", self.info.train_labels),
            *((f"the teacher's {k}", v) for k, v in _state(self.teacher).items()),
            *((f"the student's {k}", v) for k, v in _state(self.student).items()),
        ]
        copies = [tensor.detach().clone() for _, tensor in named]
        losses = self.method(student, teacher, batch)
        changed = [
            name
            for (name, tensor), original in zip(named, copies, strict=True)
            if not torch.equal(tensor.detach().nan_to_num(), original.nan_to_num())
        ]
        return losses, [shared.message(self.name, changed)] if changed else []

    def _reaches_student(self, losses: Mapping[str, Tensor]) -> bool:
        theirs = {id(p) for p in self.student.parameters()}
        return any(id(leaf) in theirs for leaf in trained_leaves(losses.values()))

    def _parameters(self, reached: list[Tensor], made: list[nn.Module]) -> Iterator[str]:
        """Parameters that get no gradient, and tensors that get one but are not trained."""
        got = {id(leaf) for leaf in reached}
        own = {id(p): name for name, p in self.method.named_parameters() if p.requires_grad}
        yield from (
            f"self.{name} of {self.name} gets no gradient: no term uses it"
            for key, name in own.items()
            if key not in got
        )
        hidden = dict(hidden_parameters(self.method, self.student, self.teacher))
        for path in dict.fromkeys(hidden.values()):
            yield (
                f"self.{path} of {self.name} is not trained, saved or moved to the device: keep "
                "modules as attributes or in an nn.ModuleList, tensors as nn.Parameter"
            )
        for module in set(made) - set(self.method.modules()):
            yield (
                f"loss() of {self.name} makes a {type(module).__name__} in every step, which is "
                "never trained: create it in setup() and keep it as self.NAME"
            )
        known = {*own, *hidden, *(id(p) for p in self.student.parameters())}
        known |= {id(p) for module in made for p in module.parameters()}
        teachers = {id(p) for p in self.teacher.parameters()} if self.teacher else set()
        for leaf in {id(leaf): leaf for leaf in reached}.values():
            if id(leaf) in teachers:
                yield f"a term of {self.name} sends a gradient into the teacher"
            elif id(leaf) not in known:
                yield (
                    f"a term of {self.name} has a gradient for a tensor {tuple(leaf.shape)} that "
                    "is no parameter of the method: it is never trained"
                )

    def _update(self, losses: dict[str, Tensor]) -> Iterator[str]:
        """The method's own `step`, `optimizer` and `predict`."""
        frozen = {k: v.clone() for k, v in _state(self.teacher).items()}
        params = [*self.student.parameters(), *self.method.parameters()]
        params = [p for p in params if p.requires_grad]
        optimizer = self.method.optimizer(params, self.recipe)
        self.method.step(losses, optimizer, Scaler(CPU, False, SINGLE, 0.0))
        now = _state(self.teacher)
        if any(not torch.equal(now[k], v) for k, v in frozen.items()):
            yield f"step() of {self.name} changes the teacher's weights"
        self.method.eval()
        with torch.no_grad():
            outputs, _ = self.outputs(self.batch())
            logits = self.method.predict(outputs)
        expected = (self.info.batch_size, self.info.num_classes)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            yield f"predict() of {self.name} returned {got}; expected logits of shape {expected}"


def small_batches(spec: RunSpec, info: Info) -> list[str]:
    """Problems with batches of one to three samples, no two of them of one class."""
    return _on_batches(spec, info, Recipe(), [{"size": n, "alone": True} for n in (1, 2, 3)])


def half_precision(spec: RunSpec, info: Info) -> list[str]:
    """Problems with outputs in bfloat16."""
    return _on_batches(spec, info, Recipe(precision="bf16"), [{}])


def _on_batches(
    spec: RunSpec, info: Info, recipe: Recipe, batches: list[dict[str, Any]]
) -> list[str]:
    found: list[str] = []
    with networks.seeded("dry step", spec.method):
        pair = Pair(spec, info, recipe)
        # Batch norms cannot be trained on one sample, which no data set gives either.
        pair.student.eval()
        pair.method.on_epoch(1)
        for asked in batches:
            size = asked.get("size", pair.info.batch_size)
            try:
                losses = pair.losses(pair.batch(**asked))
                torch.stack(list(losses.values())).sum().backward()
                found += _not_finite(pair.name, losses)
            except Exception as error:  # noqa: BLE001  (whatever a user's code raises)
                found.append(f"a batch of {size}: {distillers.explain(error)}")
    return found


# ---- helpers -------------------------------------------------------------------------------------


def _needs(spec: RunSpec) -> Needs:
    return distillers.find(spec.method).needs_of(spec.options)


def _indices(labels: Tensor, size: int, of_each: int) -> Tensor:
    """``size`` indices with ``of_each`` samples of one class after the other, then any."""
    chosen: list[int] = []
    for label in labels.unique()[: -(-size // of_each)]:
        chosen += (labels == label).nonzero()[:of_each, 0].tolist()
    rest = [i for i in range(len(labels)) if i not in set(chosen)][: max(0, size - len(chosen))]
    return torch.tensor((chosen + rest)[:size])


def _state(network: nn.Module | None) -> dict[str, Tensor]:
    """Parameters and buffers by name; none of a network that is absent."""
    if network is None:
        return {}
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _not_finite(method: str, losses: Mapping[str, Tensor], epoch: int = 1) -> list[str]:
    return [
        f"the term {name!r} of {method} is {value.item():g} in epoch {epoch}, on noise"
        for name, value in losses.items()
        if not torch.isfinite(value)
    ]


def _appeared(method: str, before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """State that `setup` did not create: a resumed run could not load it."""
    for name in sorted(now.keys() - before.keys()):
        yield (
            f"self.{name} of {method} appears in the first step: create it in setup(), or it is "
            "neither trained nor can a run be resumed"
        )
    for name in sorted(before.keys() & now.keys()):
        if before[name] != now[name]:
            yield (
                f"self.{name} of {method} changes its shape from {before[name]} to {now[name]}: a "
                "resumed run cannot load it"
            )


SIMPLE = (bool, int, float, str, Tensor)


def _plain_attributes(method: Distiller) -> dict[str, Any]:
    """The attributes of simple types, which no checkpoint holds."""
    return {
        name: copy.deepcopy(value.detach() if isinstance(value, Tensor) else value)
        for name, value in vars(method).items()
        if isinstance(value, SIMPLE)
    }


def _kept_outside(method: Distiller, before: dict[str, Any]) -> Iterator[str]:
    """Attributes that a step changes: a resumed run would start without them."""
    for name, value in _plain_attributes(method).items():
        if name not in before or not _same(value, before[name]):
            yield (
                f"a step changes self.{name} of {method.name}, which no checkpoint holds, so a "
                "resumed run would differ: use self.register_buffer in setup(), or compute it "
                "from batch.epoch and batch.step"
            )


def _same(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)
