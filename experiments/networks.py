"""Networks under a recipe's numerics: building, freezing teachers, running, evaluating."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

import models
from datasets import Batch
from datasets.randomness import seed
from distillers import Needs
from models import Outputs

from .recipe import Recipe


@contextlib.contextmanager
def seeded(*coordinates: str | int | None) -> Iterator[None]:
    """Torch's CPU generator seeded from coordinates inside, as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed(*coordinates))
        yield


def build(name: str, num_classes: int, recipe: Recipe, device: torch.device) -> models.Classifier:
    """A network on its device in the recipe's memory format. Weights: torch's global generator."""
    model = models.build(name, num_classes).to(device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if recipe.compile:
        model.outputs = torch.compile(model.outputs)  # type: ignore[method-assign]
    return model


def freeze(model: models.Classifier) -> models.Classifier:
    """Make a teacher: no gradients, and eval mode that no later ``train()`` can undo."""
    model.requires_grad_(False).eval()
    for module in model.modules():
        module.train = _stay(module)  # type: ignore[method-assign]
    return model


def _stay(module: nn.Module) -> Callable[..., nn.Module]:
    return lambda mode=True: module


def run(model: models.Classifier, batch: Batch, needs: Needs, recipe: Recipe) -> Outputs:
    """``model``'s outputs on a batch and its views, in the recipe's precision."""
    with autocast(recipe, batch.images.device):
        outputs = model.outputs(batch.images, preacts=needs.preacts, blocks=needs.blocks)
        if batch.views:
            views = tuple(model.outputs(v, needs.preacts, needs.blocks) for v in batch.views)
            outputs = replace(outputs, views=views)
    return outputs


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Half precision inside where the recipe asks for it."""
    return torch.autocast(
        device.type, dtype=recipe.dtype, enabled=recipe.dtype is not torch.float32
    )


def formatted(batch: Batch, recipe: Recipe) -> Batch:
    """The batch in the recipe's memory format."""
    if not recipe.channels_last:
        return batch
    last = torch.channels_last
    return replace(
        batch,
        images=batch.images.contiguous(memory_format=last),
        views=tuple(view.contiguous(memory_format=last) for view in batch.views),
    )


@torch.no_grad()
def evaluate(
    model: models.Classifier,
    batches: Iterable[Batch],
    recipe: Recipe,
    needs: Needs = Needs(),  # noqa: B008  (immutable)
    predict: Callable[[Outputs], Tensor] = lambda outputs: outputs.logits,
) -> dict[str, float]:
    """Accuracy in percent (top1, top5) and mean cross-entropy of ``model`` in eval mode.

    One wait for the device at the end. The model's mode is restored.
    """
    was_training = model.training
    model.eval()
    sums: Tensor | None = None
    for batch in batches:
        outputs = run(model, formatted(batch, recipe), needs, recipe).promoted()
        counts = _scores(predict(outputs), batch.labels)
        sums = counts if sums is None else sums + counts
    model.train(was_training)
    if sums is None:
        raise ValueError("nothing to evaluate on")
    top1, top5, loss, count = sums.tolist()
    return {"top1": 100 * top1 / count, "top5": 100 * top5 / count, "loss": loss / count}


def _scores(logits: Tensor, labels: Tensor) -> Tensor:
    """Sums over a batch: correct in the first, in the first five, cross-entropy, samples."""
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    hits = best == labels[:, None]
    loss = nn.functional.cross_entropy(logits.double(), labels, reduction="sum")
    count = torch.full((), float(len(labels)), device=logits.device)
    return torch.stack([hits[:, 0].sum(), hits.any(dim=1).sum(), loss, count]).double()
