"""A linear probe: what a trained network's embedding is worth on other data."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from .base import Classifier, ModelError, build
from .checkpoints.files import load
from .checkpoints.formats import read_checkpoint
from .checkpoints.matching import fits, fitting
from .outputs import Outputs

BN_MODES = ("eval", "train")


def restored(name: str, path: str | os.PathLike[str]) -> Classifier:
    """The network ``name`` with the weights, and so with the number of classes, of a file.

    Raises ModelError where the file holds another network.
    """
    checkpoint = read_checkpoint(path)
    found = fits(checkpoint, [name])
    if not found or found[0].num_classes is None:
        raise ModelError(f"{path}: not the weights of {name}; {fitting(checkpoint)}")
    network = build(name, found[0].num_classes)
    load(network, checkpoint)
    return network


class LinearProbe(Classifier):
    """A new linear layer on the frozen embedding (N, D) of ``network``; only the layer trains.

    The protocol of Tian et al. (CRD, ICLR 2020, sec. 4.1) with weights from N(0, 0.01²) and zero
    biases. Batch norms use the statistics they were trained with (``bn_mode`` "eval"). In the
    public transfer scripts they normalise by the batch and follow the new data, since the script
    calls train(): that is no linear probe of the network, and here ``bn_mode`` "train".

    Those scripts find the head by the name "fc" and so serve ResNets only; here the network's
    ``classifier`` is left aside, whatever its name.
    """

    def __init__(self, network: Classifier, num_classes: int, bn_mode: str = "eval") -> None:
        """Raises ModelError for a network without an embedding."""
        if bn_mode not in BN_MODES:
            raise ModelError(f"bn_mode {bn_mode!r}: expected {' or '.join(BN_MODES)}")
        super().__init__()
        if network.classifier is None:
            name = network.name or type(network).__name__
            raise ModelError(f"{name} has no linear classifier, whose embedding could be probed")
        self.num_classes, self.bn_mode = num_classes, bn_mode
        self.network = network.requires_grad_(False)
        self.head = nn.Linear(network.classifier.in_features, num_classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def train(self, mode: bool = True) -> LinearProbe:
        """Train mode reaches the network's batch norms only where ``bn_mode`` says so."""
        super().train(mode)
        self.network.eval()
        if self.bn_mode == "train":
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train(mode)
        return self

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        """The probe's logits beside the network's embedding; nothing else is there."""
        with torch.no_grad():
            embedding = self.network.outputs(x).embedding
        assert embedding is not None  # the classifier reads it
        return Outputs(logits=self.head(embedding), embedding=embedding)

    @property
    def classifier(self) -> nn.Linear:
        return self.head

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        return ()

    def feature_modules(self) -> nn.ModuleList:
        return nn.ModuleList()
