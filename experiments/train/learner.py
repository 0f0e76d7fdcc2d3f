"""One run as a resumable state machine: a student, its method, its optimiser and its position."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datasets import Batch, Data, Stream
from datasets.randomness import seed
from experiments.matrix.run_spec import RunSpec
from experiments.rundir.start_log import Start
from experiments.train import networks, one_sample
from experiments.train.distributed import SINGLE, ProcessGroup
from experiments.train.ema import EMA
from experiments.train.grad_scaler import Scaler
from experiments.train.meter import SKIPS_ALLOWED, Diverged, Meter
from experiments.train.predictions import Collector, collector
from experiments.train.shared import Watch, of_outputs
from experiments.train.teachers import Teacher
from models import Outputs

# Steps between two checks that the loss is finite. A check waits for the device: one per step would
# slow training down.
CHECK_EVERY = 50


class Learner:
    """A run that takes one step at a time and can be saved after each.

    Its position (stage, epoch, step) is the next step to take. The stages are "initial" (in some
    methods), "main" and, after the last step, "done". Files are read and written by `checkpoint`
    and `result`. Nothing here names a method, a network or a data set.
    """

    # Called after every piece of work that is no step, such as a batch of a test.
    progressed: Callable[[], None] = staticmethod(lambda: None)

    def __init__(
        self,
        spec: RunSpec,
        data: Data,
        teacher: Teacher | None,
        device: torch.device,
        directory: Path,
        group: ProcessGroup = SINGLE,
        source: Path | None = None,
        predictions: str = "auto",
    ) -> None:
        """``source``: the weights file of the student that a probe reads.

        ``predictions``: how those of the last test are stored (`results.predictions.WANTED`).
        """
        self.group, self.source, self.predictions = group, source, predictions
        self.spec, self.data, self.device, self.directory = spec, data, device, directory
        self.recipe, self.id = spec.recipe, spec.id
        self.teacher = teacher.record if teacher else None
        self.teacher_predictions = teacher.predictions if teacher else None
        self.collected: Collector | None = None  # the last test's predictions
        self.coordinates = self._build(teacher.module if teacher else None)
        self.meter = Meter(device, SKIPS_ALLOWED if self.recipe.precision == "fp16" else 1)
        self.history: list[dict[str, Any]] = []
        self.starts: list[Start] = []  # set by the cohort (see `start_log`)
        of_teacher = teacher.warnings if teacher else ()
        of_method = getattr(self.distiller, "warnings", ())
        self.warnings = [*data.warnings, *of_teacher, *of_method]
        # Several processes get no batch of one sample (see `Data.train_stream`).
        out = one_sample.left_out(spec, data.info) if group.size == 1 else one_sample.LeftOut()
        self.left_out = out.batches
        self.warnings += [out.note] if out.note else []
        self.seconds, self.samples_seen, self.steps_taken = 0.0, 0, 0
        # Raises now, not after an initial stage, if the data set lacks the sampler or the views.
        data.train_stream(spec.trial, 1, 0, self.stream_of("main"))
        self.stage, self.epoch = self.coordinates[0]
        self.step = 0
        self._enter_stage()

    def _build(self, teacher: nn.Module | None) -> list[tuple[str, int]]:
        """Make student and method, each from its own random stream.

        Returns the schedule: every (stage, epoch) of the run.
        """
        spec, info = self.spec, self.data.info
        with networks.seeded("student", spec.dataset.name, spec.student, spec.trial):
            self.student = networks.student(
                spec, self.source, info.num_classes, self.recipe, self.device
            )
        self.distiller = networks.method(spec, self.student, teacher, info, self.device)
        self.initial = self.distiller.init_stage()
        initial_epochs = self.distiller.initial_epochs(self.initial)
        stages = (("initial", initial_epochs), ("main", self.recipe.epochs))
        return [(stage, epoch + 1) for stage, epochs in stages for epoch in range(epochs)]

    # ---- position ------------------------------------------------------------------------------

    @property
    def position(self) -> tuple[str, int]:
        return self.stage, self.epoch

    @property
    def stream(self) -> Stream:
        """The batches this run consumes in its current stage."""
        return self.stream_of(self.stage)

    def stream_of(self, stage: str) -> Stream:
        needs = self.distiller.needs
        return Stream(sampler=needs.sampler, views=needs.views, stage=stage)

    @property
    def is_last_epoch(self) -> bool:
        return self.position == self.coordinates[-1]

    def _enter_stage(self) -> None:
        """Make a fresh optimiser for what this stage trains, and set train and eval modes."""
        self._reseed(seed(self.id, self.stage, "optimizer"))
        if self.stage == "initial":
            assert self.initial is not None
            self.optimizer = self.recipe.make_optimizer(list(self.initial.modules.parameters()))
        else:
            params = [*self.student.parameters(), *self.distiller.parameters()]
            params = [p for p in params if p.requires_grad]
            self.optimizer = self.distiller.optimizer(params, self.recipe)
        # The schedule scales each group's own rate: methods may bring an optimiser with others.
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        half = self.recipe.precision == "fp16"
        self.scaler = Scaler(self.device, half, self.group, self.recipe.clip_norm)
        self.initial_scale = self.scaler.get_scale()
        averages = self.recipe.ema_decay and self.stage == "main"
        self.ema = self._new_ema() if averages else None
        self.distiller.train()
        self.student.train(self.stage == "main")
        if self.stage == "initial":
            assert self.initial is not None
            self.initial.modules.train()

    def _new_ema(self) -> EMA:
        """An average of what is tested, starting at the current weights."""
        tested = [self.student, self.distiller] if self.has_own_head else [self.student]
        return EMA(tested, self.recipe.ema_decay)

    # ---- training ------------------------------------------------------------------------------

    def start_epoch(self) -> None:
        """Call before the first step of an epoch, or before the next one after resuming in it."""
        self._reseed(seed(self.id, self.stage, self.epoch, "on_epoch"))
        self.distiller.on_epoch(self.epoch)

    def take_step(self, batch: Batch, teacher: Outputs | None) -> None:
        """Take one step of the optimiser.

        Randomness inside networks and method depends only on the run and this step, so that other
        runs in the cohort and a resume change nothing. A batch of one sample that this run cannot
        be trained on is passed over.
        """
        if len(batch) == 1 and self.stage in self.left_out:
            self.step += 1
            return
        # Each process draws for its own samples. Rank 0 draws what a single process draws.
        rank = (self.group.rank,) if self.group.rank else ()
        self._reseed(seed(*self._coordinates, *rank))
        steps = self.data.steps_per_epoch(self.stream) - self.left_out.get(self.stage, 0)
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = self._rate(steps, base)
        self.optimizer.zero_grad(set_to_none=True)
        outputs = None
        if self.stage == "main" or not self.initial or self.initial.uses_student:
            outputs = networks.run(self.student, batch, self.distiller.needs, self.recipe)
        own = Watch(of_outputs("student", outputs) if outputs else ())
        losses, share = self._losses(outputs, teacher, batch)
        own.check(self.spec.method)
        weighted = losses if share == 1 else {name: share * v for name, v in losses.items()}
        self.distiller.step(weighted, self.optimizer, self.scaler)
        self.scaler.check_used(self.spec.method)
        self.group.average_statistics(self.student, self.distiller)
        if self.ema:
            self.ema.update()
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
        """The method's losses, and their weight in the mean over all processes.

        A method that relates the samples of a batch gets the whole batch in every process.
        """
        share = self.group.share(batch)
        if self.distiller.needs.batch == "global" and self.group.size > 1:
            needs, share = self.distiller.needs, 1.0
            outputs = self.group.gather(outputs, batch, needs)
            teacher = self.group.gather(teacher, batch, needs)
            batch = self.group.whole(batch)
            # All processes compute the same loss, so they must draw the same numbers for it.
            self._reseed(seed(*self._coordinates))
        if self.stage == "initial":
            return self.distiller.initial(outputs, teacher, batch), share
        return self.distiller(outputs, teacher, batch), share

    def _reseed(self, value: int) -> None:
        """Do what torch.manual_seed does, faster: that formats a stack trace if no GPU is used."""
        torch.default_generator.manual_seed(value)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(value)
        networks.seed_others(value)

    def _rate(self, steps: int, base: float) -> float:
        """This step's learning rate for parameters whose rate is ``base``."""
        if self.stage == "initial":
            assert self.initial is not None
            return self.initial.lr or base
        return self.recipe.rate(self.epoch, self.step, steps, base)

    @torch.no_grad()
    def _predictions(self, outputs: Outputs) -> torch.Tensor:
        """Logits (B, C) for the training accuracy."""
        if not self.has_own_head:
            return outputs.logits
        self.distiller.eval()  # or the batch norms of the head would count this batch twice
        logits = self.distiller.predict(outputs.promoted())
        self.distiller.train()
        return logits

    def check(self) -> None:
        """Raise Diverged if a loss was not finite, or too many updates in a row were skipped."""
        self.meter.check(self.epoch, self.group)
        # Every skipped update halves the scale, which grows again only after 2000 good ones.
        if self.scaler.get_scale() < self.initial_scale * 0.5**SKIPS_ALLOWED:
            raise Diverged(
                f"gradients not finite in {SKIPS_ALLOWED} steps in a row "
                f"at epoch {self.epoch}, step {self.step}"
            )

    def end_epoch(self) -> dict[str, Any]:
        """Evaluate if due, add the epoch's row to the history, move to the next epoch or stage."""
        self.check()
        rate = float(self.optimizer.param_groups[0]["lr"])
        row = {"stage": self.stage, "epoch": self.epoch, "lr": rate}
        row |= self.meter.means(self.group)
        due = self.epoch % self.recipe.eval_every == 0 or self.is_last_epoch
        if self.stage == "main" and due:
            split = self.data.epoch_split
            if self.is_last_epoch and split == self.data.scored_on:
                self.collected = collector(self.data, self.predictions)
            row |= {f"{split}_{k}": v for k, v in self.evaluate(split, self.collected).items()}
        self.history.append(row)
        self._move_on()
        return row

    def _move_on(self) -> None:
        self.meter.reset()
        self.step = 0
        upcoming = self.coordinates.index(self.position) + 1
        if upcoming == len(self.coordinates):
            self.stage = "done"
            return
        previous_stage = self.stage
        self.stage, self.epoch = self.coordinates[upcoming]
        if self.stage != previous_stage:
            self._enter_stage()

    def evaluate(self, split: str, collect: networks.Collect | None = None) -> dict[str, float]:
        """Scores of the method's prediction on "test" or "validation": see `networks.evaluate`."""
        self.distiller.eval()
        self._reseed(seed(self.id, self.stage, self.epoch, "evaluate"))
        batches = self._noted(self.data.test_batches(split))
        needs, predict = self.distiller.needs, self.distiller.predict
        with self.as_tested():
            scores = networks.evaluate(
                self.student, batches, self.recipe, needs, predict, self.group, collect
            )
        self.distiller.train()
        return scores

    def _noted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            yield batch
            self.progressed()

    def repeat_last_test(self) -> None:
        """Collect the predictions of a run that was killed between its last test and its result.

        The test is seeded as it was.
        """
        (self.stage, self.epoch), done = self.coordinates[-1], self.stage
        self.start_epoch()
        self.collected = collector(self.data, self.predictions)
        self.evaluate(self.data.scored_on, self.collected)
        self.stage = done

    def as_tested(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the networks have the weights that are evaluated and published."""
        return self.ema.in_place() if self.ema else contextlib.nullcontext()

    # ---- state ---------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What a resume needs: tensors and plain values, to load with ``weights_only=True``."""
        return {
            "run": self.spec.id,
            "position": [self.stage, self.epoch, self.step],
            "student": self.student.state_dict(),
            "distiller": self.distiller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "meter": self.meter.state(self.group),
            "average": self.ema.tensors if self.ema else [],
            "history": self.history,
            "warnings": self.warnings,
            "teacher": self.teacher.sha256 if self.teacher else None,
            "counters": [self.seconds, self.samples_seen, self.steps_taken],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Resume from a `state`."""
        self.stage, self.epoch, self.step = state["position"]
        if self.stage != "done":
            self._enter_stage()
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        self.student.load_state_dict(state["student"])
        self.distiller.load_state_dict(state["distiller"])
        self.meter.load(state["meter"], self.group)
        if state.get("average"):  # also in stage "done", where only the result is missing
            self.ema = self._new_ema()
            self.ema.load(state["average"])
        self.history = state["history"]
        earlier = state.get("starts", ())  # earlier versions stored them in the checkpoint
        self.starts = [*(start for start in earlier if start not in self.starts), *self.starts]
        self.warnings = list(dict.fromkeys([*state["warnings"], *self.warnings]))
        self.seconds, self.samples_seen, self.steps_taken = state["counters"]

    @property
    def has_own_head(self) -> bool:
        """Whether the method predicts with modules of its own, not the student's classifier."""
        return networks.has_own_head(self.spec)
