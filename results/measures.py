"""Measures of a classifier's predictions on a test set: pure functions of NumPy arrays.

N images, C classes. Everything is computed in float64. Ties in a row of logits go to the class with
the smaller number. A measure of logits that are not finite is NaN, except the accuracies.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BINS = 15  # of confidence, as in Guo et al. 2017 and papers since
CHUNK = 4096  # images at a time: float64 logits of ImageNet's test set would take 400 MB


@dataclass(frozen=True)
class PerImage:
    """What the measures read of each image, (N,) each.

    labels, predicted         class numbers
    log_probability           natural logarithm of the predicted class's probability
    log_probability_of_label  the same of the true class
    rank_of_label             1 where the true class has the highest logit
    sum_of_squares            of the probabilities of all classes
    """

    labels: Array
    predicted: Array
    log_probability: Array
    log_probability_of_label: Array
    rank_of_label: Array
    sum_of_squares: Array

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each image's prediction is its label."""
        return self.predicted == self.labels


COLUMNS = tuple(field.name for field in fields(PerImage))


def per_image(logits: Array, labels: Array) -> PerImage:
    """The `PerImage` of logits (N, C) and class numbers (N,)."""
    starts = range(0, max(len(labels), 1), CHUNK)
    parts = [_per_image(logits[i : i + CHUNK], labels[i : i + CHUNK]) for i in starts]
    return joined(parts)


def _per_image(logits: Array, labels: Array) -> PerImage:
    logits, rows = logits.astype(np.float64), np.arange(len(labels))
    predicted, logs = logits.argmax(axis=1), log_softmax(logits)
    own = logits[rows, labels][:, None]
    smaller_number = np.arange(logits.shape[1]) < labels[:, None]
    before = (logits > own) | ((logits == own) & smaller_number)
    squares = np.exp(2 * logs).sum(axis=1)
    return PerImage(
        labels, predicted, logs[rows, predicted], logs[rows, labels], 1 + before.sum(1), squares
    )


def joined(parts: list[PerImage]) -> PerImage:
    """One after the other."""
    return PerImage(*(np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS))


def log_softmax(logits: Array) -> NDArray[np.float64]:
    """Natural logarithms of the probabilities, (N, C), in float64."""
    logits = logits.astype(np.float64)
    shifted: NDArray[np.float64] = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


# ---- one classifier ------------------------------------------------------------------------------


def top(images: PerImage, k: int) -> float:
    """Percentage of images whose label is among the ``k`` most probable classes."""
    return 100 * int((images.rank_of_label <= k).sum()) / len(images)


def nll(images: PerImage) -> float:
    """Mean negative log-likelihood of the labels, in nats: the test's cross-entropy."""
    return float(-images.log_probability_of_label.astype(np.float64).mean())


def brier(images: PerImage) -> float:
    """Mean over images of Σ_c (p_c − [c = label])², from 0 to 2 (Brier 1950, for C classes)."""
    of_label = np.exp(images.log_probability_of_label.astype(np.float64))
    return float((images.sum_of_squares.astype(np.float64) - 2 * of_label + 1).mean())


def ece(images: PerImage, bins: int = BINS) -> float:
    """Expected calibration error in percent: Σ_b n_b / N · |accuracy_b − mean confidence_b|.

    Bins of equal width, (0, 1/15], …, (14/15, 1]; Guo et al. 2017 (arXiv 1706.04599), eq. 3.
    """
    confidence, correct = _confidence(images)
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    place = np.digitize(confidence, inner, right=True)
    gaps = np.bincount(place, correct - confidence, minlength=bins)  # n_b times each difference
    return float(100 * np.abs(gaps).sum() / len(images))


def ece_adaptive(images: PerImage, bins: int = BINS) -> float:
    """`ece` with bins of equal mass: images sorted by confidence, in parts of equal size.

    Nguyen & O'Connor 2015 (arXiv 1508.05154), sec. 3. Sizes differ by one where ``bins`` does not
    divide N.
    """
    confidence, correct = _confidence(images)
    order = np.argsort(confidence, kind="stable")
    gaps = [part.sum() for part in np.array_split((correct - confidence)[order], bins)]
    return float(100 * np.abs(gaps).sum() / len(images))


def _confidence(images: PerImage) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The predicted class's probability, and 1 for a correct prediction, else 0."""
    return np.exp(images.log_probability.astype(np.float64)), images.correct.astype(np.float64)


def per_class(images: PerImage, classes: int) -> list[float | None]:
    """Accuracy of each class in percent; None for a class without images."""
    total = np.bincount(images.labels, minlength=classes)
    right = np.bincount(images.labels[images.correct], minlength=classes)
    counts = zip(right.tolist(), total.tolist(), strict=True)
    return [100 * k / n if n else None for k, n in counts]


# ---- two classifiers -----------------------------------------------------------------------------


def agreement(student: PerImage, teacher: PerImage) -> float:
    """Percentage of images on which both predict the same class (fidelity, arXiv 2106.05945)."""
    return 100 * int((student.predicted == teacher.predicted).sum()) / len(student)


def kl(teacher: Array, student: Array) -> float:
    """Mean KL(teacher || student) in nats, at temperature 1; logits (N, C) each."""
    total = 0.0
    for i in range(0, len(teacher), CHUNK):
        of_teacher, of_student = (log_softmax(x[i : i + CHUNK]) for x in (teacher, student))
        total += float((np.exp(of_teacher) * (of_teacher - of_student)).sum())
    return total / len(teacher)


class McNemar(NamedTuple):
    """Images that only the first or only the second predicts correctly; exact two-sided p."""

    only_first: int
    only_second: int
    p: float


def mcnemar(first: Array, second: Array) -> McNemar:
    """McNemar's exact test of two classifiers on the same images, from (N,) booleans "correct".

    Under the null hypothesis each image that only one gets right is a fair coin's toss.
    """
    if first.shape != second.shape:
        raise ValueError(f"expected the same images, got {len(first)} and {len(second)}")
    first, second = first.astype(bool), second.astype(bool)
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    if not b + c:
        return McNemar(b, c, 1.0)
    from scipy.stats import binomtest  # here: it takes half a second, and few callers need it

    return McNemar(b, c, float(binomtest(b, b + c).pvalue))


def class_changes(before: list[float | None], after: list[float | None]) -> list[tuple[int, float]]:
    """(class, points gained) from one `per_class` to another, the highest gain first.

    Equal gains are in order of class numbers; classes without images are left out.
    """
    pairs = enumerate(zip(before, after, strict=True))
    changes = [(i, new - old) for i, (old, new) in pairs if old is not None and new is not None]
    return sorted(changes, key=lambda change: -change[1])
