"""The base class of methods that compare a batch with a queue of the teacher's embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datasets import Info
from models import Outputs

from .base import Distiller
from .connectors import embedding_head
from .losses import finite_or_old, unit
from .needs import Needs


class QueueDistiller(Distiller):
    """Linear heads on both embeddings, and a queue of the last ``negatives`` teacher embeddings.

    The queue is initialised at random with rows of norm 1. With queue_init="columns" the columns
    have norm 1 instead, as in giakoumoglou/distillers (rows are then shorter, by a factor of
    sqrt(negatives / feature_dim)). The queue changes only where gradients are enabled.
    """

    needs = Needs(embedding=True, batch="global")  # the queue is the same in every process
    defaults = {"feature_dim": 128, "negatives": 16384, "queue_init": "rows"}
    choices = {"queue_init": ("rows", "columns")}

    queue: Tensor  # (negatives, feature_dim), a ring buffer
    pointer: Tensor  # index of its oldest row

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        options = self.options
        source, target = self.probe_pair(student, teacher)
        self.embed_student = embedding_head(source, options.feature_dim)
        self.embed_teacher = embedding_head(target, options.feature_dim)
        rows = torch.randn(options.negatives, options.feature_dim)
        self.register_buffer("queue", unit(rows, dim=1 if options.queue_init == "rows" else 0))
        self.register_buffer("pointer", torch.tensor(0))

    def embed(self, student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """Both heads' outputs, normalised, (B, feature_dim) each."""
        s = unit(self.embed_student(student.required.embedding))
        t = unit(self.embed_teacher(teacher.required.embedding))
        return s, t

    @torch.no_grad()
    def enqueue(self, embedding: Tensor, learn: bool) -> Tensor:
        """The queue with its oldest rows replaced by ``embedding`` (B, feature_dim).

        The result is a copy, since a later step may precede this one's backward pass. It becomes
        the method's queue if ``learn``.
        """
        size, length = len(embedding), len(self.queue)
        places = (self.pointer + torch.arange(size, device=embedding.device)) % length
        places = places[-length:]  # of a batch larger than the queue, its last samples
        rows = finite_or_old(embedding[-length:], self.queue[places])
        queue = self.queue.index_copy(0, places, rows)
        if learn:
            self.queue.copy_(queue)
            self.pointer.copy_((self.pointer + size) % length)
        return queue
