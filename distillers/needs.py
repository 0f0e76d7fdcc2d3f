"""What a method requires of the two networks and the data, checked before training."""

from __future__ import annotations

from dataclasses import dataclass

from models import Outputs

OUTPUTS = ("embedding", "features", "preacts", "blocks", "final_map", "tokens")
FIELDS = ("logits", *OUTPUTS, "classifier")  # what a method may read of the teacher


@dataclass(frozen=True)
class Needs:
    """The requirements that a method declares.

    embedding … tokens   fields of `models.Outputs` that both networks must provide
    classifier           the teacher must have a last linear layer
    logits               the method's own term also reads the teacher's logits (for listings only)
    teacher              False for methods without a teacher
    sampler              None or "balanced"
    views                names of the extra views of each image
    full_batches         the own term is zero on the last, partial batch
    min_batch            the own term is zero on batches smaller than this
    min_classes          with fewer classes the own term, or a part of it, is constant or diverges
    batch                "global" where the term couples samples, so that several processes must
                         gather their batches; else "local"
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
    min_classes: int = 1

    def missing(self, outputs: Outputs) -> list[str]:
        """The required fields that these outputs lack."""
        return [f for f in OUTPUTS if getattr(self, f) and getattr(outputs, f) is None]
