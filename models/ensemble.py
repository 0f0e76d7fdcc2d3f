"""Several networks as one teacher: the arithmetic mean of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from .base import SEPARATOR, Classifier
from .outputs import Outputs


class Ensemble(Classifier):
    """Its prediction is p = (1/M) Σ_m softmax(z_m) over the logits z_m (N, C) of its M members.

    Logits are log p, (N, C): softmax of them is p, and methods that read nothing but logits take an
    ensemble for a network. Every other output is None.

    Source: Hinton et al., NIPS workshop 2014 (arXiv 1503.02531), introduction: the arithmetic mean
    of the individual predictive distributions as soft targets. You et al. (KDD 2017) average the
    predictions after softening each member's; under a temperature T ≠ 1 that is another
    distribution than softmax(log p / T), which methods compute here.
    """

    def __init__(self, members: Iterable[Classifier]) -> None:
        """``members`` agree in the number of classes."""
        super().__init__()
        self.members = nn.ModuleList(members)
        self.name = SEPARATOR.join(member.name for member in self.networks)
        self.num_classes = self.networks[0].num_classes

    @property
    def networks(self) -> list[Classifier]:
        """The members, in their order."""
        return cast("list[Classifier]", list(self.members))

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        """Logits alone, whatever is asked for."""
        return Outputs(logits=log_mean([member.outputs(x).logits for member in self.networks]))

    @property
    def classifier(self) -> nn.Linear | None:
        """None: no linear layer gives the mean."""
        return None

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        """Empty, as there are no features."""
        return ()

    def feature_modules(self) -> nn.ModuleList:
        """Empty, as there are no features."""
        return nn.ModuleList()


def log_mean(logits: Iterable[Tensor]) -> Tensor:
    """log((1/M) Σ_m softmax(z_m)) of M tensors (N, C), by log-sum-exp; half types as float32.

    A single member's logits, and those of equal members, come out as log softmax(z): the same up
    to a constant for each image.
    """
    each = [z.float() if z.dtype in (torch.float16, torch.bfloat16) else z for z in logits]
    logs = torch.stack([z.log_softmax(dim=-1) for z in each])
    return logs.logsumexp(dim=0) - math.log(len(each))
