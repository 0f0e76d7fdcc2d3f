"""Regularisation of whole batches: mixup, CutMix, random erasing, label smoothing.

All runs of a cohort and their teacher see the changed batch. Labels become soft (B, C). The
operations are torchvision's; their random numbers depend only on the coordinates of the step.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets import Batch, Info
from experiments.matrix.recipe import Recipe
from experiments.train.networks import seeded


def mixed(batch: Batch, info: Info, recipe: Recipe, *coordinates: str | int) -> Batch:
    """The batch under the recipe's regularisation, with random numbers from ``coordinates``.

    Images are erased after they are mixed, as in timm. Extra views get the same partner, the same
    share and the same cut as the images, but are erased on their own.
    """
    if not recipe.mixes:
        return batch
    with seeded("mixing", info.name, *coordinates, batch.epoch, batch.step):
        images, labels = _mix([batch.images, *batch.views], batch.labels, info, recipe)
        if recipe.random_erasing:
            images = [_erased(view, recipe.random_erasing) for view in images]
    return replace(batch, images=images[0], views=tuple(images[1:]), labels=labels)


def _mix(
    views: list[Tensor], labels: Tensor, info: Info, recipe: Recipe
) -> tuple[list[Tensor], Tensor]:
    """Views (B, 3, H, W) and labels (B,), mixed with those of the neighbour in the batch."""
    from torchvision import tv_tensors  # imported here: takes 0.5 s, and few recipes need it
    from torchvision.transforms import v2

    choices = [
        kind(alpha=alpha, num_classes=info.num_classes, labels_getter=lambda inputs: inputs[-1])
        for kind, alpha in ((v2.MixUp, recipe.mixup), (v2.CutMix, recipe.cutmix))
        if alpha
    ]
    if choices and len(labels) > 1:
        chosen = choices[int(torch.randint(len(choices), ()))]
        *mixed_views, soft = chosen(*map(tv_tensors.Image, views), labels)
        views = [view.as_subclass(Tensor) for view in mixed_views]
    else:
        soft = F.one_hot(labels, info.num_classes)
    soft = soft.to(views[0].dtype)
    if recipe.label_smoothing:
        soft = soft * (1 - recipe.label_smoothing) + recipe.label_smoothing / info.num_classes
    return views, soft


def _erased(images: Tensor, probability: float) -> Tensor:
    """Each image with a random rectangle set to 0, the mean of normalised pixels.

    Zhong et al., Random Erasing Data Augmentation, AAAI 2020, with torchvision's areas and shapes.
    """
    from torchvision.transforms import v2

    erase = v2.RandomErasing(p=probability)
    return torch.stack([erase(image) for image in images])
