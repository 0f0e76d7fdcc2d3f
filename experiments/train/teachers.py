"""Teachers: loaded strictly from disk, and evaluated before anything is distilled from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import models
from datasets import Data
from distillers import plugins
from experiments import environment
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import TeacherSpec
from experiments.memo import Memo, code_digest, versions
from experiments.train import networks, pixels, teacher_quality
from experiments.train.distributed import SINGLE, ProcessGroup
from experiments.train.pixels import Pixels
from experiments.train.teacher_quality import Counts, Quality, quality
from models.checkpoints import files as checkpoints
from models.checkpoints.files import sha256
from models.checkpoints.formats import read_checkpoint
from models.checkpoints.matching import notes_on
from results import records
from results.schema import TeacherUsed

FORGETFUL = Memo(None)
# Fields of a recipe that the outputs of a given network may depend on.
NUMERICS = ("precision", "channels_last", "compile", "tf32", "deterministic", "threads")
# Files of experiments that its test depends on, beside the networks and the data.
CODE = tuple(f"experiments/train/{name}.py" for name in ("networks", "pixels", "teacher_quality"))


class Blocked(RuntimeError):  # noqa: N818  (a state of the student's run, not its failure)
    """The teacher does not exist (yet), or is not the one that was planned."""


@dataclass(frozen=True)
class Teacher:
    """A frozen teacher, how results record it, and the file that it was loaded from.

    ``predictions``: the file of its predictions on the test part, if it is known; see `predictions`
    ``warnings``: what a reader of its students' results should know; stored with them
    ``members``: of an ensemble, which has no file of its own; see `ensembles`
    """

    module: models.Classifier
    record: TeacherUsed
    weights: Path | None = None
    predictions: Path | None = None
    warnings: tuple[str, ...] = ()
    members: tuple[Teacher, ...] = ()

    def reload(self) -> None:
        """Load the weights once more, after a method wrote into them."""
        for member in self.members:
            member.reload()
        if self.members:
            return
        if self.weights is None:
            raise RuntimeError(f"teacher {self.record.name}: no file to restore its weights from")
        models.load_checkpoint(self.module, self.weights)


@dataclass(frozen=True)
class Network:
    """A frozen teacher as loaded, and what its file says of it.

    ``pixels``: those that it was trained on, where the data set gives others, which are converted
    ``notes``: how a given file was read: which weights were taken, what was left out
    """

    module: models.Classifier
    pixels: Pixels | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load(
    spec: TeacherSpec,
    weights: Path,
    data: Data,
    recipe: Recipe,
    device: torch.device,
    group: ProcessGroup = SINGLE,
    memo: Memo = FORGETFUL,
    is_stated: bool = False,
) -> Teacher:
    """Load the teacher of ``spec`` from a weights file, and measure its test accuracy.

    ``memo`` may know the accuracy of the same weights, data and numerics. ``is_stated``: the matrix
    says what it is, and it has been compared.

    Raises Blocked if the file is missing or is not the planned one, ModelError if it does not fit
    the architecture, or states another normalisation than ``spec``.
    """
    digest = group.on_main(lambda: checked_hash(spec, weights))
    loaded = network(spec, weights, data, recipe, device)
    found = measure(loaded, digest, data, recipe, device, memo, group)
    told = teacher_quality.warnings(spec.name, found, is_stated, spec.run is not None)
    about = (*loaded.warnings, *told)
    record = TeacherUsed(name=spec.name, accuracy=found.top1, sha256=digest, run=spec.run)
    if loaded.pixels:
        own = loaded.pixels.own.model_dump(mode="json")
        record = record.model_copy(update={"normalisation": own})
    return Teacher(loaded.module, record, weights, warnings=about)


def network(
    spec: TeacherSpec, weights: Path, data: Data, recipe: Recipe, device: torch.device
) -> Network:
    """The frozen network of ``spec``, which takes the pixels of ``data``. Raises ModelError."""
    checkpoint = read_checkpoint(weights)
    said = checkpoint.metadata
    stated = said.normalisation if said else None
    converted = pixels.of(spec.normalisation, stated, data, str(weights))
    module = networks.build(spec.name, data.info.num_classes, recipe, device, converted)
    checkpoints.load(module, checkpoint)
    found = [pixels.warning(None if spec.normalisation else stated, data, spec.name)]
    if spec.run is None and said and said.dataset not in (None, data.info.name):
        found.append(
            f"teacher {spec.name}: its file says that it was trained on {said.dataset}, not on "
            f"{data.info.name}"
        )
    notes = () if spec.run else tuple(notes_on(checkpoint, module))
    return Network(networks.freeze(module), converted, tuple(filter(None, found)), notes)


def known(
    loaded: Network, sha256: str, data: Data, recipe: Recipe, device: torch.device, memo: Memo
) -> Quality | None:
    """What ``memo`` knows of the test of a teacher whose file has this ``sha256``."""
    return _read(memo.known("teacher", _key(loaded, sha256, data, recipe, device)))


def _read(value: Any) -> Quality | None:
    """What is remembered of a test, as it was stored."""
    try:
        return Quality(**value) if value else None
    except TypeError:  # of another version, or damaged
        return None


def measure(
    loaded: Network,
    sha256: str,
    data: Data,
    recipe: Recipe,
    device: torch.device,
    memo: Memo = FORGETFUL,
    group: ProcessGroup = SINGLE,
) -> Quality:
    """A teacher, whose file has this ``sha256``, on the test part.

    Measured once for the same weights, data, numerics and code: it takes minutes on a CPU, and
    every job of a pair needs it.
    """
    key = _key(loaded, sha256, data, recipe, device)
    found = _read(group.on_main(lambda: memo.known("teacher", key)))  # plain data for all processes
    if found is not None:
        return found
    counts = Counts(data.info.num_classes, device)
    batches = data.test_batches()
    scores = networks.evaluate(loaded.module, batches, recipe, group=group, collect=counts)
    by_class, broken = counts.gathered(group)
    found = quality(scores, by_class, broken, data.scored, data.info.num_classes)
    if group.is_main:
        memo.store("teacher", key, asdict(found))
    return found


def _key(
    loaded: Network, sha256: str, data: Data, recipe: Recipe, device: torch.device
) -> dict[str, Any]:
    """Everything that the test of a teacher depends on."""
    return {
        "network": loaded.module.name,
        "weights": sha256,
        "pixels": loaded.pixels and loaded.pixels.own.model_dump(mode="json"),
        "data": data.fingerprint,
        "classes": data.info.num_classes,
        "recipe": {name: getattr(recipe, name) for name in NUMERICS},
        "device": environment.device_name(device),
        "packages": versions(),
        "plugins": plugins.digests(),
        "code": code_digest("models", "datasets", *CODE),
    }


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
