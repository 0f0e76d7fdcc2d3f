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
from .losses import attention_map
from .needs import Needs
from .registry import register
from .spaces import LogUniform, Uniform

SLOPE = 0.1  # negative slope of the leaky ReLUs, as in RepDistiller


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
    larger factor is pooled to the smaller. q is the normalised `attention_map`, as in RepDistiller,
    which also has the weight 200; the paper (section 3.2) compares f / ‖f‖.

    The initial stage trains the paraphraser (encoder and decoder, section 3.1) on the mean squared
    error of its reconstruction of F_t; it is then frozen. ``initial_lr`` None is the recipe's rate,
    RepDistiller's choice for students other than ResNets and WRNs.
    """

    needs = Needs(features=True, min_batch=2)  # batch norm fails on a single 1×1 map
    defaults = {
        "weight": 200.0,
        "paraphrase_rate": 0.5,
        "initial_epochs": 30,  # of the reference schedule's 240
        "initial_lr": 0.01,
    }
    optional = {"initial_lr": float}
    search = {"weight": LogUniform(20, 2000), "paraphrase_rate": Uniform(0.25, 1)}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        probes = self.probe_pair(student, teacher)
        source, target = (outputs.required.features[-1].shape[1] for outputs in probes)
        factor = max(1, int(self.options.paraphrase_rate * target))
        self.encoder = _layers(nn.Conv2d, (target, target, factor, factor))
        self.decoder = _layers(nn.ConvTranspose2d, (factor, factor, target, target))
        self.translator = _layers(nn.Conv2d, (source, source, factor, factor), norm=True)

    def init_stage(self) -> InitStage:
        paraphraser = nn.ModuleList([self.encoder, self.decoder])
        epochs, rate = self.options.initial_epochs, self.options.initial_lr
        return InitStage(epochs, paraphraser, rate, uses_student=False)

    def init_loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        target = teacher.required.features[-1]
        return F.mse_loss(self.decoder(self.encoder(target)), target)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        with torch.no_grad():  # the encoder is frozen after the initial stage
            target = self.encoder(teacher.required.features[-1])
        factor = self.translator(student.required.features[-1])
        s, t = map(attention_map, pool_to_smaller(factor, target))
        return F.l1_loss(s, t)


def _layers(
    kind: type[nn.Conv2d | nn.ConvTranspose2d], widths: tuple[int, ...], norm: bool = False
) -> nn.Sequential:
    """Size-preserving convolutions of these widths, each with optional batch norm and ReLU."""

    def layers() -> Iterator[nn.Module]:
        for inputs, outputs in pairwise(widths):
            yield kind(inputs, outputs, kernel_size=3, padding=1)
            if norm:
                yield nn.BatchNorm2d(outputs)
            yield nn.LeakyReLU(SLOPE)

    return nn.Sequential(*layers())
