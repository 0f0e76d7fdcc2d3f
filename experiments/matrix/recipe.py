"""The training recipe: optimiser, schedule, regularisation and numerics, as plain data.

The defaults are RepDistiller's for CIFAR-100 (240 epochs of SGD, batch 64, lr 0.05 × 0.1 at
150/180/210, weight decay 5e-4 on everything).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from experiments.wording import plural

if TYPE_CHECKING:  # a recipe is plain data; who only looks at results must not wait for PyTorch
    import torch
    from torch import nn

SWITCHES = ("channels_last", "compile", "tf32", "deterministic")
PRECISIONS = {  # torch's names
    "fp32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp64": "float64",  # for checks: everything in double precision
}

MOST = 1_000_000  # epochs, or images in a batch: far beyond what anyone has trained
MOST_THREADS = 4096  # of one run; the largest machines have fewer cores

# Named in a table's caption if they are not 0.
SHOWN = {
    "label_smoothing": "label smoothing",
    "mixup": "mixup",
    "cutmix": "cutmix",
    "random_erasing": "random erasing",
    "clip_norm": "gradient norm at most",
    "ema_decay": "average of weights",
}


class Recipe(BaseModel):
    """How one run is trained. A field enters the run's identity if it is not at its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    version: ClassVar[int] = 1  # incremented when the same recipe gives other numbers

    epochs: int = Field(240, ge=1, le=MOST)
    batch_size: int = Field(64, ge=1, le=MOST)  # over all processes of a run
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.05, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)  # sgd
    nesterov: bool = False  # sgd
    betas: tuple[float, float] = Field((0.9, 0.999), strict=False)  # adamw
    eps: float = Field(1e-8, gt=0)  # adamw
    weight_decay: float = Field(5e-4, ge=0)
    decay_exempt: Literal["none", "vectors"] = "none"  # see `is_vector`
    clip_norm: float = Field(0, ge=0)  # of the gradient of all trained parameters; 0: no limit
    schedule: Literal["step", "cosine"] = "step"
    # step: the rate drops after these epochs (strict=False: YAML has no tuples, only lists)
    milestones: tuple[int, ...] = Field((150, 180, 210), strict=False)
    gamma: float = Field(0.1, gt=0)
    warmup_epochs: int = Field(0, ge=0)  # linear, from zero
    min_lr: float = Field(0, ge=0)  # where cosine ends
    label_smoothing: float = Field(0, ge=0, lt=1)
    mixup: float = Field(0, ge=0)  # α of Beta(α, α); with both, one of the two is drawn per batch
    cutmix: float = Field(0, ge=0)
    random_erasing: float = Field(0, ge=0, le=1)  # probability of each image
    ema_decay: float = Field(0, ge=0, lt=1)  # > 0: evaluate an exponential average of the weights
    eval_every: int = Field(
        1, ge=1, le=MOST
    )  # epochs between test evaluations; the last epoch always has one
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = "fp32"
    channels_last: bool = False
    compile: bool = False
    tf32: bool = False
    deterministic: bool = False  # refuse CUDA kernels whose order of summation varies
    threads: int = Field(1, ge=1, le=MOST_THREADS)  # of one run on a CPU

    @model_validator(mode="after")
    def _schedule_fits(self) -> Recipe:
        """A milestone past the last epoch would silently leave the learning rate constant."""
        late = [m for m in self.milestones if m >= self.epochs]
        if self.schedule == "step" and late:
            raise ValueError(
                f"milestones {late} lie at or past the last epoch ({self.epochs}); "
                f"give milestones that fit, [] for none, or schedule: cosine"
            )
        if list(self.milestones) != sorted({m for m in self.milestones if m > 0}):
            raise ValueError(f"milestones {list(self.milestones)}: expected rising epochs from 1")
        if self.warmup_epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs}: expected less than epochs")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs a momentum above 0")
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr:g}: expected at most lr ({self.lr:g})")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {list(self.betas)}: expected two numbers from 0, below 1")
        return self

    def rate(self, epoch: int, step: int, steps: int, base: float | None = None) -> float:
        """The learning rate at ``step`` (from 0) of ``epoch`` (from 1).

        step: base · gamma^#{m in milestones: epoch > m}. cosine: from base to min_lr, step by step.
        ``steps`` is the number of steps per epoch; ``base`` replaces the recipe's own rate, and
        min_lr then keeps its proportion.
        """
        base = self.lr if base is None else base
        done = epoch - 1 + step / steps
        if done < self.warmup_epochs:
            return base * (done + 1 / steps) / self.warmup_epochs
        if self.schedule == "step":
            return base * self.gamma ** sum(epoch > m for m in self.milestones)
        progress = (done - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
        least = self.min_lr / self.lr
        return base * (least + (1 - least) * (1 + math.cos(math.pi * progress)) / 2)

    def make_optimizer(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of ``params``.

        Weight decay applies to all of them, as in the reference implementations, unless
        ``decay_exempt`` says otherwise.
        """
        import torch

        groups: list[dict[str, Any]] = [{"params": list(params)}]
        if self.decay_exempt == "vectors":
            kept = [p for p in groups[0]["params"] if not is_vector(p)]
            free = [p for p in groups[0]["params"] if is_vector(p)]
            groups = [{"params": kept}, {"params": free, "weight_decay": 0.0}]
            groups = [group for group in groups if group["params"]]
        common: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.optimizer == "adamw":
            return torch.optim.AdamW(groups, betas=self.betas, eps=self.eps, **common)
        return torch.optim.SGD(groups, momentum=self.momentum, nesterov=self.nesterov, **common)

    @property
    def dtype(self) -> torch.dtype:
        """The type that the networks compute in."""
        import torch

        dtype: torch.dtype = getattr(torch, PRECISIONS[self.precision])
        return dtype

    @property
    def parameter_dtype(self) -> torch.dtype:
        """The type of parameters and losses: half precision is for activations only."""
        import torch

        return torch.float64 if self.precision == "fp64" else torch.float32

    @property
    def mixes(self) -> bool:
        """Whether batches are changed after they are drawn; see `train.mixup`."""
        return any((self.label_smoothing, self.mixup, self.cutmix, self.random_erasing))

    def summary(self) -> str:
        """One line for a table's caption."""
        rate = f"lr {self.lr:g} cosine to {self.min_lr:g}"
        if self.schedule == "step":
            drops = "/".join(map(str, self.milestones))
            rate = f"lr {self.lr:g}" + (
                f" × {self.gamma:g} after {drops}" if drops else " constant"
            )
        parts = [
            plural(self.epochs, "epoch"),
            f"batch {self.batch_size}",
            self._optimizer_summary(),
            rate,
            *([f"{self.warmup_epochs} warm-up"] if self.warmup_epochs else []),
            f"weight decay {self.weight_decay:g}"
            + (" but on vectors" if self.decay_exempt == "vectors" else ""),
            *(f"{text} {value:g}" for key, text in SHOWN.items() if (value := getattr(self, key))),
            self.precision,
            *(name for name in SWITCHES if getattr(self, name)),
            *([f"{self.threads} threads"] if self.threads > 1 else []),
        ]
        return ", ".join(parts)

    def _optimizer_summary(self) -> str:
        if self.optimizer == "adamw":
            return f"AdamW {self.betas[0]:g}/{self.betas[1]:g}"
        return f"SGD{' Nesterov' if self.nesterov else ''} {self.momentum:g}"


def moved(milestones: Iterable[int], before: int, after: int) -> list[int]:
    """Milestones of ``before`` epochs at the same shares of ``after``, to the nearest whole epoch.

    One that falls on the last epoch, or before the first, is left out.
    """
    scaled = {nearest(after / before * milestone) for milestone in milestones}
    return sorted(milestone for milestone in scaled if 0 < milestone < after)


def nearest(epochs: float) -> int:
    """Whole epochs; halves are rounded up, as far as they are halves in binary.

    Ids of searches depend on it: another order of the operations would round some halves otherwise.
    """
    return int(epochs + 0.5)


def is_vector(parameter: nn.Parameter) -> bool:
    """A bias, a norm's scale, a class token (1, 1, D) or position embeddings (1, T, D).

    What transformer recipes (DeiT: Touvron et al., arXiv 2012.12877) keep free of weight decay,
    recognized by shape, because an optimizer does not see parameter names.
    """
    return parameter.ndim < 2 or (parameter.ndim == 3 and parameter.shape[0] == 1)


@functools.lru_cache(maxsize=2**10)  # called for every run's id; a matrix has few recipes
def differences(recipe: Recipe) -> dict[str, Any]:
    """The fields that are not at their default: the recipe's part of a run's id."""
    standard = Recipe().model_dump(mode="json")
    return {k: v for k, v in recipe.model_dump(mode="json").items() if v != standard[k]}
