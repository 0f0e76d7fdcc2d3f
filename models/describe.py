"""Facts about a network for listings."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from .aliases import IMAGENET, SMALL
from .base import build

# Below the prefixes' names stand ImageNet networks; without a prefix only this one is.
LARGE = ("MobileNetV1",)
SIZES = {"torchvision/inception_v3": 299}


@dataclass(frozen=True)
class Facts:
    """A network as it is usually built.

    image_size  pixels a side of the images that it is meant for
    features    shapes (channels, height, width) of `Outputs.features`; empty where it has none
    embedding   length of the embedding; None where it has none
    classifier  inputs and outputs of the last linear layer; None where it has none
    aliases     names in papers and repositories that mean it
    """

    image_size: int
    num_classes: int
    parameters: int
    features: tuple[tuple[int, ...], ...]
    embedding: int | None
    classifier: tuple[int, int] | None
    aliases: tuple[str, ...]


def facts(name: str) -> Facts:
    """Builds the network and runs it once on a blank image. Raises ModelError if it is unknown."""
    is_large = "/" in name or name in LARGE
    size, classes = (image_size(name), 1000) if is_large else (32, 100)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = build(name, classes).eval()
        outputs = model.outputs(torch.zeros(1, 3, size, size))
    head, features, embedding = model.classifier, outputs.features, outputs.embedding
    return Facts(
        image_size=size,
        num_classes=classes,
        parameters=sum(p.numel() for p in model.parameters()),
        features=tuple(tuple(f.shape[1:]) for f in features) if features is not None else (),
        embedding=embedding.shape[1] if embedding is not None else None,
        classifier=(head.in_features, head.out_features) if head else None,
        aliases=aliases_of(name),
    )


def image_size(name: str) -> int:
    """Of an ImageNet network: what its name ends in ("…_384"), else the usual 224 pixels."""
    written = re.search(r"_(\d{3})(?:\.|$)", name)
    return SIZES.get(name, int(written[1]) if written else 224)


def aliases_of(name: str) -> tuple[str, ...]:
    """Other names of a network, as `canonical` reads them."""
    meant = {alias for table in (SMALL, IMAGENET) for alias, ours in table.items() if ours == name}
    return tuple(sorted(meant - {name.lower()}))
