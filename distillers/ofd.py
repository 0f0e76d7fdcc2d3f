"""Overhaul of feature distillation: match maps before the ReLU, with a margin for negatives."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .needs import Needs
from .registry import register

RARE = 0.001  # where negative values are less probable, their mean is numerically unreliable


@register(
    "ofd",
    title="OFD",
    paper="Heo et al., ICCV 2019",
    arxiv="1904.01866",
    reference="A Comprehensive Overhaul of Feature Distillation",
)
class OFD(Distiller):
    """Partial L2 distance to the teacher's margin ReLU, before the activation, for n stages:

        T = max(t, m),  ℓ_i = Σ_{c,h,w} mean_B (s − T)² [s > T or t > 0],  L = Σ_i ℓ_i / 2^(n − i),

    i = 1 … n (sections 3.2 to 3.4). t: the teacher's map (B, c, h, w), average-pooled to the
    student's size; s: the student's map after a 1×1 convolution and batch norm. The margin m of a
    channel is the mean of its negative values under N(β, γ²), the distribution that the batch norm
    at the end of the teacher's stage implies: β − γ φ(β/γ) / Φ(−β/γ), γ = |weight|; −3 γ where
    negative values have a probability below 0.001.

    Stages are paired from the last. As for all methods here, the teacher is in eval mode; in the
    authors' code and mdistiller its running statistics keep changing.
    """

    needs = Needs(preacts=True, min_batch=2)  # batch norm fails on a single 1×1 map
    defaults = {"weight": 1e-3}
    presets = {"imagenet": {"weight": 1e-4}}

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        probes = self.probe_pair(student, teacher)
        sources, targets = (outputs.required.preacts[1:] for outputs in probes)
        self.stages = min(len(sources), len(targets))
        pairs = zip(sources[-self.stages :], targets[-self.stages :], strict=True)
        self.connectors = nn.ModuleList(_connector(s.shape[1], t.shape[1]) for s, t in pairs)
        norms: tuple[Any, ...] = cast("Any", teacher).preact_norms[-self.stages :]
        if len(norms) < self.stages or None in norms:
            raise Unsupported(
                f"{self.name} reads margins from the batch norm that ends each stage of the "
                f"teacher, which {getattr(teacher, 'name', '') or type(teacher).__name__} lacks"
            )
        for i, norm in enumerate(norms):
            self.register_buffer(f"margin{i}", margin(norm.weight.detach(), norm.bias.detach()))

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        sources, targets = (o.required.preacts[-self.stages :] for o in (student, teacher))
        losses = []
        for i, (source, target) in enumerate(zip(sources, targets, strict=True)):
            s = self.connectors[i](source)
            t = F.adaptive_avg_pool2d(target, s.shape[2:])
            loss = partial_distance(s, t, self.get_buffer(f"margin{i}"))
            losses.append(loss / 2 ** (self.stages - 1 - i))
        return torch.stack(losses).sum()


def partial_distance(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """ℓ of two maps (B, c, h, w) and margins (c, 1, 1)."""
    target = torch.maximum(teacher, margin)
    counts = (student > target) | (teacher > 0)
    return ((student - target).square() * counts).sum() / len(student)


def margin(weight: Tensor, bias: Tensor) -> Tensor:
    """m (c, 1, 1) from the weight and bias (c,) of a batch norm; computed in double precision."""
    # In double precision since the mean is the difference of two larger numbers. The clamp keeps a
    # channel whose weight is 0 from dividing by 0.
    scale, shift = weight.double().abs().clamp(min=1e-12), bias.double()
    negative = torch.special.ndtr(-shift / scale)
    density = (-(shift / scale).square() / 2).exp() / math.sqrt(2 * math.pi)
    mean = shift - scale * density / negative.clamp(min=RARE)
    return torch.where(negative > RARE, mean, -3 * scale).to(weight.dtype)[:, None, None]


def _connector(student: int, teacher: int) -> nn.Sequential:
    conv = nn.Conv2d(student, teacher, kernel_size=1, bias=False)
    nn.init.normal_(conv.weight, std=math.sqrt(2 / teacher))
    return nn.Sequential(conv, nn.BatchNorm2d(teacher))
