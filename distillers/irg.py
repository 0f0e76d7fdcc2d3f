"""Instance relationship graphs: distances between the samples of a batch, and along the depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, MethodError, Unsupported
from .graphs import squared_distances
from .needs import Needs
from .registry import register

EPSILON = 1e-12  # a batch whose largest distance is below has no geometry to speak of


def pooled(feature: Tensor) -> Tensor:
    """Global average of a map: (N, C, h, w) to (N, C); vectors (N, C) stay."""
    return feature.flatten(2).mean(dim=2) if feature.dim() > 2 else feature


def edges(x: Tensor, caffe_grad: bool = False, through_max: bool = False) -> Tensor:
    """A (N, N) = D / max(D), D_ij = ‖x_i − x_j‖² of vertices x (N, C); 0 where all are equal.

    The maximum is a constant for the gradient unless ``through_max``. ``caffe_grad`` gives the
    authors' Caffe backward: of each distance only the row's vertex gets its share, which is half
    the true gradient.
    """
    distances = squared_distances(x, x.detach() if caffe_grad else x)
    largest = distances.max() if through_max else distances.detach().max()
    return torch.where(largest <= EPSILON, 0, distances / largest.clamp_min(EPSILON))


def transformation(x: Tensor, y: Tensor, through_max: bool = False) -> Tensor:
    """λ (N,) = v / max(v), v_i = ‖x_i − y_i‖²: how far each sample moved between two places.

    x, y of one shape (N, …). The maximum is a constant for the gradient unless ``through_max``.
    """
    moved = (x - y).flatten(1).square().sum(dim=1)
    largest = moved.max() if through_max else moved.detach().max()
    return moved / largest.clamp_min(EPSILON)


def edge_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """‖A_s − A_t‖² / (2N) of two edge matrices (N, N)."""
    return (student - teacher).square().sum() / (2 * len(student))


def transformation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """½ ‖λ_s − λ_t‖² of two transformation vectors (N,)."""
    return (student - teacher).square().sum() / 2


def logits_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """‖z_s − z_t‖² / (2N) of logits (N, C)."""
    return (student - teacher).square().sum() / (2 * len(student))


def aligned(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps (N, C, h, w) brought to the smaller channel count, height and width of the two.

    By averaging: neighbouring places, neighbouring channels.
    """
    channels, height, width = map(min, x.shape[1:], y.shape[1:])

    def shrunk(value: Tensor) -> Tensor:
        if value.shape[2:] != (height, width):
            value = F.adaptive_avg_pool2d(value, (height, width))
        if value.shape[1] != channels:
            rows = F.adaptive_avg_pool1d(value.flatten(2).transpose(1, 2), channels)
            value = rows.transpose(1, 2).unflatten(2, (height, width))
        return value

    return shrunk(x), shrunk(y)


@dataclass(frozen=True)
class BlockMove:
    """λ from the ``first`` to the last block of a stage; ``first`` of student and teacher."""

    stage: int
    first: tuple[int, int]

    def __call__(self, outputs: Outputs, who: int) -> Tensor:
        assert outputs.blocks is not None  # needs.blocks
        blocks = outputs.blocks[self.stage]
        return transformation(pooled(blocks[self.first[who]]), pooled(blocks[-1]))


@dataclass(frozen=True)
class StageMove:
    """λ from the input of a stage to its output, averaged to a common shape."""

    stage: int

    def __call__(self, outputs: Outputs, who: int) -> Tensor:
        assert outputs.features is not None  # needs.features
        return transformation(*aligned(*outputs.features[self.stage : self.stage + 2]))


Move = BlockMove | StageMove  # (outputs, 0 for the student's, 1 for the teacher's) → λ (N,)


def between_blocks(student: Outputs, teacher: Outputs) -> tuple[list[Move], list[str]]:
    """The stages that both networks have and can compare by blocks, and why not the others."""
    assert student.blocks is not None and teacher.blocks is not None  # needs.blocks
    moves: list[Move] = []
    warnings = []
    for stage, blocks in enumerate(zip(student.blocks, teacher.blocks, strict=False)):
        first = first_of_shape(blocks[0]), first_of_shape(blocks[1])
        if first[0] is None or first[1] is None:
            who = "student" if first[0] is None else "teacher"
            warnings.append(
                f"no transformation over stage {stage + 1}: the {who}'s last block there has no "
                "earlier one of its shape"
            )
        else:
            moves.append(BlockMove(stage, (first[0], first[1])))
    return moves, warnings


