"""What a run predicted for every test image, and the measures computed from it: two files.

``predictions.safetensors`` has one of two forms, its images in the order of the test set:

full     labels (N,) int32, logits (N, C) float16
compact  labels, predicted, rank_of_label (N,) int32; log_probability, log_probability_of_label,
         sum_of_squares (N,) float32: see `measures.PerImage`

``measures.json`` is a `schema.Measures`. It is a function of the predictions as they are stored (or
would be, where they are not) and of the teacher's. Neither file is part of a run's result.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from results import files, measures, records
from results.measures import COLUMNS, Array, PerImage
from results.records import MEASURES, PREDICTIONS
from results.schema import MeasuredTeacher, Measures, PredictionsUsed, Record

FILE = PREDICTIONS
WANTED = ("auto", "full", "compact", "none")
LARGEST_FULL = 16_000_000  # bytes of logits that "auto" stores: 2 MB on CIFAR-100, 100 on ImageNet
TOLERANCE = 0.02 + 1e-9  # points of top-1: other machines' numerics may change single images
MOST_CORRECT = 100_000  # images whose correctness measures.json holds, a bit each
_KEY = "predictions"  # of the metadata; one entry, because the order of several is not fixed
_KINDS = {"labels": "int32", "predicted": "int32", "rank_of_label": "int32"}  # others: float32


class Header(BaseModel):
    """Whose predictions a file holds. ``data`` is the fingerprint of the data set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    form: Literal["full", "compact"]
    run: str | None = None  # None for a given teacher
    dataset: str
    data: str
    classes: int


@dataclass(frozen=True)
class Predictions:
    """Of a network on a test set; ``logits`` (N, C) float16 in the form "full", else None."""

    header: Header
    images: PerImage
    logits: Array | None = None


Taught = tuple[MeasuredTeacher, Predictions]  # a student's teacher, and what it predicts


def form_of(wanted: str, samples: int, classes: int) -> Literal["full", "compact"]:
    """The form in which that many predictions are stored; ``wanted`` is one of `WANTED`.

    For "none" it is the form that the measures are computed from.
    """
    if wanted in ("full", "compact"):
        return "full" if wanted == "full" else "compact"
    return "full" if 2 * samples * classes <= LARGEST_FULL else "compact"


def size(wanted: str, samples: int, classes: int) -> int:
    """Bytes of a file of predictions, without its header."""
    if wanted == "none":
        return 0
    of_image = 2 * classes + 4 if form_of(wanted, samples, classes) == "full" else 24
    return samples * of_image


# ---- from logits ---------------------------------------------------------------------------------


def halved(logits: Array, predicted: Array) -> Array:
    """Logits (N, C) in float16, clamped to its range, with the same predictions (N,).

    Rounding makes some logits equal; then the predicted class gets the next larger number.
    """
    largest = np.finfo(np.float16).max
    return unambiguous(np.clip(logits, -largest, largest).astype(np.float16), predicted)


def unambiguous(logits: Array, predicted: Array) -> Array:
    """Finite logits (N, C) whose first maximum is the class ``predicted`` (N,), one of the maxima.

    A NaN remains only in the predicted class: such an image's probabilities are undefined.
    """
    largest = np.finfo(logits.dtype).max
    chosen = np.arange(logits.shape[1]) == predicted[:, None]
    logits = np.clip(np.where(np.isnan(logits) & ~chosen, -largest, logits), -largest, largest)
    rows = np.flatnonzero(logits.argmax(axis=1) != predicted)
    if len(rows):  # below the largest number there is room for the predicted class
        others = np.minimum(logits[rows], np.nextafter(largest, 0, dtype=logits.dtype))
        above = np.nextafter(others.max(axis=1), largest)
        logits[rows] = np.where(chosen[rows], above[:, None], others)
    return logits


def full(logits: Array, labels: Array, header: Header) -> Predictions:
    """Predictions of the form "full" from float16 logits, see `halved`."""
    labels = labels.astype(np.int32)
    return Predictions(header, measures.per_image(logits, labels), logits)


def compact(images: PerImage, header: Header) -> Predictions:
    """Predictions of the form "compact", in the precision in which they are stored."""
    columns = {name: getattr(images, name).astype(_KINDS.get(name, "float32")) for name in COLUMNS}
    return Predictions(header, PerImage(**columns))


# ---- the file of predictions ---------------------------------------------------------------------


def encode(found: Predictions) -> bytes:
    """The content of the file; the same predictions give the same bytes."""
    from safetensors.numpy import save  # here: tables read measures only

    tensors = {name: getattr(found.images, name) for name in COLUMNS}
    if found.logits is not None:
        tensors = {"labels": found.images.labels, "logits": found.logits}
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    header = json.dumps(found.header.model_dump(), sort_keys=True)
    content: bytes = save(tensors, {_KEY: header})
    return content


def read(path: Path) -> Predictions | None:
    """The predictions in a file; None if there is none, or none that can be understood.

    RecordError if the disk refuses.
    """
    data = _bytes(path, most=None)
    return None if data is None else decode(data)


