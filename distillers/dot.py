"""Distillation-oriented trainer: separate momenta for the task and the distillation gradient."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from .base import MethodError
from .compose import Wrapper
from .registry import register
from .spaces import Uniform

Pairs = list[tuple[nn.Parameter, nn.Parameter]]  # (parameter, its stand-in)


@register(
    "dot",
    title="DOT",
    paper="Zhao et al., ICCV 2023",
    arxiv="2307.08436",
    reference="DOT: A Distillation-Oriented Trainer",
)
class DOT(Wrapper):
    """Train the wrapped method with an optimiser that gives distillation more momentum.

    The cross-entropy is the task's loss; all other terms are distillation's. `TwoMomenta` has the
    update (section 3.2); ``delta`` is the paper's Δ. Learning rate, momentum and weight decay are
    the recipe's, which must be SGD without Nesterov momentum. An initial stage uses the recipe's
    own optimiser.
    """

    defaults = {"delta": 0.075}
    presets = {"imagenet": {"delta": 0.09}}
    search = {"delta": Uniform(0.01, 0.095)}  # momentum 0.9 + Δ stays below 1

    def optimizer(self, params: list[nn.Parameter], recipe: Any) -> torch.optim.Optimizer:
        plain = super().optimizer(params, recipe)
        if not isinstance(plain, torch.optim.SGD) or plain.defaults["nesterov"]:
            kind = type(plain).__name__ + (" Nesterov" if plain.defaults.get("nesterov") else "")
            raise MethodError(f"method 'dot+{self.name}': optimiser {kind}: expected plain SGD")
        return TwoMomenta(plain, self.options.delta)

    def step(
        self,
        losses: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
    ) -> None:
        if not isinstance(optimizer, TwoMomenta):  # in an initial stage
            super().step(losses, optimizer, scaler)
            return
        task = [value for name, value in losses.items() if name == "ce"]
        rest = [value for name, value in losses.items() if name != "ce"]
        if rest:
            # The task's loss shares the student's graph, so it must survive this backward pass.
            scaler.scale(torch.stack(rest).sum()).backward(retain_graph=bool(task))
            optimizer.put_aside()
        if task:
            scaler.scale(task[0]).backward()
        scaler.step(optimizer)
        scaler.update()


class TwoMomenta(torch.optim.Optimizer):
    """SGD with a momentum buffer v for the task's gradient g and another, u, for distillation's h:

        v ← (μ − Δ) v + g + λ p,   u ← (μ + Δ) u + h,   p ← p − η v − η u.

    Both buffers start as their first gradient; λ is the weight decay. A parameter with only one of
    the gradients uses plain momentum μ; if that is h, the decay is added to it from the second step
    on (as in mdistiller).

    h is kept as the gradient of a stand-in, one per parameter in the same group, so that everything
    done to the gradients of all parameters (unscaling, averaging over processes, clipping) is done
    to both. Stand-ins take no memory themselves, but gradients take twice as much, and gradient
    clipping limits the norm of (g, h) together.
    """

    def __init__(self, plain: torch.optim.SGD, delta: float) -> None:
        """Take over the parameter groups and hyper-parameters of ``plain``."""
        groups = []
        for group in plain.param_groups:
            chosen = {key: group[key] for key in ("lr", "momentum", "weight_decay")}
            params = list(group["params"])
            # An expanded zero has the parameter's shape but stores a single number.
            stand_ins = [nn.Parameter(p.detach().new_zeros(()).expand(p.shape)) for p in params]
            groups.append({"params": [*params, *stand_ins], **chosen})
        super().__init__(groups, {"delta": delta})

    def put_aside(self) -> None:
        """Move all current gradients to the stand-ins, as distillation's; the task's come next."""
        for group in self.param_groups:
            for p, stand_in in _pairs(group):
                stand_in.grad, p.grad = p.grad, None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update from the current gradients; ``closure`` is ignored."""
        for group in self.param_groups:
            pairs = _pairs(group)
            both = [(p, q) for p, q in pairs if p.grad is not None and q.grad is not None]
            task = [(p, q) for p, q in pairs if p.grad is not None and q.grad is None]
            rest = [(p, q) for p, q in pairs if p.grad is None and q.grad is not None]
            momentum, delta, decay = group["momentum"], group["delta"], group["weight_decay"]
            self._move(both, 0, momentum - delta, decay, group["lr"])
            self._move(both, 1, momentum + delta, 0.0, group["lr"])
            self._move(task, 0, momentum, decay, group["lr"])
            later = [pair for pair in rest if self.state[pair[1]]]
            first = [pair for pair in rest if not self.state[pair[1]]]
            self._move(later, 1, momentum, decay, group["lr"])
            self._move(first, 1, momentum, 0.0, group["lr"])

    def _move(self, pairs: Pairs, which: int, momentum: float, decay: float, lr: float) -> None:
        """Apply one of the two terms to all ``pairs``: v (``which`` = 0) or u (``which`` = 1)."""
        if not pairs:
            return
        params: list[Tensor] = [p for p, _ in pairs]
        owners = [pair[which] for pair in pairs]
        gradients = [cast("Tensor", q.grad) for q in owners]
        gradients = list(torch._foreach_add(gradients, params, alpha=decay))
        for owner in owners:
            if not self.state[owner]:  # zeros, so that the first update is the gradient itself
                zeros = torch.zeros_like(cast("Tensor", owner.grad))
                self.state[owner]["momentum_buffer"] = zeros
        buffers = [self.state[owner]["momentum_buffer"] for owner in owners]
        # The foreach operations launch a few kernels for all parameters, not for each.
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, gradients)
        torch._foreach_add_(params, buffers, alpha=-lr)


def _pairs(group: dict[str, Any]) -> Pairs:
    half = len(group["params"]) // 2
    return list(zip(group["params"][:half], group["params"][half:], strict=True))
