"""The base class of all distillation methods: the hooks, and what every method has in common."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from datasets.randomness import generator
from models import Outputs

from .losses import cross_entropy, kl_divergence
from .needs import Needs

ABOVE_ZERO = math.ulp(0.0)  # as the lower end of an option's range, without 0
REFERENCE_EPOCHS = 240  # the CIFAR schedule in whose epochs warm-ups and the like are given


class MethodError(ValueError):
    """An unknown method or option, or a wrong value, said in one line."""


class Unsupported(MethodError):  # noqa: N818  (a statement about a pair, not a fault)
    """This method cannot serve this pair of networks; the message is the reason beside n/a."""


@dataclass(frozen=True)
class InitStage:
    """A stage before the main one (AB, FSP, FT): only `init_loss`, at a constant learning rate.

    epochs        of the reference schedule
    modules       what trains
    lr            learning rate; None: the recipe's
    uses_student  whether the student runs (and trains as far as it is in ``modules``)
    """

    epochs: int
    modules: nn.ModuleList
    lr: float | None = None
    uses_student: bool = True


class Distiller(nn.Module):
    """A distillation method. Its parameters and buffers are its own, never the two networks'.

    A subclass sets ``needs`` and ``defaults`` and writes ``loss``; every other hook has a default.
    ``self.options`` holds the resolved options, ``self.info`` the data's `Info`.
    """

    needs: Needs = Needs()
    version: ClassVar[int] = 1  # raised when the same options give other numbers; enters the run id
    defaults: ClassVar[Mapping[str, Any]] = {}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {}  # options with a closed set of values
    # Numbers are from 0, whole ones from 1, temperatures and rates above 0, or with the default's
    # sign; others say from where to where. What may be null too is optional, with its type.
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    optional: ClassVar[Mapping[str, type]] = {}
    softens: ClassVar[bool] = False  # whether the method's own term calls `soften`
    # set by @register
    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    arxiv: ClassVar[str | None] = None
    reference: ClassVar[str] = ""

    base_defaults: ClassVar[Mapping[str, Any]] = {
        "ce": 1.0,  # weight of the cross-entropy with the labels
        "kd": 0.0,  # weight of Hinton's term; "+kd" behind a method's name sets it to 1
        "kd_temperature": 4.0,
        "weight": 1.0,  # of the method's own term
    }

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        info: Info,
        options: Mapping[str, Any],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.options = SimpleNamespace(**options)
        self.info, self.seed = info, seed
        self.needs = self.needs_of(options)
        if teacher is None and (self.needs.teacher or self.options.kd):
            raise Unsupported(f"{self.name} needs a teacher")
        self.setup(student, teacher, info)

    # ---- hooks ---------------------------------------------------------------------------------

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        """What the method needs under these options; by default the class's ``needs``."""
        return cls.needs

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        """Make connectors and banks, from `probe`; they are trained, checkpointed and counted.

        Raises Unsupported with the reason where the method cannot serve this pair. Overriding
        methods call ``probe`` for both networks, which checks ``needs``.
        """
        self.probe(student)
        if teacher is not None and self.needs.teacher:
            self.probe(teacher, teacher=True)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor | dict[str, Tensor]:
        """The method's own term (before ``weight``), or its parts by name."""
        return {}

    def row_loss(
        self, student: Outputs, teacher: Outputs, batch: Batch
    ) -> Tensor | dict[str, Tensor]:
        """(B,), or parts: per sample, what `loss` (of KD: `soft_loss`) is the mean over a batch of.

        Only of methods that read no more than logits, labels and the epoch; SDD asks for it.
        """
        raise NotImplementedError(f"{self.name} has no loss per sample")

    def task_loss(self, student: Outputs, batch: Batch) -> Tensor:
        """Cross-entropy with the labels, hard or soft."""
        return cross_entropy(student.logits, batch.labels)

    def soften(self, logits: Tensor) -> Tensor:
        """Applied to logits (N, C) in every KL term: the identity here."""
        return logits

    def temperature(self, fixed: float, epoch: int) -> float | Tensor:
        """The temperature in ``epoch`` (from 1) where the option says ``fixed``: that here.

        `soft_loss` and DKD ask for theirs. A tensor, (), may lead gradients on.
        """
        return fixed

    def soft_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Hinton's term (before its weight ``kd``), called where that is not 0."""
        temperature = self.temperature(self.options.kd_temperature, batch.epoch)
        return kl_divergence(self.soften(student.logits), self.soften(teacher.logits), temperature)

    def init_stage(self) -> InitStage | None:
        """A stage trained before the main one, or None."""
        return None

    def init_loss(
        self, student: Outputs, teacher: Outputs, batch: Batch
    ) -> Tensor | dict[str, Tensor]:
        """The loss of the initial stage."""
        raise NotImplementedError(f"{type(self).__name__} has an initial stage but no init_loss")

    def predict(self, student: Outputs) -> Tensor:
        """The logits (N, C) that are tested and exported: the student's own here."""
        return student.logits

    def optimizer(self, params: list[nn.Parameter], recipe: Any) -> torch.optim.Optimizer:
        """The optimiser of the student's and the method's parameters: the recipe's here."""
        optimizer: torch.optim.Optimizer = recipe.make_optimizer(params)
        return optimizer

    def step(
        self,
        losses: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> None:
        """One update from the weighted losses. Gradients are clear on entry.

        An own version ends in ``scaler.step(optimizer)``, too, which may do nothing but call the
        optimiser: where several processes share a run, it averages their gradients first.
        """
        total = torch.stack(list(losses.values())).sum()
        scaler.scale(total).backward()
        scaler.step(optimizer)
        scaler.update()

    def on_epoch(self, epoch: int) -> None:
        """Called before the first step of every epoch (from 1), also after a resume: curricula."""

    # ---- what methods call ---------------------------------------------------------------------

    def probe(self, network: nn.Module, teacher: bool = False) -> Outputs:
        """``network``'s outputs on two blank images, to read shapes from; checks ``needs``.

        Raises Unsupported where the network lacks what the method needs.
        """
        outputs = probe(network, self.info.image_size, self.needs)
        missing = self.needs.missing(outputs)
        if teacher and self.needs.classifier and network.classifier is None:
            missing.append("classifier")
        if missing:
            who = getattr(network, "name", "") or type(network).__name__
            raise Unsupported(f"{self.name} needs {', '.join(missing)}, which {who} lacks")
        return outputs

    def draw(self, batch: Batch, *purpose: str) -> torch.Generator:
        """The method's own CPU generator: a function of (run, epoch, step, purpose)."""
        return generator(self.seed, "method", batch.epoch, batch.step, *purpose)

    def scaled(self, epochs: float, absolute: float | None = None) -> float:
        """Epochs of the reference schedule (240) in epochs of this one; ``absolute`` if given."""
        return epochs * self.info.epochs / REFERENCE_EPOCHS if absolute is None else absolute

    # ---- what the trainer calls ----------------------------------------------------------------

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Named, already weighted scalars whose sum is the loss of the main stage."""
        student, teacher = _ready(student), _ready(teacher, detach=True)
        losses = {}
        with _full_precision(student):
            if self.options.ce:
                losses["ce"] = self.options.ce * self.task_loss(student, batch)
            if self.options.kd:
                losses["kd"] = self.options.kd * self.soft_loss(student, teacher, batch)
            if self.options.weight:
                losses |= self._own(student, teacher, batch)
        return losses or {self.name: _zero(student)}

    def initial(
        self, student: Outputs | None, teacher: Outputs | None, batch: Batch
    ) -> dict[str, Tensor]:
        """Named scalars whose sum is the loss of the initial stage."""
        student, teacher = _ready(student), _ready(teacher, detach=True)
        with _full_precision(student if student is not None else teacher):
            return self._named(self.init_loss(student, teacher, batch), weight=1.0)

    def _own(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        partial = (batch.whole or len(student.logits)) < self.info.batch_size
        small = len(student.logits) < self.needs.min_batch
        if small or (partial and self.needs.full_batches):
            return {self.name: _zero(student)}
        return self._named(self.loss(student, teacher, batch), self.options.weight)

    def _named(self, value: Tensor | dict[str, Tensor], weight: float) -> dict[str, Tensor]:
        if isinstance(value, Tensor):
            return {self.name: weight * value}
        return {f"{self.name}.{part}": weight * term for part, term in value.items()}


def probe(network: Any, image_size: int, needs: Needs) -> Outputs:
    """``network``'s outputs on two blank images, in eval mode; modes and buffers are restored."""
    parameter = next(network.parameters(), torch.empty(0))
    images = torch.zeros(
        2, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype
    )
    with _undisturbed(network), torch.no_grad():
        outputs: Outputs = network.outputs(images, preacts=needs.preacts, blocks=needs.blocks)
    return outputs


@contextlib.contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every module's mode and every buffer are as before."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, before in buffers:
            buffer.copy_(before)


def _ready(outputs: Outputs | None, detach: bool = False) -> Any:
    """Outputs in the precision of the losses; the teacher's cut off from its graph."""
    if outputs is None:
        return None
    return outputs.promoted().detached() if detach else outputs.promoted()


def _full_precision(outputs: Outputs) -> torch.autocast:
    return torch.autocast(outputs.logits.device.type, enabled=False)


def _zero(student: Outputs) -> Tensor:
    """Zero, but connected to the student, so that a backward pass works."""
    return student.logits.sum() * 0