def decode(data: bytes) -> Predictions | None:
    """The inverse of `encode`; None for anything else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        (length,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        return _checked(load(data), Header.model_validate_json(metadata[_KEY]))
    except (SafetensorError, ValueError, KeyError, TypeError, struct.error, RecursionError):
        return None


def _checked(tensors: dict[str, Array], header: Header) -> Predictions:
    """Raises ValueError or KeyError for tensors of other names or shapes than the form's."""
    labels = tensors["labels"]
    if labels.ndim != 1 or not len(labels) or labels.dtype != np.int32:
        raise ValueError("labels are not (N,) int32")
    if labels.min() < 0 or labels.max() >= header.classes:
        raise ValueError("labels that are no class")
    if header.form == "full":
        if tensors["logits"].shape != (len(labels), header.classes):
            raise ValueError("logits and labels do not fit together")
        if tensors["logits"].dtype != np.float16:
            raise ValueError("logits are not float16")
        return full(tensors["logits"], labels, header)
    images = PerImage(**{name: tensors[name] for name in COLUMNS})
    for name in COLUMNS:
        column = getattr(images, name)
        if column.shape != labels.shape or column.dtype != _KINDS.get(name, "float32"):
            raise ValueError(f"{name}: another shape or type than the labels ask for")
    return Predictions(header, images)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _bytes(path: Path, most: int | None = files.LARGEST) -> bytes | None:
    try:
        return files.read_bytes(path, most)
    except (FileNotFoundError, NotADirectoryError, files.OddFile):
        return None
    except OSError as error:
        raise records.refused(path, "read", error) from error


# ---- measures ------------------------------------------------------------------------------------


def measured(
    found: Predictions,
    stored: PredictionsUsed | None = None,
    teacher: Taught | None = None,
) -> Measures:
    """All measures of a run's predictions; ``teacher`` and its predictions where they are known.

    ValueError if the teacher's are of other images.
    """
    images, (used, beside) = found.images, teacher or (None, None)
    if beside and not np.array_equal(beside.images.labels, images.labels):
        raise ValueError(f"the predictions of {used.name if used else ''} are of other images")
    content = {
        "format": 1,
        "run": found.header.run,
        "predictions": stored,
        "teacher": used,
        "samples": len(images),
        "top1": 100 * int(images.correct.sum()) / len(images),
        "top5": measures.top(images, 5),
        "nll": measures.nll(images),
        "ece": measures.ece(images),
        "ece_adaptive": measures.ece_adaptive(images),
        "brier": measures.brier(images),
        "agreement": measures.agreement(images, beside.images) if beside else None,
        "kl": _kl(found, beside),
        "per_class": measures.per_class(images, found.header.classes),
        "correct": packed(images.correct) if len(images) <= MOST_CORRECT else None,
    }
    return Measures.model_validate(records.finite(content))


def _kl(found: Predictions, teacher: Predictions | None) -> float | None:
    """Needs all logits of both."""
    if teacher is None or teacher.logits is None or found.logits is None:
        return None
    return measures.kl(teacher.logits, found.logits)


def packed(correct: Array) -> str:
    """Booleans (N,) as base64 of their bits, eight to a byte, the first one highest."""
    return base64.b64encode(np.packbits(correct).tobytes()).decode()


def correct_of(found: Measures) -> Array | None:
    """The inverse of `packed` for the images of a run; None where they are not stored."""
    if found.correct is None:
        return None
    bits = np.frombuffer(base64.b64decode(found.correct), np.uint8)
    return np.unpackbits(bits, count=found.samples).astype(bool)


def encode_measures(found: Measures) -> bytes:
    """The content of ``measures.json``."""
    content: dict[str, Any] = found.model_dump(mode="json")
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_measures(directory: Path) -> Measures | None:
    """The measures of a run; None if there are none, or none that can be understood."""
    data = _bytes(directory / MEASURES)
    try:
        return None if data is None else Measures.model_validate_json(data)
    except ValidationError:
        return None


def belong(record: Record, found: Predictions | Measures) -> bool:
    """Whether predictions or measures are of the run as it is recorded.

    They are not where the run was trained again by a version that writes none.
    """
    if isinstance(found, Measures):
        return found.run == record.run and abs(found.top1 - record.top1) <= TOLERANCE
    top1 = measures.top(found.images, 1)
    return found.header.run == record.run and abs(top1 - record.top1) <= TOLERANCE


# ---- both ----------------------------------------------------------------------------------------


def write(
    directory: Path,
    found: Predictions,
    store: bool,
    teacher: Taught | None = None,
) -> Measures:
    """Write a run's measures and, if ``store``, its predictions; returns the measures.

    Otherwise predictions that are there are removed: they are of an earlier training.
    """
    stored = None
    if not store:
        (directory / FILE).unlink(missing_ok=True)
    if store:
        data = encode(found)
        records.write_atomic(directory / FILE, data)
        stored = PredictionsUsed(file=FILE, form=found.header.form, sha256=sha256(data))
    result = measured(found, stored, teacher)
    records.write_atomic(directory / MEASURES, encode_measures(result))
    return result
