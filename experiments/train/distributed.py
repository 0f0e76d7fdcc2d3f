"""Several processes that train one job together, each on its part of every batch.

At every step boundary all of them hold the same networks, methods and optimisers in the same state:
they average gradients and batch norm statistics, and agree on decisions. So the main process alone
reads and writes files, and a run may be resumed by a different number of processes.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from datasets import Batch
from datasets.streams import share as rows_of
from distillers import Needs
from experiments.train import messages
from models import Outputs
from results.predictions import Array

T = TypeVar("T")
TIMEOUT = datetime.timedelta(minutes=30)  # a first step may compile, a disk may be slow
NORMS = (nn.modules.batchnorm._BatchNorm,)  # torch has no public base class of its batch norms

# The parts of `Outputs` beside the logits; and the need of a part that is named differently.
OPTIONAL = ("embedding", "features", "preacts", "blocks", "final_map", "tokens", "cls")
NEEDED = {"cls": "tokens"}


class Broken(RuntimeError):  # noqa: N818  (describes a group)
    """One of several processes failed alone. The others wait for it, so the job must end."""


class ProcessGroup:
    """The processes of a job as one of them sees it. This class is a job of a single process."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which reads and writes files."""
        return self.rank == 0

    def on_main(self, action: Callable[[], T]) -> T:
        """Run ``action`` on the main process; all processes return its value or raise its error.

        Plain data or bytes only: it travels as `messages` says.
        """
        return action()

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is set in any process."""
        return flags

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, element by element."""
        return values

    def sums(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sum over all processes by name; some processes may lack some names."""
        return dict(values)

    def gather_arrays(self, arrays: Mapping[str, Array]) -> list[dict[str, Array]]:
        """The arrays of all processes, by rank; an empty list but on the main process."""
        return [dict(arrays)]

    def share(self, batch: Batch) -> float:
        """The weight of a mean over this process's part when processes are averaged.

        1 if all parts have the same size. (The last batch of an epoch may split unevenly.)
        """
        return 1.0

    def gather(self, outputs: Outputs | None, batch: Batch, needs: Needs) -> Outputs | None:
        """Outputs of the whole batch. Gradients flow back to the process that computed a part.

        Parts that ``needs`` does not name become None.
        """
        return outputs

    def whole(self, batch: Batch) -> Batch:
        """The whole batch: labels and indices, and images without content."""
        return batch

    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Replace gradients by their mean over all processes; a missing one counts as zero."""

    def average_statistics(self, *modules: nn.Module) -> None:
        """Replace running statistics of batch norms by their mean over all processes."""

    def close(self) -> None:
        """Leave the group."""


SINGLE = ProcessGroup()


def is_known_to_all(error: BaseException) -> bool:
    """Whether all processes of the group raise this error, because `on_main` distributed it."""
    return getattr(error, "known_to_all", False)


class DistributedGroup(ProcessGroup):
    """One of several processes. Tensors travel by NCCL between GPUs, else by gloo."""

    def __init__(
        self, rank: int, size: int, store: dist.Store, device: torch.device, secret: bytes
    ) -> None:
        """The processes meet at ``store``. Returns once all have joined.

        Raises Broken if one of them does not know ``secret``.
        """
        super().__init__(rank, size)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
        # Decisions travel between CPUs, so that no process has to wait for its GPU.
        self.control = cast("dist.ProcessGroup", dist.new_group(backend="gloo", timeout=TIMEOUT))
        self._check_members(secret)

    def _check_members(self, secret: bytes) -> None:
        """Every process proves that it knows ``secret``: gloo takes whoever connects in time."""
        nonces = b"".join(self._all(secrets.token_bytes(32)))
        proofs = self._all(_proof(secret, self.rank, nonces))
        for rank, proof in enumerate(proofs):
            if not hmac.compare_digest(proof, _proof(secret, rank, nonces)):
                raise Broken(f"process {rank} of this job is a stranger: it lacks the secret")

    def close(self) -> None:
        dist.destroy_process_group()
        # Its threads end with the last reference. One that lets go of a tensor while the
        # interpreter ends would abort the process.
        del self.control

    def on_main(self, action: Callable[[], T]) -> T:
        value, error, answer = messages.answer_of(action) if self.is_main else (None, None, b"")
        answer = self._from_main(answer)
        if not self.is_main:
            value, error = messages.opened(answer)
        if error is not None:
            error.known_to_all = True  # type: ignore[attr-defined]
            raise error
        return cast("T", value)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        anywhere = torch.tensor(flags, dtype=torch.int8)
        dist.all_reduce(anywhere, dist.ReduceOp.MAX, group=self.control)
        return tuple(map(bool, anywhere.tolist()))

    def sum(self, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    def sums(self, values: Mapping[str, float]) -> dict[str, float]:
        parts = [json.loads(part) for part in self._all(json.dumps(dict(values)).encode())]
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: sum(part.get(name, 0) for part in parts) for name in names}

    def gather_arrays(self, arrays: Mapping[str, Array]) -> list[dict[str, Array]]:
        parts = self._all(messages.encode_arrays(arrays))
        return [messages.decode_arrays(part) for part in parts] if self.is_main else []

    def _from_main(self, data: bytes) -> bytes:
        """The bytes that the main process passes; the others pass none."""
        size = torch.tensor([len(data)])
        dist.broadcast(size, src=0, group=self.control)
        content = _tensor(data) if self.is_main else torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(content, src=0, group=self.control)
        return data if self.is_main else content.numpy().tobytes()

    def _all(self, data: bytes) -> list[bytes]:
        """The bytes of all processes, by rank."""
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(data)]), group=self.control)
        longest = int(max(sizes))  # all_gather wants equal shapes
        parts = [torch.empty(longest, dtype=torch.uint8) for _ in sizes]
        dist.all_gather(parts, _tensor(data.ljust(longest, b"\0")), group=self.control)
        return [part.numpy().tobytes()[: int(n)] for part, n in zip(parts, sizes, strict=True)]

    def share(self, batch: Batch) -> float:
        return len(batch) * self.size / batch.whole

    def gather(self, outputs: Outputs | None, batch: Batch, needs: Needs) -> Outputs | None:
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
        # After the networks nothing reads pixels: only their shape is kept.
        images = torch.empty((batch.whole, *batch.images.shape[1:]), device="meta")
        labels, indices = (
            _Gather.apply(part, sizes, self.rank) for part in (batch.labels, batch.indices)
        )
        return replace(batch, images=images, labels=labels, indices=indices, views=())

    def _sizes(self, batch: Batch) -> list[int]:
        """How many samples of a batch each process has."""
        parts = (rows_of(batch.whole, (rank, self.size)) for rank in range(self.size))
        return [part.stop - part.start for part in parts]

    @torch.no_grad()
    def average_gradients(self, optimizer: torch.optim.Optimizer) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        # Skip what has no gradient in any process: an optimiser treats a zero unlike a missing one.
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
        """In place, with one message per dtype: many small ones would take longer."""
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for group in by_dtype.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.all_reduce(flat)
            flat /= self.size
            parts = flat.split([tensor.numel() for tensor in group])
            for tensor, part in zip(group, parts, strict=True):
                tensor.copy_(part.view_as(tensor))


def _tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _proof(secret: bytes, rank: int, nonces: bytes) -> bytes:
    return hmac.digest(secret, rank.to_bytes(4, "big") + nonces, hashlib.sha256)


class _Gather(torch.autograd.Function):
    """The parts of all processes, concatenated; the backward pass sums gradients over processes.

    If every process then computes the same loss, the mean over processes of a parameter's gradient
    is its gradient under that loss, whether the parameter is used before this function or after.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, sizes: list[int], rank: int) -> Tensor:
        ctx.sizes, ctx.rank = sizes, rank
        padded = part.new_zeros((max(sizes), *part.shape[1:]))
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]  # all_gather wants equal shapes
        dist.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient.split(ctx.sizes)[ctx.rank], None, None
