"""Factor transfer: the student imitates a learned paraphrase of the teacher's last map."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, InitStage
from .connectors import pool_to_smaller
from .needs import Needs
from .registry import register

SLOPE = 0.1  # of the leaky ReLUs, as in RepDistiller


@register(
    "ft",
    title="FT",
    paper="Kim, Park & Kwak, NeurIPS 2018",
    arxiv="1802.04977",
    reference="Paraphrasing Complex Network: Network Compression via Factor Transfer",
)
class FT(Distiller):
    """Mean |q(f_s) − q(f_t)| of two factors (B, m, h, w) of the last maps.

    f_t = encoder(F_t), the paraphraser's first half, has m = ``paraphrase_rate`` · c_t channels;
    f_s = translator(F_s). Both are three 3×3 convolutions, the translator's with batch norm. The
    larger factor is pooled to the smaller. q(f) = flatten(mean over channels of f²) over its norm,
    as in RepDistiller, from which the weight 200 is; the paper (section 3.2) compares f / ‖f‖.

    The initial stage trains the paraphraser (encoder and decoder, section 3.1) on the mean squared
    error of its reconstruction of F_t; then it stays as it is. ``initial_lr`` None is the recipe's
    rate, RepDistiller's choice for students other than resnet… and wrn….
    """

    needs = Needs(features=True, min_batch=2)  # batch norm fails on one sample's 1×1 map
    defaults = {
        "weight": 200.0,
        "paraphrase_rate": 0.5,
        "initial_epochs": 30,  # of 240
        "initial_lr": 0.01,
    }
    optional = {"initial_lr": float}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        source = _last(self.probe(student)).shape[1]
        target = _last(self.probe(teacher, teacher=True)).shape[1]
        factor = max(1, int(self.options.paraphrase_rate * target))
        self.encoder = _layers(nn.Conv2d, (target, target, factor, factor))
        self.decoder = _layers(nn.ConvTranspose2d, (factor, factor, target, target))
        self.translator = _layers(nn.Conv2d, (source, source, factor, factor), norm=True)

    def init_stage(self) -> InitStage:
        paraphraser = nn.ModuleList([self.encoder, self.decoder])
        epochs, rate = self.options.initial_epochs, self.options.initial_lr
        return InitStage(epochs, paraphraser, rate, uses_student=False)

    def init_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        target = _last(teacher)
        return F.mse_loss(self.decoder(self.encoder(target)), target)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        with torch.no_grad():
            target = self.encoder(_last(teacher))
        own, target = pool_to_smaller(self.translator(_last(student)), target)
        return F.l1_loss(_attention(own), _attention(target))


def _last(outputs: Outputs) -> Tensor:
    assert outputs.features is not None  # needs.features
    return outputs.features[-1]


def _attention(factor: Tensor) -> Tensor:
    """(B, h·w) with rows of norm 1."""
    return F.normalize(factor.square().mean(dim=1).flatten(1), dim=1)


def _layers(
    kind: type[nn.Conv2d | nn.ConvTranspose2d], widths: tuple[int, ...], norm: bool = False
) -> nn.Sequential:
    """Convolutions of these widths that keep the size, each with batch norm, if asked, and ReLU."""

    def layers() -> Iterator[nn.Module]:
        for inputs, outputs in pairwise(widths):
            yield kind(inputs, outputs, kernel_size=3, padding=1)
            if norm:
                yield nn.BatchNorm2d(outputs)
            yield nn.LeakyReLU(SLOPE)

    return nn.Sequential(*layers())
