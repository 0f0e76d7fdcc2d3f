"""Several processes that train one job together, each on its part of every batch.

All of them hold the same networks, methods and optimisers in the same state at every step boundary:
gradients, batch norm statistics and decisions are agreed on in between. So the first one alone
deals with the disk, and a run may go on with another number of processes.
"""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from datasets import Batch
from datasets.streams import share as rows_of
from distillers import Needs
from models import Outputs

T = TypeVar("T")
TIMEOUT = datetime.timedelta(minutes=30)  # a first step may compile, a disk may be slow
NORMS = (nn.modules.batchnorm._BatchNorm,)  # the only name that all share


class Broken(RuntimeError):  # noqa: N818  (said of a group)
    """One of several processes failed alone: the others wait for it, so the job must end."""


class ProcessGroup:
    """A process among the ``size`` of a job. This class is the process that is alone."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that reads and writes."""
        return self.rank == 0

    def on_main(self, action: Callable[[], T]) -> T:
        """The lead does ``action``; all processes get what it returned, or raise what it raised.

        The value is pickled where there are several: plain data and bytes only.
        """
        return action()

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set in any process."""
        return flags

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, element by element."""
        return values

    def sums(self, values: Mapping[str, float]) -> dict[str, float]:
        """`sum` by name, where some processes may lack some names."""
        return dict(values)

    def share(self, batch: Batch) -> float:
        """What a mean over this process's part counts among the mean over all processes."""
        return 1.0

    def gathered(self, outputs: Outputs | None, batch: Batch, needs: Needs) -> Outputs | None:
        """Outputs of the whole batch, of which those of this process have gradients."""
        return outputs

    def whole(self, batch: Batch) -> Batch:
        """The labels and indices of the whole batch."""
        return batch

    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """The mean over all processes, which lack what had no part in the loss."""

    def average_statistics(self, *modules: nn.Module) -> None:
        """The mean of the running statistics of batch norms."""

    def close(self) -> None:
        """Part from the others."""


SINGLE = ProcessGroup()


def is_everywhere(error: BaseException) -> bool:
    """Whether all processes of a group know of this error, because the lead told them."""
    return getattr(error, "everywhere", False)


class DistributedGroup(ProcessGroup):
    """One of several processes. Tensors travel by NCCL between GPUs, else by gloo."""

    def __init__(self, rank: int, size: int, store: dist.Store, device: torch.device) -> None:
        """They meet at ``store``. Returns once all are there."""
        super().__init__(rank, size)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
        # Decisions go between CPUs, so that nobody has to wait for a GPU.
        self.control = cast("dist.ProcessGroup", dist.new_group(backend="gloo", timeout=TIMEOUT))

    def close(self) -> None:
        dist.destroy_process_group()

    def on_main(self, action: Callable[[], T]) -> T:
        told: list[Any] = [None]
        if self.is_main:
            told = [_outcome(action)]
        dist.broadcast_object_list(told, src=0, group=self.control)
        value, error = told[0]
        if error is not None:
            error.everywhere = True
            raise error
        return cast("T", value)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        found = torch.tensor(flags, dtype=torch.int8)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.control)
        return tuple(map(bool, found.tolist()))

    def sum(self, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    def sums(self, values: Mapping[str, float]) -> dict[str, float]:
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, dict(values), group=self.control)
        names = dict.fromkeys(name for part in found for name in part)
        return {name: sum(part.get(name, 0) for part in found) for name in names}

    def share(self, batch: Batch) -> float:
        return len(batch) * self.size / batch.whole

    def gathered(self, outputs: Outputs | None, batch: Batch, needs: Needs) -> Outputs | None:
        if outputs is None:
            return None
        unread: dict[str, Any] = {
            name: None for name in OPTIONAL if not getattr(needs, NEEDED.get(name, name))
        }
        views = tuple(replace(view, **unread) for view in outputs.views)
        sizes = self._sizes(batch)
        read = replace(outputs, views=views, **unread)
        return read.map(lambda x: _Gather.apply(x, sizes, self.rank))

    def whole(self, batch: Batch) -> Batch:
        sizes = self._sizes(batch)
        # Nobody reads pixels after the networks have: only their number is kept.
        images = torch.empty((batch.whole, *batch.images.shape[1:]), device="meta")
        labels, indices = (
            _Gather.apply(part, sizes, self.rank) for part in (batch.labels, batch.indices)
        )
        return replace(batch, images=images, labels=labels, indices=indices, views=())

    def _sizes(self, batch: Batch) -> list[int]:
        """How many samples each process has of a batch."""
        parts = (rows_of(batch.whole, (rank, self.size)) for rank in range(self.size))
        return [part.stop - part.start for part in parts]

    @torch.no_grad()
    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        present = torch.tensor([p.grad is not None for p in params], dtype=torch.int8)
        dist.all_reduce(present, dist.ReduceOp.MAX, group=self.control)
        params = [p for p, known in zip(params, present.tolist(), strict=True) if known]
        for p in params:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        self._average(p.grad for p in params if p.grad is not None)

    @torch.no_grad()
    def average_statistics(self, *modules: nn.Module) -> None:
        norms = [m for module in modules for m in module.modules() if isinstance(m, NORMS)]
        moving = [m for m in norms if m.training and m.running_mean is not None]
        self._average(s for m in moving for s in (m.running_mean, m.running_var) if s is not None)

    def _average(self, tensors: Iterable[Tensor]) -> None:
        """In place, one message per type of number."""
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault(tensor.dtype, []).append(tensor)
        for group in kinds.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.all_reduce(flat)
            flat /= self.size
            parts = flat.split([tensor.numel() for tensor in group])
            for tensor, part in zip(group, parts, strict=True):
                tensor.copy_(part.view_as(tensor))


# The parts of `Outputs` beside the logits; and the need that a part belongs to.
OPTIONAL = ("embedding", "features", "preacts", "blocks", "final_map", "tokens", "cls")
NEEDED = {"cls": "tokens"}


def _outcome(action: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """What ``action`` returns or raises, as something that can travel."""
    try:
        return action(), None
    except Exception as error:  # noqa: BLE001  (raised again, in every process)
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001  (a class with a constructor of its own)
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


class _Gather(torch.autograd.Function):
    """The parts of all processes, one behind the other; gradients are summed over all of them.

    Where every process then computes the same loss, the mean over processes of what arrives at a
    parameter is its gradient under that loss, whether the parameter comes before this or after.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, sizes: list[int], rank: int) -> Tensor:
        ctx.sizes, ctx.rank = sizes, rank
        padded = part.new_zeros((max(sizes), *part.shape[1:]))
        padded[: len(part)] = part
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded)
        return torch.cat([piece[:n] for piece, n in zip(found, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient.split(ctx.sizes)[ctx.rank], None, None
