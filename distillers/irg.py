"""Instance relationship graph: match distances between samples, and between layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datasets import Batch, Info
from models import Outputs

from .base import Distiller, Unsupported
from .irg_terms import (
    PORTS,
    aligned,
    edge_loss,
    edges,
    logits_loss,
    pooled,
    transformation,
    transformation_loss,
)
from .needs import Needs
from .registry import register

# Where a λ is computed: (stage, first block of the student there, first block of the teacher).
# With transformation: stage the blocks are not used.
Move = tuple[int, int, int]


@register(
    "irg",
    title="IRG",
    paper="Liu et al., CVPR 2019",
    reference="Knowledge Distillation via Instance Relationship Graph",
)
class IRG(Distiller):
    """logits_weight · L_logits + edge_weight · L_edge + transformation_weight · L_transformation.

    L_logits = ‖z_s − z_t‖² / (2N). L_edge = Σ ‖A_t − A_s‖² / (2N), `edges` of globally pooled block
    outputs: the teacher's last block against each of the last ``student_blocks`` blocks in the
    student's last stage. L_transformation = Σ_stages ½ ‖λ_t − λ_s‖², the `transformation` from the
    first to the last block of a stage. Teacher and student widths may differ; the teacher gets no
    gradient.

    The formulas and the weights 0.005 are those of the authors' Caffe layers and prototxts
    (yufanLIU/IRG); which blocks have edges is from the paper. logits_weight is not published; 0.1
    is our choice. The authors' backward pass halves the edge gradient: ``caffe_grad``.

    vertices="embedding" matches the edges of the two embeddings instead. transformation="stage"
    compares a stage's input with its output, averaged to a common shape, for networks with one
    block per stage, whose first and last block are the same. Stages that cannot be compared are
    skipped and listed in the attribute ``warnings``.

    Presets: caffe is IRG.prototxt; irg_t is IRG_Transformation.prototxt (no edges, no logits); mtk
    is the paper's sum of all terms.

    variant="aberhu" and "semckd" reproduce two PyTorch ports, `aberhu_terms` and `semckd_terms`:
    mean squared errors, with gradient through the maxima. They use only the three weights
    (logits_weight is that of SemCKD's embedding term). The presets of the same names have the
    ports' weights, SemCKD's with the KD term that its framework adds.
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
        probes = self.probe_pair(student, teacher)
        self.warnings: list[str] = []
        self.moves: list[Move] = []
        if self.options.variant in PORTS:
            self._check_port(*probes)
        elif self.options.transformation_weight:
            by_stage = self.options.transformation == "stage"
            find_moves = whole_stages if by_stage else between_blocks
            self.moves, self.warnings = find_moves(*probes)
            if not self.moves and not (self.options.edge_weight or self.options.logits_weight):
                hint = "" if by_stage else " (option transformation: stage has no such requirement)"
                raise Unsupported(f"irg has nothing to compare: {self.warnings[0]}{hint}")

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        if self.options.variant in PORTS:
            return self._port_loss(student, teacher)
        options, losses = self.options, {}
        if options.logits_weight:
            losses["logits"] = options.logits_weight * logits_loss(student.logits, teacher.logits)
        if options.edge_weight:
            losses["edge"] = options.edge_weight * self._edge(student, teacher)
        if options.transformation_weight and self.moves:
            terms = [
                transformation_loss(self._moved(student, stage, s), self._moved(teacher, stage, t))
                for stage, s, t in self.moves
            ]
            losses["transformation"] = options.transformation_weight * torch.stack(terms).sum()
        return losses

    def _check_port(self, student: Outputs, teacher: Outputs) -> None:
        counts = [len(outputs.features or ()) - 1 for outputs in (student, teacher)]
        if self.options.variant == "aberhu" and min(counts) < 2:
            raise Unsupported(
                f"irg (variant aberhu) needs two stages of both networks, got {counts[0]} "
                f"(student) and {counts[1]} (teacher)"
            )

    def _port_loss(self, student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
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
            return [outputs.required.embedding]
        return [pooled(block) for block in outputs.required.blocks[-1]]

    def _moved(self, outputs: Outputs, stage: int, first: int) -> Tensor:
        """λ over a stage of one network: from its block ``first``, or from the stage's input."""
        if self.options.transformation == "stage":
            return transformation(*aligned(*outputs.required.features[stage : stage + 2]))
        blocks = outputs.required.blocks[stage]
        return transformation(pooled(blocks[first]), pooled(blocks[-1]))


def between_blocks(student: Outputs, teacher: Outputs) -> tuple[list[Move], list[str]]:
    """The common stages whose blocks can be compared, and for the others why they cannot."""
    moves, warnings = [], []
    stages = zip(student.required.blocks, teacher.required.blocks, strict=False)
    for stage, (source, target) in enumerate(stages):
        s, t = first_of_shape(source), first_of_shape(target)
        if s is not None and t is not None:
            moves.append((stage, s, t))
            continue
        side = "student" if s is None else "teacher"
        warnings.append(
            f"no transformation over stage {stage + 1}: the {side}'s last block there has no "
            "earlier one of its shape"
        )
    return moves, warnings


def whole_stages(student: Outputs, teacher: Outputs) -> tuple[list[Move], list[str]]:
    """The stages that both networks have, and a warning where there are none."""
    count = min(len(outputs.features or ()) for outputs in (student, teacher)) - 1
    warnings = [] if count > 0 else ["no transformation: one of the networks has no stages"]
    return [(stage, 0, 0) for stage in range(count)], warnings


def first_of_shape(blocks: tuple[Tensor, ...]) -> int | None:
    """The first block whose output has the last one's shape; None if that is the last itself."""
    index = next(i for i, block in enumerate(blocks) if block.shape == blocks[-1].shape)
    return index if index < len(blocks) - 1 else None
