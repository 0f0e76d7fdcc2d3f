"""The base class of all distillation methods: their hooks and what they share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from datasets.randomness import generator
from models import MissingOutputError, Outputs
from models.registry import near

from .errors import MethodError, Unsupported
from .losses import cross_entropy, kl_divergence
from .needs import Needs
from .places import place
from .spaces import Space

ABOVE_ZERO = math.ulp(0.0)  # the smallest float: as the lower end of an option's range, excludes 0
REFERENCE_EPOCHS = 240  # the literature's CIFAR schedule; options give warm-ups in its epochs


class UnknownOption(MethodError, AttributeError):  # noqa: N818  (hasattr works, as elsewhere)
    """A method reads an option that it does not declare."""


class Options(SimpleNamespace):
    """The resolved options of a method, read as attributes: ``self.options.temperature``."""

    def __getitem__(self, name: str) -> Any:
        raise MethodError(f"options are attributes: write self.options.{name}")

    def __getattr__(self, name: str) -> Any:
        raise UnknownOption(
            f"no option {name!r}: declare it in `defaults`; {near(name, vars(self))}"
        )


@dataclass(frozen=True)
class InitStage:
    """An initial stage (AB, FSP, FT), trained on `init_loss` at a constant rate.

    epochs        length, in epochs of the reference schedule
    modules       the modules that are trained
    lr            learning rate; None for the recipe's
    uses_student  whether the student runs; it is trained only where it is part of ``modules``
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
    version: ClassVar[int] = 1  # bumped when the same options give new numbers; part of the run id
    defaults: ClassVar[Mapping[str, Any]] = {}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    choices: ClassVar[Mapping[str, tuple[Any, ...]]] = {}  # options with a closed set of values
    # Exceptions to the default ranges: floats are at least 0, ints at least 1, temperatures and
    # learning rates above 0; where the default is smaller than that, smaller values are valid too.
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    optional: ClassVar[Mapping[str, type]] = {}  # options that may be null, with their type
    # What tuning searches among the method's own options; None derives it (`search.derived`).
    search: ClassVar[Mapping[str, Space] | None] = None
    softens: ClassVar[bool] = False  # whether the method's own term calls `soften`
    # Set by @register:
    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    arxiv: ClassVar[str | None] = None
    reference: ClassVar[str] = ""

    base_defaults: ClassVar[Mapping[str, Any]] = {
        "ce": 1.0,  # weight of the cross-entropy with the labels
        "kd": 0.0,  # weight of Hinton's KD term; "+kd" after a method's name sets it to 1
        "kd_temperature": 4.0,
        "weight": 1.0,  # weight of the method's own term
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
        self.options = Options(**options)
        self.info, self.seed = info, seed
        self.needs = self.needs_of(options)
        if teacher is None and (self.needs.teacher or self.options.kd):
            raise Unsupported(f"{self.name} needs a teacher")
        self._check_classes()
        self.setup(student, teacher, info)

    def _check_classes(self) -> None:
        least, given = self.needs.min_classes, self.info.num_classes
        if given < least:
            raise Unsupported(
                f"{self.name} needs at least {least} classes, and {self.info.name} has {given}: "
                "a part of its loss would be constant or diverge"
            )

    # ---- hooks ---------------------------------------------------------------------------------

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        """What the method needs under these options; by default the class's ``needs``."""
        return cls.needs

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        """Create connectors and memory banks; parameters are trained and counted, all state saved.

        Read shapes from `probe_pair` (without a teacher, `probe`), which checks ``needs``. Raise
        Unsupported, with the reason, where the method cannot serve this pair.
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
        """Like `loss` (for KD: `soft_loss`), but per sample, (B,), instead of the batch mean.

        Only for methods that read nothing but logits, labels and the epoch. SDD needs it.
        """
        raise NotImplementedError(f"{self.name} has no loss per sample")

    def task_loss(self, student: Outputs, batch: Batch) -> Tensor:
        """Cross-entropy with the labels, hard or soft."""
        return cross_entropy(student.logits, batch.labels)

    def soften(self, logits: Tensor) -> Tensor:
        """Transform logits (N, C) before every KL term; the identity by default."""
        return logits

    def temperature(self, fixed: float, epoch: int) -> float | Tensor:
        """The temperature in ``epoch`` (from 1) where the option is ``fixed``; that by default.

        `soft_loss` and DKD call it. A scalar tensor may carry gradient.
        """
        return fixed

    def soft_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Hinton's KD term, before its weight ``kd``; not called where that is 0."""
        temperature = self.temperature(self.options.kd_temperature, batch.epoch)
        return kl_divergence(self.soften(student.logits), self.soften(teacher.logits), temperature)

    def init_stage(self) -> InitStage | None:
        """The stage trained before the main one, or None."""
        return None

    def init_loss(
        self, student: Outputs, teacher: Outputs, batch: Batch
    ) -> Tensor | dict[str, Tensor]:
        """The loss of the initial stage."""
        raise NotImplementedError(f"{type(self).__name__} has an initial stage but no init_loss")

    def predict(self, student: Outputs) -> Tensor:
        """The logits (N, C) used for testing and export; the student's own by default."""
        return student.logits

    def optimizer(self, params: list[nn.Parameter], recipe: Any) -> torch.optim.Optimizer:
        """The optimiser of the student's and the method's parameters; the recipe's by default."""
        optimizer: torch.optim.Optimizer = recipe.make_optimizer(params)
        return optimizer

    def step(
        self,
        losses: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> None:
        """One update from the weighted losses. Gradients are cleared before the call.

        An override must update through ``scaler.step(optimizer)``, even in full precision: where
        several processes share a run, that call averages their gradients.
        """
        total = torch.stack(list(losses.values())).sum()
        scaler.scale(total).backward()
        scaler.step(optimizer)
        scaler.update()

    def on_epoch(self, epoch: int) -> None:
        """Called before the first step of each epoch (from 1) and after a resume: for curricula."""

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

    def probe_pair(self, student: nn.Module, teacher: nn.Module | None) -> tuple[Outputs, Outputs]:
        """`probe` of both networks, for methods that need a teacher."""
        return self.probe(student), self.probe(self.require_teacher(teacher), teacher=True)

    def require_teacher(self, teacher: nn.Module | None) -> nn.Module:
        """``teacher``, which is None only for methods that declare ``Needs(teacher=False)``."""
        if teacher is None:
            raise MissingOutputError(f"{self.name} reads a teacher: declare Needs(teacher=True)")
        return teacher

    def teacher_classifier(self, teacher: nn.Module | None) -> nn.Linear:
        """The teacher's last linear layer; `probe` has checked that a needed one exists."""
        return cast("nn.Linear", self.require_teacher(teacher).classifier)

    def draw(self, batch: Batch, *purpose: str) -> torch.Generator:
        """A CPU generator seeded from (run, epoch, step, purpose), for the method's sampling."""
        return generator(self.seed, "method", batch.epoch, batch.step, *purpose)

    def scaled(self, epochs: float, absolute: float | None = None) -> float:
        """Epochs of the reference schedule (240) in epochs of this run; ``absolute`` if given."""
        return epochs * self.info.epochs / REFERENCE_EPOCHS if absolute is None else absolute

    def initial_epochs(self, stage: InitStage | None) -> int:
        """The length of an initial stage in this run; 0 without one.

        At least one: without its initial stage it is a different method.
        """
        return max(1, round(self.scaled(stage.epochs))) if stage else 0

    # ---- what the trainer calls ----------------------------------------------------------------

    def forward(self, student: Outputs, teacher: Outputs | None, batch: Batch) -> dict[str, Tensor]:
        """Named, already weighted scalars whose sum is the loss of the main stage."""
        if teacher is None and (self.needs.teacher or self.options.kd):
            raise MissingOutputError(f"{self.name} needs the teacher's outputs, got None")
        student, teacher = _ready(student), _ready(teacher, detach=True)
        losses = {}
        # Terms of weight 0 are not computed: they may need what this run does not provide.
        with _full_precision(student):
            if self.options.ce:
                ce = self.task_loss(student, batch)
                losses["ce"] = self.options.ce * self._scalar("task_loss", ce)
            if self.options.kd:
                kd = self.soft_loss(student, teacher, batch)
                losses["kd"] = self.options.kd * self._scalar("soft_loss", kd)
            if self.options.weight:
                losses |= self._own(student, teacher, batch)
        return losses or {self.name: _zero(student)}

    def initial(
        self, student: Outputs | None, teacher: Outputs | None, batch: Batch
    ) -> dict[str, Tensor]:
        """Named scalars whose sum is the loss of the initial stage."""
        student, teacher = _ready(student), _ready(teacher, detach=True)
        with _full_precision(student if student is not None else teacher):
            return self._named("init_loss", self.init_loss(student, teacher, batch), weight=1.0)

    def _own(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        # ``whole`` is the size over all processes, 0 where there is only this one.
        partial = (batch.whole or len(student.logits)) < self.info.batch_size
        small = len(student.logits) < self.needs.min_batch
        # A zero term instead of none keeps the names of the terms the same in every step.
        if small or (partial and self.needs.full_batches):
            return {self.name: _zero(student)}
        return self._named("loss", self.loss(student, teacher, batch), self.options.weight)

    def _named(
        self, hook: str, value: Tensor | dict[str, Tensor], weight: float
    ) -> dict[str, Tensor]:
        if not isinstance(value, Mapping):
            return {self.name: weight * self._scalar(hook, value, " or a dict of them")}
        return {
            f"{self.name}.{part}": weight * self._scalar(hook, term, part=f" under {part!r}")
            for part, term in value.items()
        }

    def _scalar(self, hook: str, value: Any, more: str = "", part: str = "") -> Tensor:
        """``value``, or MethodError if a hook returned no scalar tensor."""
        if isinstance(value, Tensor) and value.ndim == 0:
            return value
        if isinstance(value, Tensor):
            got = f"a tensor of shape {tuple(value.shape)}"
        else:
            got = "None" if value is None else f"a {type(value).__name__}"
        raise MethodError(
            f"{hook}() of {self.name} returned {got}{part}; expected a scalar tensor{more} "
            f"({place(getattr(type(self), hook))})"
        )


def probe(network: Any, image_size: int, needs: Needs) -> Outputs:
    """``network``'s outputs on two blank images, in eval mode; its modes and buffers are kept."""
    parameter = next(network.parameters(), torch.empty(0))
    images = torch.zeros(
        2, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype
    )
    with _undisturbed(network), torch.no_grad():
        outputs: Outputs = network.outputs(images, preacts=needs.preacts, blocks=needs.blocks)
    return outputs


@contextlib.contextmanager
def _undisturbed(network: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; every module's mode and every buffer are restored after it."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone(), buffer._version) for buffer in network.buffers()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, before, version in buffers:
            if buffer._version != version:  # a needless copy would count as a change of the network
                buffer.copy_(before)


def _ready(outputs: Outputs | None, detach: bool = False) -> Any:
    """Outputs promoted to the precision of the losses and, for the teacher, detached."""
    if outputs is None:
        return None
    return outputs.promoted().detached() if detach else outputs.promoted()


def _full_precision(outputs: Outputs) -> torch.autocast:
    """Switches autocast off: softmaxes, norms and sums over a batch need float32."""
    return torch.autocast(outputs.logits.device.type, enabled=False)


def _zero(student: Outputs) -> Tensor:
    """A zero that depends on the student, so that backward works."""
    return student.logits.sum() * 0
