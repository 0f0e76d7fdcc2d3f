"""Networks under a recipe's numerics: building, freezing teachers, running, evaluating."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import distillers
import models
from datasets import Batch, Info
from datasets.randomness import seed
from distillers import Distiller, Needs
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import RunSpec
from experiments.train.distributed import SINGLE, ProcessGroup
from experiments.train.pixels import Pixels
from models import Outputs
from models.normalisation import renormalise

Collect = Callable[[Tensor, Tensor, Batch], None]


@contextlib.contextmanager
def seeded(*coordinates: str | int | None) -> Iterator[None]:
    """Inside, all global generators are seeded from the coordinates; afterwards restored.

    Of torch the one on the CPU: what is drawn inside is the same on every device.
    """
    with preserved_generators():
        torch.manual_seed(seed(*coordinates))
        seed_others(seed(*coordinates))
        yield


@contextlib.contextmanager
def preserved_generators() -> Iterator[None]:
    """The global generators of Python, NumPy and torch (CPU) are afterwards as they were before."""
    python, array = random.getstate(), np.random.get_state(legacy=False)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)


def seed_others(value: int) -> None:
    """Seed the global generators of Python and NumPy, which a user's method may draw from."""
    random.seed(value)
    np.random.seed(value % 2**32)


def build(
    name: str,
    num_classes: int,
    recipe: Recipe,
    device: torch.device,
    pixels: Pixels | None = None,
) -> models.Classifier:
    """A network on its device, in the recipe's memory format.

    ``pixels``: what it was trained on, where that is not what the data set gives. Weights are
    drawn from torch's global generator.
    """
    network = models.build(name, num_classes)
    if pixels is not None:
        renormalise(network, pixels.data, pixels.own)
    return _placed(network, recipe, device)


def student(
    spec: RunSpec, source: Path | None, num_classes: int, recipe: Recipe, device: torch.device
) -> models.Classifier:
    """The network that a run trains: a new one, or a probe on the one in the file ``source``."""
    if spec.source is None:
        return build(spec.student, num_classes, recipe, device)
    assert source is not None  # a job has the file of every source
    trained = models.restored(spec.student, source)
    probe = models.LinearProbe(trained, num_classes, spec.source.bn_mode)
    return _placed(probe, recipe, device)


def method(
    spec: RunSpec,
    student: models.Classifier,
    teacher: nn.Module | None,
    info: Info,
    device: torch.device,
) -> Distiller:
    """A run's method on its device, made from a random stream of its own."""
    base = distillers.find(spec.method).name  # the same with "+kd" and inside a wrapper
    stream = ("method", spec.dataset.name, spec.pair, base, spec.trial)
    with seeded(*stream):
        built = distillers.build(
            spec.method, student, teacher, info, seed=seed(*stream), **spec.options
        )
        return built.to(device, spec.recipe.parameter_dtype)


def has_own_head(spec: RunSpec) -> bool:
    """Whether a run's method predicts with modules of its own, not the student's classifier."""
    return distillers.find(spec.method).predict is not Distiller.predict


def _placed(model: models.Classifier, recipe: Recipe, device: torch.device) -> models.Classifier:
    model = model.to(device, recipe.parameter_dtype)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if recipe.compile:
        model.outputs = torch.compile(model.outputs)  # type: ignore[method-assign]
    return model


def freeze(model: models.Classifier) -> models.Classifier:
    """Make a teacher: no gradients, and eval mode that no later ``train()`` can undo."""
    model.requires_grad_(False).eval()
    for module in model.modules():
        module.train = lambda mode=True, module=module: module  # type: ignore[method-assign,misc]
    return model


def run(model: models.Classifier, batch: Batch, needs: Needs, recipe: Recipe) -> Outputs:
    """``model``'s outputs on a batch and its views, in the recipe's precision."""
    with autocast(recipe, batch.images.device):
        outputs = model.outputs(batch.images, preacts=needs.preacts, blocks=needs.blocks)
        if batch.views:
            views = tuple(model.outputs(v, needs.preacts, needs.blocks) for v in batch.views)
            outputs = replace(outputs, views=views)
    return outputs


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Inside, torch computes in the recipe's half precision, if it asks for one."""
    return torch.autocast(
        device.type, dtype=recipe.dtype, enabled=recipe.dtype is not recipe.parameter_dtype
    )


def formatted(batch: Batch, recipe: Recipe) -> Batch:
    """The batch in the recipe's memory format and the precision of its parameters."""
    dtype = recipe.parameter_dtype
    if not recipe.channels_last and dtype is batch.images.dtype:
        return batch
    layout = torch.channels_last if recipe.channels_last else torch.preserve_format
    images, *views = (view.to(dtype, memory_format=layout) for view in (batch.images, *batch.views))
    return replace(batch, images=images, views=tuple(views))


@torch.no_grad()
def evaluate(
    model: models.Classifier,
    batches: Iterable[Batch],
    recipe: Recipe,
    needs: Needs = Needs(),  # noqa: B008  (immutable)
    predict: Callable[[Outputs], Tensor] = lambda outputs: outputs.logits,
    group: ProcessGroup = SINGLE,
    collect: Collect | None = None,
) -> dict[str, float]:
    """Accuracy in percent (top1, top5) and mean cross-entropy (loss) of ``model`` in eval mode.

    ``collect`` gets every batch's logits (B, C), the predicted classes (B,) and the batch.
    ``batches`` are those of this process; the scores are over those of the whole group. Waits for
    the device once, at the end. The model's mode is restored. ValueError without any sample.
    """
    was_training = model.training
    model.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=next(model.parameters()).device)
    for batch in batches:
        outputs = run(model, formatted(batch, recipe), needs, recipe).promoted()
        logits = predict(outputs)
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        sums += _scores(logits, best, batch.labels)
        if collect:
            collect(logits, best[:, 0], batch)
    model.train(was_training)
    top1, top5, loss, count = group.sum(sums).tolist()
    if not count:
        raise ValueError("nothing to evaluate on")
    return {"top1": 100 * top1 / count, "top5": 100 * top5 / count, "loss": loss / count}


def _scores(logits: Tensor, best: Tensor, labels: Tensor) -> Tensor:
    """Sums over a batch, (4,): correct at top 1, correct at top 5, cross-entropy, samples.

    ``best`` (B, 5) are the most probable classes, the first one is predicted.
    """
    hits = best == labels[:, None]
    loss = nn.functional.cross_entropy(logits.double(), labels, reduction="sum")
    count = torch.full((), float(len(labels)), device=logits.device)
    return torch.stack([hits[:, 0].sum(), hits.any(dim=1).sum(), loss, count]).double()