def whole_stages(student: Outputs, teacher: Outputs) -> tuple[list[Move], list[str]]:
    """The stages that both networks have; a warning where there is none."""
    assert student.features is not None and teacher.features is not None  # needs.features
    count = min(len(student.features), len(teacher.features)) - 1
    warnings = [] if count > 0 else ["no transformation: one network shows no stages"]
    return [StageMove(stage) for stage in range(count)], warnings


def first_of_shape(blocks: tuple[Tensor, ...]) -> int | None:
    """The first block whose output has the last one's shape; None where that is the last itself."""
    index = next(i for i, block in enumerate(blocks) if block.shape == blocks[-1].shape)
    return index if index < len(blocks) - 1 else None


def aberhu_terms(student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
    """Unweighted terms of AberHu/Knowledge-Distillation-Zoo: means over N·C, N² and N.

    Edges one-to-one, the mean of three: of the last two stages' maps, not pooled, and of the
    embedding. Transformation: from the one stage's map to the other's, `aligned`.
    """
    places, moves = [], []
    for outputs in (student, teacher):
        assert outputs.features is not None and outputs.embedding is not None  # needs_of
        maps = outputs.features[-2:]
        places.append([*(x.flatten(1) for x in maps), outputs.embedding])
        moves.append(transformation(*aligned(*maps), through_max=True))
    errors = [
        F.mse_loss(edges(s, through_max=True), edges(t, through_max=True))
        for s, t in zip(*places, strict=True)
    ]
    return {
        "logits": F.mse_loss(student.logits, teacher.logits),
        "edge": torch.stack(errors).mean(),
        "transformation": F.mse_loss(moves[0], moves[1]),
    }


def semckd_terms(student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
    """Unweighted terms of DefangChen/SemCKD: of embeddings, and of their edges, means over entries.

    The first only where both networks' embeddings are of one width.
    """
    s, t = student.embedding, teacher.embedding
    assert s is not None and t is not None  # needs_of
    terms = {"edge": F.mse_loss(edges(s, through_max=True), edges(t, through_max=True))}
    return {"vertex": F.mse_loss(s, t), **terms} if s.shape == t.shape else terms


PORTS = {
    "aberhu": (aberhu_terms, Needs(logits=True, embedding=True, features=True, batch="global")),
    "semckd": (semckd_terms, Needs(embedding=True, batch="global")),
}


@register(
    "irg",
    title="IRG",
    paper="Liu et al., CVPR 2019",
    reference="Knowledge Distillation via Instance Relationship Graph",
)
class IRG(Distiller):
    """logits_weight · L_logits + edge_weight · L_edge + transformation_weight · L_transformation.

    L_logits = ‖z_s − z_t‖² / (2N). L_edge = Σ ‖A_t − A_s‖² / (2N), `edges` of globally pooled block
    outputs: the teacher's last block against each of the student's last ``student_blocks`` blocks
    of its last stage. L_transformation = Σ_stages ½ ‖λ_t − λ_s‖², `transformation` from the first
    to the last block of a stage. Teacher and student widths may differ; no gradient to the teacher.

    Formulas and the weights 0.005 are those of the authors' Caffe layers and prototxts
    (yufanLIU/IRG); which blocks have edges is the paper's. logits_weight is published nowhere, 0.1
    is our choice. The official backward halves the edge gradient: ``caffe_grad``.

    vertices="embedding" takes the edges one-to-one from the feature that the classifier reads.
    transformation="stage" compares a stage's input with its output, averaged to a common shape: for
    nets with one block per stage, where first and last block are the same. Stages that cannot be
    compared are left out and named in the attribute ``warnings``.

    Presets: caffe is IRG.prototxt, irg_t IRG_Transformation.prototxt (no edges, no logits), mtk
    the paper's sum of all terms.

    variant="aberhu" and "semckd" are two ports to PyTorch as they are, `aberhu_terms` and
    `semckd_terms`: mean squared errors, and gradients through the maxima. They read the three
    weights alone (logits_weight is that of SemCKD's term of embeddings); presets of the same names
    have theirs, SemCKD's with the KD term that its framework adds.
    """

    defaults = {
        "logits_weight": 0.1,
        "edge_weight": 0.005,
        "transformation_weight": 0.0,
        "vertices": "blocks",
        "student_blocks": 3,
        "transformation": "block",
        "caffe_grad": False,
        "variant": "paper",
    }
    presets = {
        "caffe": {"vertices": "embedding", "logits_weight": 0.0, "caffe_grad": True},
        "irg_t": {
            "logits_weight": 0.0,
            "edge_weight": 0.0,
            "transformation_weight": 0.005,
            "caffe_grad": True,
        },
        "mtk": {"transformation_weight": 0.005},
        "aberhu": {
            "variant": "aberhu",
            "logits_weight": 0.1,
            "edge_weight": 5.0,
            "transformation_weight": 5.0,
        },
        "semckd": {"variant": "semckd", "logits_weight": 0.005, "edge_weight": 0.005, "kd": 1.0},
    }
    choices = {
        "vertices": ("blocks", "embedding"),
        "transformation": ("block", "stage"),
        "variant": ("paper", *PORTS),
    }

    @classmethod
    def needs_of(cls, options: Mapping[str, Any]) -> Needs:
        if options["variant"] in PORTS:
            return PORTS[options["variant"]][1]
        edge, moved = bool(options["edge_weight"]), bool(options["transformation_weight"])
        by_block = options["transformation"] == "block"
        on_blocks = options["vertices"] == "blocks"
        return Needs(
            logits=bool(options["logits_weight"]),
            embedding=edge and not on_blocks,
            blocks=(edge and on_blocks) or (moved and by_block),
            features=moved and not by_block,
            batch="global",
        )

    def setup(self, student: nn.Module, teacher: nn.Module | None, info: Info) -> None:
        assert teacher is not None  # needs.teacher
        if self.options.student_blocks < 1:
            raise MethodError(f"irg: student_blocks = {self.options.student_blocks}: expected ≥ 1")
        seen = self.probe(student), self.probe(teacher, teacher=True)
        self.warnings: list[str] = []
        self.moves: list[Move] = []
        if self.options.variant in PORTS:
            self._check_port(*seen)
        elif self.options.transformation_weight:
            by_stage = self.options.transformation == "stage"
            self.moves, self.warnings = whole_stages(*seen) if by_stage else between_blocks(*seen)
            if not self.moves and not (self.options.edge_weight or self.options.logits_weight):
                instead = "" if by_stage else " (option transformation: stage needs no such pair)"
                raise Unsupported(f"irg has nothing to compare: {self.warnings[0]}{instead}")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        if self.options.variant in PORTS:
            return self._ported(student, teacher)
        options, losses = self.options, {}
        if options.logits_weight:
            losses["logits"] = options.logits_weight * logits_loss(student.logits, teacher.logits)
        if options.edge_weight:
            losses["edge"] = options.edge_weight * self._edge(student, teacher)
        if options.transformation_weight and self.moves:
            moved = [transformation_loss(move(student, 0), move(teacher, 1)) for move in self.moves]
            losses["transformation"] = options.transformation_weight * torch.stack(moved).sum()
        return losses

    def _check_port(self, *seen: Outputs) -> None:
        counts = [len(outputs.features or ()) - 1 for outputs in seen]
        if self.options.variant == "aberhu" and min(counts) < 2:
            raise Unsupported(
                f"irg (variant aberhu) needs two stages of both networks, got {counts[0]} "
                f"(student) and {counts[1]} (teacher)"
            )

    def _ported(self, student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        weights = {
            "logits": self.options.logits_weight,
            "vertex": self.options.logits_weight,
            "edge": self.options.edge_weight,
            "transformation": self.options.transformation_weight,
        }
        terms = PORTS[self.options.variant][0](student, teacher)
        return {part: weights[part] * value for part, value in terms.items() if weights[part]}

    def _edge(self, student: Outputs, teacher: Outputs) -> Tensor:
        target = edges(self._vertices(teacher)[-1])
        tail = self._vertices(student)[-self.options.student_blocks :]
        losses = [edge_loss(edges(x, self.options.caffe_grad), target) for x in tail]
        return torch.stack(losses).sum()

    def _vertices(self, outputs: Outputs) -> list[Tensor]:
        if self.options.vertices == "embedding":
            assert outputs.embedding is not None  # needs.embedding
            return [outputs.embedding]
        assert outputs.blocks is not None  # needs.blocks
        return [pooled(block) for block in outputs.blocks[-1]]
