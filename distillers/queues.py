"""What methods share that compare a batch with a queue of the teacher's earlier embeddings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datasets import Info
from models import Outputs

from .base import Distiller
from .connectors import embedding_head
from .losses import kept_where_not_finite, unit
from .needs import Needs


class QueueDistiller(Distiller):
    """Linear heads of both embeddings, and a queue of the teacher's latest ``negatives``.

    The queue starts random, with rows of norm 1; with queue_init="columns" it is the columns that
    have it, which is how giakoumoglou/distillers starts (rows are then shorter by the root of
    negatives / feature_dim). It changes only where gradients are on.
    """

    needs = Needs(embedding=True, batch="global")  # the queue is the same in every process
    defaults = {"feature_dim": 128, "negatives": 16384, "queue_init": "rows"}
    choices = {"queue_init": ("rows", "columns")}

    queue: Tensor  # (negatives, feature_dim), a ring
    pointer: Tensor  # its oldest row

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        options = self.options
        self.embed_student = embedding_head(self.probe(student), options.feature_dim)
        seen = self.probe(teacher, teacher=True)
        self.embed_teacher = embedding_head(seen, options.feature_dim)
        rows = torch.randn(options.negatives, options.feature_dim)
        self.register_buffer("queue", unit(rows, dim=1 if options.queue_init == "rows" else 0))
        self.register_buffer("pointer", torch.tensor(0))

    def embed(self, student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
        """Both heads' outputs over their norm, (B, feature_dim)."""
        s, t = self.embed_student(student.embedding), self.embed_teacher(teacher.embedding)
        return unit(s), unit(t)

    @torch.no_grad()
    def enqueue(self, embedding: Tensor, learn: bool) -> Tensor:
        """The queue with ``embedding`` (B, feature_dim) in place of its oldest rows.

        A tensor of its own: a later step may come before this one's backward pass. The method keeps
        it if ``learn``.
        """
        size, length = len(embedding), len(self.queue)
        places = (self.pointer + torch.arange(size, device=embedding.device)) % length
        places = places[-length:]
        rows = kept_where_not_finite(embedding[-length:], self.queue[places])
        queue = self.queue.index_copy(0, places, rows)
        if learn:
            self.queue.copy_(queue)
            self.pointer.copy_((self.pointer + size) % length)
        return queue
