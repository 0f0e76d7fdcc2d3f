"""A linear probe: how well a trained network's embedding transfers to other data."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from .base import Classifier, ModelError, build
from .checkpoints.files import load
from .checkpoints.formats import read_checkpoint
from .checkpoints.matching import describe_fits, fits
from .outputs import Outputs

BN_MODES = ("eval", "train")


def restored(name: str, path: str | os.PathLike[str]) -> Classifier:
    """The network ``name`` with a file's weights, and therefore its number of classes.

    Raises ModelError if the file holds another network.
    """
    checkpoint = read_checkpoint(path)
    matches = fits(checkpoint, [name])
    if not matches or matches[0].num_classes is None:
        raise ModelError(f"{path}: not the weights of {name}; {describe_fits(checkpoint)}")
    network = build(name, matches[0].num_classes)
    load(network, checkpoint)
    return network


class LinearProbe(Classifier):
    """A new linear layer on the frozen embedding (N, D) of ``network``; only the layer is trained.

    The protocol of Tian et al. (CRD, ICLR 2020, sec. 4.1), with weights from N(0, 0.01²) and zero
    biases. With ``bn_mode`` "eval", batch norms keep the statistics they were trained with. The
    public transfer scripts call train(), so their batch norms normalise by the batch and adapt to
    the new data, which is not a linear probe; ``bn_mode`` "train" reproduces that.

    Those scripts find the head by its name "fc" and so support ResNets only; here the network's
    ``classifier`` is ignored, whatever its name.
    """

    def __init__(self, network: Classifier, num_classes: int, bn_mode: str = "eval") -> None:
        """Raises ModelError if the network has no embedding."""
        if bn_mode not in BN_MODES:
            raise ModelError(f"bn_mode {bn_mode!r}: expected {' or '.join(BN_MODES)}")
        super().__init__()
        if network.classifier is None:
            name = network.name or type(network).__name__
            raise ModelError(f"{name} has no linear classifier and so no embedding to probe")
        self.num_classes, self.bn_mode = num_classes, bn_mode
        self.network = network.requires_grad_(False)
        self.head = nn.Linear(network.classifier.in_features, num_classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def train(self, mode: bool = True) -> LinearProbe:
        """Keeps the network in eval mode, except its batch norms if ``bn_mode`` is "train"."""
        super().train(mode)
        self.network.eval()
        if self.bn_mode == "train":
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train(mode)
        return self

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        """The probe's logits and the network's embedding only."""
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
