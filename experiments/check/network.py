"""Whether a network of a user's own keeps the contract of `models.Classifier`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import models
from experiments.train import networks
from models import Outputs

SAMPLES = 4


def findings(name: str, num_classes: int, image_size: int) -> list[str]:
    """What is wrong with the outputs of the network ``name``, a sentence each."""
    with networks.seeded("check", name), torch.no_grad():
        try:
            network = models.build(name, num_classes)
            images = torch.randn(SAMPLES, 3, image_size, image_size)
            outputs = network.eval().outputs(images, preacts=True, blocks=True)
            return [f"{name}: {text}" for text in _findings(network, outputs, images, num_classes)]
        except models.ModelError as error:
            return [str(error)]
        except Exception as error:  # noqa: BLE001  (whatever a user's code raises)
            return [f"{name}: {type(error).__name__}: {error}"]


def _findings(
    network: models.Classifier, outputs: Outputs, images: Tensor, num_classes: int
) -> list[str]:
    if not isinstance(outputs, Outputs):
        return [f"outputs() returned {type(outputs).__name__}; expected models.Outputs"]
    found = []
    if outputs.logits.shape != (SAMPLES, num_classes):
        found.append(
            f"logits of shape {tuple(outputs.logits.shape)}; expected ({SAMPLES}, {num_classes})"
        )
    if not torch.equal(network(images), network(images)):
        found.append("two passes in eval mode give different logits")
    classifier = network.classifier
    if classifier is not None and not isinstance(classifier, nn.Linear):
        found.append(f"classifier is a {type(classifier).__name__}; expected nn.Linear or None")
    elif _differs(classifier, outputs.embedding, outputs.logits):
        found.append("classifier(embedding) is not logits: the embedding is what it reads")
    if _differs(_pooled, outputs.final_map, outputs.embedding):
        found.append("the mean of final_map over height and width is not the embedding")
    return found + _maps(network, outputs)


def _pooled(final_map: Tensor) -> Tensor:
    return final_map.mean((2, 3))


def _differs(
    function: Callable[[Tensor], Tensor] | None, source: Tensor | None, target: Tensor | None
) -> bool:
    """Whether all three are there, and the function of the source is not the target."""
    if function is None or source is None or target is None:
        return False
    return not torch.allclose(function(source), target, atol=1e-5)


def _maps(network: models.Classifier, outputs: Outputs) -> list[str]:
    found = []
    for field in ("features", "preacts"):
        maps = getattr(outputs, field)
        if maps is not None and not all(map_.ndim == 4 for map_ in maps):
            found.append(f"{field}: expected maps of shape (N, c, h, w)")
    features, norms = outputs.features or (), network.preact_norms
    if len(norms) != len(features):
        found.append(
            f"preact_norms has {len(norms)} entries for {len(features)} features: one each, a "
            "BatchNorm or None"
        )
    if outputs.preacts is not None and len(outputs.preacts) != len(features):
        found.append(f"{len(outputs.preacts)} preacts for {len(features)} features")
    if not isinstance(network.feature_modules(), nn.ModuleList):
        found.append("feature_modules() must return an nn.ModuleList")
    return found
