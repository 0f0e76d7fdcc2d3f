"""A few timed steps on this machine: what an image costs a network, and a batch a method."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

import distillers
import models
from datasets import Batch, Data, Stream
from datasets.memory import MemoryData
from datasets.randomness import generator
from distillers import Distiller, Needs
from experiments.activity import activity
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import RunSpec
from experiments.train import networks
from experiments.train.mixup import mixed
from models import Outputs

SMALL = 64  # side of the images up to which a whole batch is timed
REPEATS = 2  # after one to warm up; the fastest counts, since others may use the machine
LONGEST = 64  # images per timed step
LONG = 0.4  # seconds after which a step is not repeated
FEW, SLOW = 8, 0.1  # images of a first step; seconds of it from which it has to do

Key = tuple[object, ...]


@dataclass
class Stopwatch:
    """Seconds per image, each measured once and remembered."""

    data: Data
    device: torch.device
    known: dict[Key, float] = field(default_factory=dict)
    _models: dict[str, models.Classifier] = field(default_factory=dict)
    _outputs: dict[Key, Outputs] = field(default_factory=dict)

    # ---- networks ------------------------------------------------------------------------------

    def training(self, name: str, recipe: Recipe) -> float:
        """A forward and backward pass of a network, and the update of its weights."""
        return self._once(
            ("training", name, *step_kind(recipe)), lambda: self._trained(name, recipe)
        )

    def forward(self, name: str, recipe: Recipe) -> float:
        """A forward pass without gradients."""
        return self._once(("forward", name, *step_kind(recipe)), lambda: self._run(name, recipe))

    def _trained(self, name: str, recipe: Recipe) -> float:
        model = self._network(name, recipe).train()
        optimizer = recipe.make_optimizer(list(model.parameters()))

        def step(batch: Batch) -> None:
            optimizer.zero_grad(set_to_none=True)
            networks.run(model, batch, Needs(), recipe).logits.square().mean().backward()
            optimizer.step()

        return self._per_image(step, recipe, f"timing training steps of {name}")

    def _run(self, name: str, recipe: Recipe) -> float:
        model = self._network(name, recipe).eval()

        @torch.no_grad()
        def step(batch: Batch) -> None:
            networks.run(model, batch, Needs(), recipe)

        return self._per_image(step, recipe, f"timing {name}")

    def _per_image(self, step: Callable[[Batch], None], recipe: Recipe, what: str) -> float:
        """Seconds per image of a step: on a few images where it is slow, else on a whole batch."""
        few, whole = self.batch(recipe, FEW), self.batch(recipe)
        seconds = self._time(lambda: step(few), what, repeats=1)
        if seconds > SLOW or len(few) == len(whole):
            return seconds / len(few)
        return self._time(lambda: step(whole), what) / len(whole)

    # ---- methods -------------------------------------------------------------------------------

    def method(self, spec: RunSpec) -> float:
        """What the method of ``spec`` adds: its loss, and the backward pass to the outputs.

        Raises Unsupported where it cannot serve the pair.
        """
        key = ("method", spec.pair, spec.method, repr(spec.options), spec.recipe.batch_size)
        return self._once(key, lambda: self._method(spec))

    def initial_epochs(self, spec: RunSpec) -> int:
        """The length of the method's initial stage; 0 without one."""
        method = self._built(spec)
        return method.initial_epochs(method.init_stage())

    def _built(self, spec: RunSpec) -> Distiller:
        recipe = spec.recipe
        student = self._network(spec.student, recipe)
        teacher = self._network(spec.teacher.name, recipe) if spec.teacher else None
        info = replace(self.data.info, batch_size=len(self.batch(recipe)))
        with networks.seeded("timing", spec.method):
            method = distillers.build(spec.method, student, teacher, info, **spec.options)
        return method.to(self.device, recipe.parameter_dtype).train()

    def _method(self, spec: RunSpec) -> float:
        recipe = spec.recipe
        method = self._built(spec)
        method.on_epoch(1)
        student = self._network(spec.student, recipe)
        teacher = self._network(spec.teacher.name, recipe) if spec.teacher else None
        batch = self._with_views(self.batch(recipe), method.needs)
        student_out = self._of(student, batch, method.needs, recipe)
        teacher_out = self._of(teacher, batch, method.needs, recipe) if teacher else None
        own = [p for p in method.parameters() if p.requires_grad]

        def step() -> None:
            leaf = student_out.map(lambda tensor: tensor.detach().requires_grad_())
            _backward(method(leaf, teacher_out, batch).values())
            for parameter in own:
                parameter.grad = None

        return self._time(step, f"timing the losses of {spec.method}") / len(batch)

    def _of(
        self, network: models.Classifier, batch: Batch, needs: Needs, recipe: Recipe
    ) -> Outputs:
        """A network's outputs on noise; those of one network and kind are computed once."""
        key = (network.name, step_kind(recipe), needs.preacts, needs.blocks, needs.views)
        if key not in self._outputs:
            with torch.no_grad():
                self._outputs[key] = networks.run(network.eval(), batch, needs, recipe)
        return self._outputs[key]

    # ---- data ----------------------------------------------------------------------------------

    def batches(self, stream: Stream, recipe: Recipe) -> float:
        """Drawing and augmenting a batch, for data in memory; 0 for sets decoded by workers."""
        mixing = recipe.label_smoothing, recipe.mixup, recipe.cutmix, recipe.random_erasing
        key = ("batches", stream, *step_kind(recipe), *mixing)
        return self._once(key, lambda: self._drawn(stream, recipe))

    def _drawn(self, stream: Stream, recipe: Recipe) -> float:
        if not isinstance(self.data, MemoryData):
            return 0.0
        batches = iter(self.data.train_stream(0, 1, 0, stream))

        def step() -> None:
            mixed(networks.formatted(next(batches), recipe), self.data.info, recipe, 0, "main")

        count = min(REPEATS, self.data.steps_per_epoch(stream) - 1)
        return self._time(step, "timing the data", count) / self.data.info.batch_size

    def batch(self, recipe: Recipe, most: int = LONGEST) -> Batch:
        """Noise with labels from the data, of at most so many images."""
        side, labels = self.data.info.image_size, self.data.info.train_labels
        most = most if side <= SMALL else min(most, FEW)
        size = min(most, recipe.batch_size, len(labels))
        indices = torch.arange(size)
        noise = torch.rand(size, 3, side, side, generator=generator("timing"))
        images = noise.to(self.device)
        batch = Batch(images, labels[indices].to(self.device), indices.to(self.device), 1, 0)
        return networks.formatted(batch, recipe)

    def _with_views(self, batch: Batch, needs: Needs) -> Batch:
        return replace(batch, views=(batch.images,) * len(needs.views))

    # ---- helpers -------------------------------------------------------------------------------

    def _network(self, name: str, recipe: Recipe) -> models.Classifier:
        if name not in self._models:
            with networks.seeded("timing", name):
                classes = self.data.info.num_classes
                self._models[name] = networks.build(name, classes, recipe, self.device)
        return self._models[name]

    def _once(self, key: Key, measure: Callable[[], float]) -> float:
        if key not in self.known:
            self.known[key] = measure()
        return self.known[key]

    def _time(self, action: Callable[[], None], what: str, repeats: int = REPEATS) -> float:
        """The fastest of a few calls, in seconds; of a long one the first."""
        times: list[float] = []
        # On one thread, what others take from this core does not count.
        alone = self.device.type == "cpu" and torch.get_num_threads() == 1
        clock = time.thread_time if alone else time.perf_counter
        with activity(what):
            while len(times) <= repeats and sum(times) < LONG:
                start = clock()
                action()
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                times.append(clock() - start)
        return min(times[1:] or times)


def step_kind(recipe: Recipe) -> Key:
    """What the time of a network's step depends on, beside the size of the images."""
    names = ("batch_size", "optimizer", "precision", "channels_last", "compile", "tf32", "threads")
    return tuple(getattr(recipe, name) for name in names)


def _backward(losses: Iterable[Tensor]) -> None:
    total = torch.stack(list(losses)).sum()
    if total.requires_grad:
        total.backward()


def takes_two_passes(method: type[Distiller]) -> bool:
    """Whether a method's own `step` may go backward more than once, as DOT does."""
    return method.step is not Distiller.step


def parameters_of(name: str, num_classes: int) -> int:
    """How many parameters a network has."""
    model: nn.Module = networks.build(name, num_classes, Recipe(), torch.device("meta"))
    return sum(p.numel() for p in model.parameters())
