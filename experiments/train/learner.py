"""One run as a resumable state machine: a student, its method, its optimiser and where they are."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

import distillers
from datasets import Batch, Data, Stream
from datasets.randomness import seed
from experiments.matrix.run_spec import RunSpec
from experiments.rundir.start_log import Start
from experiments.train import networks
from experiments.train.distributed import SINGLE, ProcessGroup
from experiments.train.ema import Average
from experiments.train.grad_scaler import Scaler
from experiments.train.meter import SKIPS_ALLOWED, Diverged, Meter
from experiments.train.teachers import Teacher
from models import Outputs

CHECK_EVERY = 50  # steps between two looks at the loss on the host


class Learner:
    """A run that takes one step at a time and can be saved after each.

    It stands at (stage, epoch, step): the next step to take. Stages are "initial" (some methods)
    and "main". What the disk has of it is the business of `checkpoints`. Nothing here knows which
    method, network or data set it is.
    """

    def __init__(
        self,
        spec: RunSpec,
        data: Data,
        teacher: Teacher | None,
        device: torch.device,
        directory: Path,
        group: ProcessGroup = SINGLE,
        source: Path | None = None,
    ) -> None:
        """``source``: the weights of the student that a probe is about."""
        self.group, self.source = group, source
        self.spec, self.data, self.device, self.directory = spec, data, device, directory
        self.recipe, self.id = spec.recipe, spec.id
        self.teacher = teacher.record if teacher else None
        self.coordinates = self._build(teacher.module if teacher else None)
        self.meter = Meter(device, SKIPS_ALLOWED if self.recipe.precision == "fp16" else 1)
        self.history: list[dict[str, Any]] = []
        self.starts: list[Start] = []  # whoever starts it puts them on record (see `starts`)
        self.warnings = [*data.warnings, *getattr(self.distiller, "warnings", ())]
        self.seconds, self.samples_seen, self.steps_taken = 0.0, 0, 0
        data.train_stream(spec.trial, 1, 0, self.stream_of("main"))  # refuses what it cannot give
        self.stage, self.epoch = self.coordinates[0]
        self.step = 0
        self._enter_stage()

    def _build(self, teacher: nn.Module | None) -> list[tuple[str, int]]:
        """Student and method, each from a random stream of its own; returns the whole schedule."""
        spec, info = self.spec, self.data.info
        with networks.seeded("student", spec.dataset.name, spec.student, spec.trial):
            self.student = networks.student(
                spec, self.source, info.num_classes, self.recipe, self.device
            )
        base = distillers.find(spec.method).name  # the same with "+kd" and under a wrapper
        stream = ("method", spec.dataset.name, spec.pair, base, spec.trial)
        with networks.seeded(*stream):
            self.distiller = distillers.build(
                spec.method, self.student, teacher, info, seed=seed(*stream), **spec.options
            ).to(self.device, self.recipe.parameter_dtype)
        self.initial = self.distiller.init_stage()
        before = 0
        if self.initial:  # never none at all: without its initial stage it is another method
            before = max(1, round(self.distiller.scaled(self.initial.epochs)))
        return [("initial", e + 1) for e in range(before)] + [
            ("main", e + 1) for e in range(self.recipe.epochs)
        ]

    # ---- where it stands -----------------------------------------------------------------------

    @property
    def position(self) -> tuple[str, int]:
        return self.stage, self.epoch

    @property
    def stream(self) -> Stream:
        """The batches this run eats at its present stage."""
        return self.stream_of(self.stage)

    def stream_of(self, stage: str) -> Stream:
        needs = self.distiller.needs
        return Stream(sampler=needs.sampler, views=needs.views, stage=stage)

    @property
    def is_last_epoch(self) -> bool:
        return self.position == self.coordinates[-1]

    def _enter_stage(self) -> None:
        """A fresh optimiser over what this stage trains."""
        if self.stage == "initial":
            assert self.initial is not None
            params = list(self.initial.modules.parameters())
            self.optimizer = self.recipe.make_optimizer(params)
        else:
            params = [*self.student.parameters(), *self.distiller.parameters()]
            params = [p for p in params if p.requires_grad]
            self.optimizer = self.distiller.optimizer(params, self.recipe)
        # A method's own rates follow the schedule, too.
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        half = self.recipe.precision == "fp16"
        self.scaler = Scaler(self.device, half, self.group, self.recipe.clip_norm)
        self.initial_scale = self.scaler.get_scale()
        averaged = self.recipe.ema_decay and self.stage == "main"
        self.average = self._new_average() if averaged else None
        self._set_modes()

    def _new_average(self) -> Average:
        """Of what is tested, beginning with the weights of this moment."""
        tested = [self.student, self.distiller] if self.has_own_head else [self.student]
        return Average(tested, self.recipe.ema_decay)

    def _set_modes(self) -> None:
        """The method in train mode, of the student what this stage trains."""
        self.distiller.train()
        self.student.train(self.stage == "main")
        if self.stage == "initial":
            assert self.initial is not None
            self.initial.modules.train()

    # ---- training ------------------------------------------------------------------------------

    def start_epoch(self) -> None:
        """Before the first step of an epoch, also when it is entered in the middle."""
        self.distiller.on_epoch(self.epoch)

    def take_step(self, batch: Batch, teacher: Outputs | None) -> None:
        """One update. Randomness inside the networks depends on nothing but where this step is."""
        own = (self.group.rank,) if self.group.rank else ()
        self._reseed(seed(*self._coordinates, *own))
        steps = self.data.steps_per_epoch(self.stream)
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = self._rate(steps, base)
        self.optimizer.zero_grad(set_to_none=True)
        outputs = self._forward(batch)
        losses, share = self._losses(outputs, teacher, batch)
        weighted = losses if share == 1 else {name: share * v for name, v in losses.items()}
        self.distiller.step(weighted, self.optimizer, self.scaler)
        self.scaler.check_used(self.spec.method)
        self.group.average_statistics(self.student, self.distiller)
        if self.average:
            self.average.update()
        logits = None if outputs is None else self._predictions(outputs)
        self.meter.update(losses, logits, batch.labels, self.step)
        self.step += 1
        self.steps_taken += 1
        self.samples_seen += batch.whole or len(batch)
        if self.step % CHECK_EVERY == 0:
            self.check()

    @property
    def _coordinates(self) -> tuple[str | int, ...]:
        return self.id, self.stage, self.epoch, self.step

    def _losses(
        self, outputs: Outputs | None, teacher: Outputs | None, batch: Batch
    ) -> tuple[dict[str, torch.Tensor], float]:
        """The method's losses, and what they count among those of all processes.

        A method that relates the samples of a batch gets the whole batch in every process.
        """
        share = self.group.share(batch)
        if self.distiller.needs.batch == "global" and self.group.size > 1:
            needs, share = self.distiller.needs, 1.0
            outputs = self.group.gathered(outputs, batch, needs)
            teacher = self.group.gathered(teacher, batch, needs)
            batch = self.group.whole(batch)
            self._reseed(seed(*self._coordinates))  # what it draws is the same everywhere
        if self.stage == "initial":
            return self.distiller.initial(outputs, teacher, batch), share
        return self.distiller(outputs, teacher, batch), share

    def _reseed(self, value: int) -> None:
        """torch.manual_seed, without the stack trace it formats where no GPU is in use."""
        torch.default_generator.manual_seed(value)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(value)

    def _rate(self, steps: int, base: float) -> float:
        if self.stage == "initial":
            assert self.initial is not None
            return self.initial.lr or base
        return self.recipe.rate(self.epoch, self.step, steps, base)

    def _forward(self, batch: Batch) -> Outputs | None:
        if self.stage == "initial" and self.initial and not self.initial.uses_student:
            return None
        return networks.run(self.student, batch, self.distiller.needs, self.recipe)

    @torch.no_grad()
    def _predictions(self, outputs: Outputs) -> torch.Tensor:
        """For the training accuracy; looking must not move the batch norm of an own head."""
        if not self.has_own_head:
            return outputs.logits
        self.distiller.eval()
        logits = self.distiller.predict(outputs.promoted())
        self.distiller.train()
        return logits

    def check(self) -> None:
        """Raise Diverged if a loss was not finite, or the scaler skipped fifty updates in a row."""
        self.meter.check(self.epoch, self.group)
        # Every skipped update halves the scale, which grows again only after 2000 good ones.
        if self.scaler.get_scale() < self.initial_scale * 0.5**SKIPS_ALLOWED:
            raise Diverged(
                f"gradients not finite in {SKIPS_ALLOWED} steps in a row "
                f"at epoch {self.epoch}, step {self.step}"
            )

    def end_epoch(self) -> dict[str, Any]:
        """Evaluate where it is due, write the epoch's row, move on to the next epoch or stage."""
        self.check()
        row = {"stage": self.stage, "epoch": self.epoch, "lr": self._rate_shown()}
        row |= self.meter.means(self.group)
        due = self.epoch % self.recipe.eval_every == 0 or self.is_last_epoch
        if self.stage == "main" and due:
            split = "validation" if "validation" in self.data.sizes else "test"
            row |= {f"{split}_{k}": v for k, v in self.evaluate(split).items()}
        self.history.append(row)
        self._move_on()
        return row

    def _rate_shown(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _move_on(self) -> None:
        self.meter.reset()
        self.step = 0
        following = self.coordinates.index(self.position) + 1
        if following == len(self.coordinates):
            self.stage = "done"
            return
        before = self.stage
        self.stage, self.epoch = self.coordinates[following]
        if self.stage != before:
            self._enter_stage()

    def evaluate(self, split: str) -> dict[str, float]:
        """Accuracy and loss of the method's prediction on "test" or "validation"."""
        self.distiller.eval()
        batches = self.data.test_batches(split)
        needs, predict = self.distiller.needs, self.distiller.predict
        with self.as_tested():
            scores = networks.evaluate(
                self.student, batches, self.recipe, needs, predict, self.group
            )
        self.distiller.train()
        return scores

    def as_tested(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the networks have the weights that accuracies are about."""
        return self.average.in_place() if self.average else contextlib.nullcontext()

    # ---- state ---------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Tensors and plain values only, so that it loads with ``weights_only=True``."""
        return {
            "run": self.spec.id,
            "position": [self.stage, self.epoch, self.step],
            "student": self.student.state_dict(),
            "distiller": self.distiller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "meter": self.meter.state(self.group),
            "average": self.average.tensors if self.average else [],
            "history": self.history,
            "warnings": self.warnings,
            "teacher": self.teacher.sha256 if self.teacher else None,
            "counters": [self.seconds, self.samples_seen, self.steps_taken],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.stage, self.epoch, self.step = state["position"]
        if self.stage != "done":
            self._enter_stage()
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        self.student.load_state_dict(state["student"])
        self.distiller.load_state_dict(state["distiller"])
        self.meter.load(state["meter"], self.group)
        if state.get("average"):  # also of a run that lacks nothing but its result
            self.average = self._new_average()
            self.average.load(state["average"])
        self.history = state["history"]
        earlier = state.get("starts", ())  # former versions kept them here
        self.starts = [*(start for start in earlier if start not in self.starts), *self.starts]
        self.warnings = list(dict.fromkeys([*state["warnings"], *self.warnings]))
        self.seconds, self.samples_seen, self.steps_taken = state["counters"]

    @property
    def has_own_head(self) -> bool:
        """Whether the method predicts with modules of its own, which the student needs too."""
        return type(self.distiller).predict is not distillers.Distiller.predict
