"""Teachers: loaded strictly from disk, and evaluated before anything is distilled from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

import models
from datasets import Data
from distillers import plugins
from experiments import environment
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import TeacherSpec
from experiments.memo import Memo, code_digest, versions
from experiments.train import networks
from experiments.train.distributed import SINGLE, ProcessGroup
from models.checkpoints.files import sha256
from results import records
from results.schema import TeacherUsed

FORGETFUL = Memo(None)
# Fields of a recipe that the outputs of a given network may depend on.
NUMERICS = ("precision", "channels_last", "compile", "tf32", "deterministic", "threads")


class Blocked(RuntimeError):  # noqa: N818  (a state of the student's run, not its failure)
    """The teacher does not exist (yet), or is not the one that was planned."""


@dataclass(frozen=True)
class Teacher:
    """A frozen teacher, how results record it, and the file that it was loaded from.

    ``predictions``: the file of its predictions on the test part, if it is known; see `predictions`
    """

    module: models.Classifier
    record: TeacherUsed
    weights: Path | None = None
    predictions: Path | None = None

    def reload(self) -> None:
        """Load the weights once more, after a method wrote into them."""
        if self.weights is None:
            raise RuntimeError(f"teacher {self.record.name}: no file to restore its weights from")
        models.load_checkpoint(self.module, self.weights)


def load(
    spec: TeacherSpec,
    weights: Path,
    data: Data,
    recipe: Recipe,
    device: torch.device,
    group: ProcessGroup = SINGLE,
    memo: Memo = FORGETFUL,
) -> Teacher:
    """Load the teacher of ``spec`` from a weights file, and measure its test accuracy.

    ``memo`` may know the accuracy of the same weights, data and numerics.

    Raises Blocked if the file is missing or is not the planned one, ModelError if it does not fit
    the architecture.
    """
    digest = group.on_main(lambda: checked_hash(spec, weights))
    module = networks.build(spec.name, data.info.num_classes, recipe, device)
    models.load_checkpoint(module, weights)
    networks.freeze(module)
    top1 = accuracy(module, digest, data, recipe, device, memo, group)
    record = TeacherUsed(name=spec.name, accuracy=top1, sha256=digest, run=spec.run)
    return Teacher(module, record, weights)


def accuracy(
    module: models.Classifier,
    sha256: str,
    data: Data,
    recipe: Recipe,
    device: torch.device,
    memo: Memo = FORGETFUL,
    group: ProcessGroup = SINGLE,
) -> float:
    """Test accuracy of a teacher in percent, rounded to 4 digits, whose file has this ``sha256``.

    Measured once for the same weights, data, numerics and code: it takes minutes on a CPU, and
    every job of a pair needs it.
    """
    key = {
        "network": module.name,
        "weights": sha256,
        "data": data.fingerprint,
        "classes": data.info.num_classes,
        "recipe": {name: getattr(recipe, name) for name in NUMERICS},
        "device": environment.device_name(device),
        "packages": versions(),
        "plugins": plugins.digests(),
        "code": code_digest("models", "datasets", "experiments/train/networks.py"),
    }

    known = group.on_main(lambda: memo.known("teacher", key))
    if known is not None:
        return float(known)
    scores = networks.evaluate(module, data.test_batches(), recipe, group=group)
    top1 = round(scores["top1"], 4)
    if group.is_main:
        memo.store("teacher", key, top1)
    return top1


def checked_hash(spec: TeacherSpec, weights: Path, role: str = "teacher") -> str:
    """The sha256 of a weights file. Raises Blocked if it is missing or is not the planned one.

    ``role``: what the network is to the run, for the message.
    """
    if not weights.is_file():
        raise Blocked(f"{role} {spec.name}: no weights at {weights}")
    digest = sha256(weights)
    expected = spec.sha256
    if spec.run is not None:
        result = records.read(weights.parent)
        if result is None:
            raise Blocked(f"{role} {spec.name}: its run at {weights.parent} has no result")
        expected = result.weights.sha256
        if digest != expected:
            raise Blocked(f"{role} {spec.name}: {weights} is not what its result.json names")
    if digest != expected:
        raise Blocked(f"{role} {spec.name}: {weights} changed since it was planned")
    return digest
