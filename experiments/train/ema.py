"""An exponential moving average of weights, which is tested in their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """θ̄ ← decay · θ̄ + (1 − decay) · θ after every step, over parameters and running statistics.

    Polyak & Juditsky's averaging in the form of Szegedy et al., arXiv 1512.00567, sec. 8. Whole
    numbers (batch counters) are taken over. The update is torch's; its AveragedModel is not used,
    because it copies the module, and a copy of a compiled network runs the original's weights.
    """

    def __init__(self, modules: Sequence[nn.Module], decay: float) -> None:
        self.live = [t for module in modules for t in _tensors(module)]
        self.tensors = [tensor.detach().clone() for tensor in self.live]
        self._move = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self) -> None:
        moving = [i for i, tensor in enumerate(self.live) if tensor.is_floating_point()]
        self._move([self.tensors[i] for i in moving], [self.live[i] for i in moving], 0)
        for i, tensor in enumerate(self.live):
            if not tensor.is_floating_point():
                self.tensors[i].copy_(tensor)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the modules have the averaged weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for mine, theirs in zip(self.tensors, self.live, strict=True):
            before = theirs.clone()
            theirs.copy_(mine)
            mine.copy_(before)

    def load(self, tensors: Sequence[Tensor]) -> None:
        """Go on from what ``tensors`` was."""
        for mine, saved in zip(self.tensors, tensors, strict=True):
            mine.copy_(saved)


def _tensors(module: nn.Module) -> list[Tensor]:
    """Everything that the module's state consists of."""
    state = module.state_dict(keep_vars=True)
    return [state[key].detach() for key in sorted(state)]
