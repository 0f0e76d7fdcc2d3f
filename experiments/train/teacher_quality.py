"""What a teacher's test says about it, and what a person must hear before students learn from it.

A teacher whose classes are in another order, that was trained on pixels normalised otherwise or on
other data, fits its network and loads; only its test shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from datasets import Batch
from experiments.train.distributed import ProcessGroup
from experiments.wording import plural

# Near chance is at most twice the odds of a guess: odds, because twice chance itself would be every
# accuracy where there are two classes. Teachers that are worth distilling from are far above.
ODDS = 2.0
ERRORS = 3.0  # standard errors by which a small test set lets a guess look better than chance
SAME_CLASS = "it puts every image into the same class"
CONSTANT = 99.5  # percent of the images in one class, from which a teacher is called constant
MOST_CLASSES = 4096  # up to which predictions are counted by class: 128 MB of device memory twice


@dataclass(frozen=True)
class Quality:
    """A teacher on ``samples`` test images of ``classes`` classes. Accuracies are percentages.

    loss       mean cross-entropy in nats; None if it is not finite
    broken     images whose logits are not finite
    most       share of the images that it puts into one class, its most frequent; None if unknown
    reordered  accuracy after the best renaming of its classes; None where the accuracy is not near
               chance, or unknown
    """

    top1: float
    loss: float | None
    samples: int
    classes: int
    broken: int = 0
    most: float | None = None
    reordered: float | None = None

    @property
    def is_near_chance(self) -> bool:
        return self.top1 <= near_chance(self.classes, self.samples)

    @property
    def is_worse_than_a_guess(self) -> bool:
        """Whether equal probabilities, whose loss is the logarithm of the classes, are better."""
        return self.loss is None or self.loss > math.log(self.classes)


def near_chance(classes: int, samples: int) -> float:
    """The accuracy in percent up to which a teacher may as well be guessing (`ODDS`, `ERRORS`)."""
    chance = 1 / classes
    by_odds = ODDS * chance / (1 + (ODDS - 1) * chance)
    by_error = chance + ERRORS * math.sqrt(chance * (1 - chance) / samples)
    return 100 * max(by_odds, by_error)


class Counts:
    """Counts a test's predictions by class; `networks.evaluate` calls it with every batch.

    Images with even and odd numbers are counted apart, see `reordered`.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        side = classes if classes <= MOST_CLASSES else 0
        self.counts = torch.zeros(2, side, side, dtype=torch.int64, device=device)
        self.broken = torch.zeros((), dtype=torch.int64, device=device)

    def __call__(self, logits: Tensor, predicted: Tensor, batch: Batch) -> None:
        """Take a batch: logits (B, C), predicted classes (B,)."""
        self.broken += (~logits.isfinite().all(1)).sum()
        side = self.counts.shape[1]
        if side:
            places = ((batch.indices % 2) * side + batch.labels) * side + predicted
            self.counts.view(-1).index_add_(0, places, torch.ones_like(places))

    def gathered(self, group: ProcessGroup) -> tuple[Tensor, int]:
        """The counts (2, labels, predictions) of all processes, and the broken images."""
        counts, broken = group.sum(self.counts), group.sum(self.broken)
        return counts.cpu(), int(broken)


def quality(
    scores: dict[str, float], counts: Tensor, broken: int, samples: int, classes: int
) -> Quality:
    """The scores of `networks.evaluate` (rounded to 4 digits) with what the counts add."""
    loss = round(scores["loss"], 4) if math.isfinite(scores["loss"]) else None
    plain = Quality(round(scores["top1"], 4), loss, samples, classes, broken)
    if not counts.numel() or not (plain.is_near_chance or plain.is_worse_than_a_guess):
        return plain
    by_class = counts.sum((0, 1))
    most = 100 * int(by_class.max()) / max(1, int(by_class.sum()))
    return Quality(plain.top1, loss, samples, classes, broken, round(most, 4), reordered(counts))


def reordered(counts: Tensor) -> float:
    """Accuracy in percent after the best renaming of the predicted classes.

    counts  (2, labels, predictions): each half is renamed by what fits the other half best (the
            assignment that maximises the agreement, by `scipy.optimize.linear_sum_assignment`), so
            that chance, of which one can always make something, does not count
    """
    from scipy.optimize import linear_sum_assignment

    halves = counts.numpy()
    right = 0
    for fitted, other in (halves, halves[::-1]):
        labels, predictions = linear_sum_assignment(fitted, maximize=True)
        right += int(other[labels, predictions].sum())
    return round(100 * right / max(1, int(halves.sum())), 4)


# ---- in words ------------------------------------------------------------------------------------


def warnings(
    name: str, found: Quality, is_stated: bool = False, is_trained_here: bool = False
) -> Iterator[str]:
    """What a reader of the students' results must know, a sentence each.

    ``is_stated``: somebody said what accuracy to expect, and it is that, so it is meant.
    ``is_trained_here``: by a run of the harness, on the same classes and pixels as its students.
    """
    if found.broken:
        yield (
            f"teacher {name}: its logits are not finite on {found.broken:,} of "
            f"{plural(found.samples, 'image')} that it was measured on"
        )
    if is_stated or found.classes < 2:
        return
    if found.is_near_chance or (found.is_worse_than_a_guess and not found.broken):
        cause = _cause_here(found) if is_trained_here else _cause(found)
        kind = "has learned little" if is_trained_here else "may not be what it seems"
        yield f"teacher {name} {kind}: {_measured(found)}: {cause}"


def _measured(found: Quality) -> str:
    """ "8.50 %, where chance is 8.33 % (12 classes), loss 5.1, a guess's 2.48"."""
    guess = math.log(found.classes)
    loss = "not finite" if found.loss is None else f"{found.loss:.2f}"
    relation = "above" if found.is_worse_than_a_guess else "against"
    return (
        f"{found.top1:.2f} %, where chance is {100 / found.classes:.2f} % "
        f"({plural(found.classes, 'class', 'classes')}), loss {loss}, "
        f"{relation} {guess:.2f} of a guess"
    )


def _cause_here(found: Quality) -> str:
    """Its classes, pixels and data are those of its students, so none of them is the cause."""
    if found.most is not None and found.most >= CONSTANT:
        return SAME_CLASS
    if not found.is_near_chance:
        return "it is very sure where it is wrong"
    return "were its epochs too few, or does its recipe not suit it?"


def _cause(found: Quality) -> str:
    if found.most is not None and found.most >= CONSTANT:
        return SAME_CLASS
    renamed = found.reordered
    if (
        renamed is not None
        and renamed > near_chance(found.classes, found.samples)
        and renamed > 2 * found.top1
    ):
        return f"as if its classes were in another order: {renamed:.2f} % after reordering"
    if not found.is_near_chance:
        return "very sure where it is wrong; is the normalisation of its pixels another?"
    return "is the order of its classes, the normalisation of its pixels or its data another?"
