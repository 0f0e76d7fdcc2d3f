"""Teachers of one network or of several, whose probabilities are averaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from datasets import Data
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import TeacherSpec
from experiments.memo import Memo
from experiments.train import networks, teacher_quality, teachers
from experiments.train.distributed import SINGLE, ProcessGroup
from experiments.train.teachers import FORGETFUL, Network, Teacher
from models.ensemble import Ensemble
from results.schema import TeacherUsed


def load(
    spec: TeacherSpec,
    weights: Sequence[Path],
    data: Data,
    recipe: Recipe,
    device: torch.device,
    group: ProcessGroup = SINGLE,
    memo: Memo = FORGETFUL,
    stated: Collection[str] = (),
) -> Teacher:
    """The teacher of ``spec``, its test accuracy measured; of an ensemble also each member's.

    ``weights``: its file, or one for each member. ``stated``: names of given teachers whose
    accuracy the matrix states. Every member takes pixels under its own normalisation. Raises
    Blocked and ModelError as `teachers.load`.
    """
    loaded = tuple(
        teachers.load(
            part, path, data, recipe, device, group, memo, part.run is None and part.name in stated
        )
        for part, path in zip(spec.parts, weights, strict=True)
    )
    if not spec.members:
        return loaded[0]
    return joined(loaded, data, recipe, device, group, memo)


def joined(
    members: Sequence[Teacher],
    data: Data,
    recipe: Recipe,
    device: torch.device,
    group: ProcessGroup = SINGLE,
    memo: Memo = FORGETFUL,
) -> Teacher:
    """The ensemble of teachers that are already loaded, measured on the test part of ``data``."""
    network = networks.freeze(Ensemble(member.module for member in members))
    used = tuple(member.record for member in members)
    record = TeacherUsed(name=network.name, sha256=digest(used), run=None, members=used)
    loaded = Network(network, None, ())
    found = teachers.measure(loaded, _content(record), data, recipe, device, memo, group)
    told = dict.fromkeys(text for member in members for text in member.warnings)
    is_trained_here = all(member.run is not None for member in used)
    own = teacher_quality.warnings(network.name, found, is_trained_here=is_trained_here)
    return Teacher(
        network,
        record.model_copy(update={"accuracy": found.top1}),
        warnings=(*told, *own),
        members=tuple(members),
    )


def digest(members: Sequence[TeacherUsed]) -> str:
    """The sha256 of an ensemble: of its members' digests in their order, a line each."""
    text = "".join(f"{member.sha256}\n" for member in members)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(record: TeacherUsed) -> str:
    """What an ensemble's predictions on the same pixels depend on: weights and normalisations."""
    text = json.dumps(record.pixels, sort_keys=True) if record.pixels else ""
    return f"{record.sha256}{text}"
