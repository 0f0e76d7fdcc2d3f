"""The verdict about one cell beside a published row: is it the same protocol, and what of noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from results import published_rows
from results.cells import is_missing
from results.published_rows import BEST, STUDENT, Recipe, Row

WITHIN, ABOVE, BELOW = "within noise", "above", "below"
OTHER, APART = "another protocol", "cannot be joined"
VERDICTS = (WITHIN, ABOVE, BELOW, OTHER, APART)

CONFIDENCE = 0.95
TYPICAL = 0.25  # points between trials, where nobody measured them: about the sources' median
OTHER_TEACHER = 0.5  # points by which a teacher's accuracy makes it another one


@dataclass(frozen=True)
class Ours:
    """One cell of ours; ``best`` is the accuracy at the best epoch, NaN where nothing is.

    impossible  why it cannot be compared, "" if it can
    recipe      as recorded; views of every image and teacher's accuracy likewise
    """

    mean: float
    std: float
    n: int
    best: float
    best_std: float
    best_split: str
    impossible: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    views: int = 1
    teacher_accuracy: float | None = None


def standard_error(
    std_theirs: float | None, n_theirs: int | None, std_ours: float, n_ours: int
) -> tuple[float, float]:
    """sqrt(s²/n + s²/n) in points, and how many of them the two-sided 95 % interval reaches.

    Student's t with Welch's degrees of freedom (Welch 1947) where both spreads were measured. Where
    one was not, `TYPICAL` stands for it with the normal distribution, and a number of runs that is
    not stated counts as one.
    """
    from scipy import stats

    known = std_theirs is not None and (n_theirs or 0) > 1 and n_ours > 1
    theirs = (TYPICAL if std_theirs is None else std_theirs) ** 2 / (n_theirs or 1)
    ours = (TYPICAL if is_missing(std_ours) else std_ours) ** 2 / n_ours
    error = math.sqrt(theirs + ours)
    upper = (1 + CONFIDENCE) / 2
    if not known or not error:
        return error, float(stats.norm.ppf(upper))
    assert n_theirs is not None
    freedom = (theirs + ours) ** 2 / (theirs**2 / (n_theirs - 1) + ours**2 / (n_ours - 1))
    return error, float(stats.t.ppf(upper, freedom))


def verdict_of(difference: float, error: float, critical: float) -> str:
    """Whether ours is within noise of theirs, above or below."""
    if abs(difference) <= critical * error:
        return WITHIN
    return ABOVE if difference > 0 else BELOW


def are_measured(row: Row | None, ours: Ours) -> bool:
    """Whether both spreads were measured, over a number of runs that is known."""
    return row is not None and row.std is not None and (row.n or 0) > 1 and ours.n > 1


def protocol(row: Row, ours: Ours) -> list[str]:
    """How the two protocols differ, as far as the source states its own."""
    recipe = published_rows.recipes()[row.recipe] if row.recipe else Recipe()
    return [*_epoch_read(row, ours), *_training(row, recipe, ours), *_teacher(row, ours)]


def _epoch_read(row: Row, ours: Ours) -> list[str]:
    """Best is compared with best, but the two may have been picked in different ways."""
    if row.epoch != BEST:
        return []
    if ours.best_split != "test":
        return [f"best epoch (theirs picked on the test set, ours on the {ours.best_split} part)"]
    every = int(ours.recipe.get("eval_every", 1))
    return [f"best epoch (ours of every {every}th)"] if every > 1 else []


def _training(row: Row, recipe: Recipe, ours: Ours) -> list[str]:
    epochs, own = recipe.epochs, ours.recipe.get("epochs")
    differing = []
    if epochs and own and epochs != own:
        word = "longer" if epochs > own else "shorter"
        differing.append(f"{word} schedule (theirs {epochs} epochs, ours {own})")
    stated = {
        "batch_size": ("other batch size", recipe.batch_size),
        "lr": ("other learning rate", recipe.lr_of(row.student)),
        "schedule": ("other schedule", recipe.schedule),
    }
    for key, (what, theirs) in stated.items():
        mine = ours.recipe.get(key)
        if theirs is not None and mine is not None and theirs != mine:
            differing.append(f"{what} (theirs {_plain(theirs)}, ours {_plain(mine)})")
    views = recipe.views or 1
    if recipe.epochs and views != ours.views:
        differing.append(f"other views (theirs {views} of every image, ours {ours.views})")
    return differing


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _teacher(row: Row, ours: Ours) -> list[str]:
    theirs, own = published_rows.teacher_accuracy(row), ours.teacher_accuracy
    if row.method == STUDENT or theirs is None or own is None:
        return []
    is_other = abs(theirs - own) > OTHER_TEACHER
    return [f"other teacher (theirs {theirs:.2f}, ours {own:.2f})"] if is_other else []
