"""What a method reads of the two networks and asks of the data, checked before training."""

from __future__ import annotations

from dataclasses import dataclass

from models import Outputs

OUTPUTS = ("embedding", "features", "preacts", "blocks", "final_map", "tokens")
FIELDS = ("logits", *OUTPUTS, "classifier")  # what a method may take from the teacher


@dataclass(frozen=True)
class Needs:
    """Declared by every method.

    embedding … tokens   fields of `models.Outputs` that must be there, for student and teacher;
                         classifier: the teacher's last linear layer
    logits               for lists: the own term reads the teacher's logits beside those fields
    teacher              False for methods without one
    sampler              None or "balanced"; views: names of extra views
    full_batches         the own term is zero on the last partial batch
    min_batch            … and on batches smaller than this
    batch                "global" where several processes must gather their batches, else "local"
    """

    embedding: bool = False
    features: bool = False
    preacts: bool = False
    blocks: bool = False
    final_map: bool = False
    classifier: bool = False
    tokens: bool = False
    logits: bool = False
    teacher: bool = True
    sampler: str | None = None
    views: tuple[str, ...] = ()
    full_batches: bool = False
    batch: str = "local"
    min_batch: int = 1

    def missing(self, outputs: Outputs) -> list[str]:
        """The needed fields that these outputs do not have."""
        return [f for f in OUTPUTS if getattr(self, f) and getattr(outputs, f) is None]
