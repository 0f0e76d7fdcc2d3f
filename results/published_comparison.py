"""Published rows joined with a leaderboard's cells, and one verdict per cell.

Theirs is never averaged over sources and never enters our averages. A difference counts as such
only under one protocol: same epoch that is read (last or best), schedule, learning rate, batch,
data, views and teacher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results import published_rows
from results.cells import STUCK, Cell, is_missing
from results.published_rows import BEST, LAST, TEACHER, UNKNOWN, Alias, Row
from results.published_verdict import (
    APART,
    OTHER,
    Ours,
    are_measured,
    protocol,
    standard_error,
    verdict_of,
)

if TYPE_CHECKING:
    import pandas as pd

ModelName = Callable[[str, str], "str | None"]  # (published name, data set) -> ours, None: not ours


@dataclass(frozen=True)
class Compared:
    """One of our cells beside one source; ``difference`` is ours minus theirs, in points.

    theirs  None where the source has no such row
    epoch   whose accuracy of ours was compared: "last" or "best"
    """

    source: str
    pair: str
    method: str
    theirs: Row | None
    ours: Ours
    epoch: str
    verdict: str
    reasons: tuple[str, ...] = ()
    difference: float = math.nan
    standard_error: float = math.nan

    @property
    def assumed(self) -> bool:
        """Whether a spread or a number of runs had to be assumed for the standard error."""
        return not is_missing(self.difference) and not are_measured(self.theirs, self.ours)


@dataclass(frozen=True)
class Comparison:
    """All cells of a board beside one source, in the board's order of methods and pairs.

    lacking   rows of the source that meet no cell: (pair, method) by its names
    reprints  how many of its rows repeat another source's figures, which were left out
    """

    source: str
    dataset: str
    cells: tuple[Compared, ...]
    lacking: tuple[tuple[str, str], ...]
    reprints: int

    def frame(self) -> pd.DataFrame:
        """One row per cell with every number, NaN or None where there is none."""
        import pandas as pd

        rows = [flat(cell) for cell in self.cells]
        return pd.DataFrame(rows).astype({"theirs_n": "Int64"})  # whole, although some are missing


def compare(
    source: str,
    dataset: str,
    frame: pd.DataFrame,
    cells: Sequence[Cell],
    model: ModelName,
    other_data: Sequence[str] = (),
) -> Comparison:
    """A board (its ``frame`` and ``cells``) beside one source's rows on ``dataset``.

    dataset     as the source names it
    model       our name of a published network, None where it is none of ours
    other_data  how the board's data are not the whole data set as it is, e.g. "subset of 10000"

    PublishedError for an unknown source.
    """
    found = published_rows.rows(source, dataset, reprints=True)
    named = _by_our_names((row for row in found if row.method != TEACHER), model)
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.pair, cell.method), []).append(cell)
    compared, used = [], set()
    for numbers in frame.to_dict("records"):
        group = groups.get((numbers["pair"], numbers["method"]), [])
        row, alias = _found(named, numbers["pair"], _spec(group))
        other = [*other_data, *_departures(group)]
        compared.append(_compared(source, row, alias, _ours(numbers, group), numbers, other))
        used |= {row} if row is not None else set()
    own = [row for row in found if not row.reprint_of and row.method != TEACHER]
    lacking = tuple((row.pair, row.method) for row in own if row not in used)
    return Comparison(source, dataset, tuple(compared), lacking, len(found) - _own(found))


def _own(found: Iterable[Row]) -> int:
    return sum(not row.reprint_of for row in found)


# ---- the join ------------------------------------------------------------------------------------

Key = tuple[str, str, str]  # teacher ("" where none matters), student, method: by our names


def _by_our_names(found: Iterable[Row], model: ModelName) -> dict[Key, tuple[Row, Alias]]:
    """The rows of methods and networks that are ours. A source's own row precedes a reprint."""
    named: dict[Key, tuple[Row, Alias]] = {}
    for row in sorted(found, key=lambda row: bool(row.reprint_of)):
        alias = published_rows.method_alias(row.source, row.method)
        student = model(row.student, row.dataset)
        is_alone = row.teacher == "none"
        teacher = "" if is_alone else model(row.teacher, row.dataset)
        if alias.ours is not None and student is not None and teacher is not None:
            named.setdefault((teacher, student, alias.ours), (row, alias))
    return named


def _found(
    named: Mapping[Key, tuple[Row, Alias]], pair: str, spec: Mapping[str, Any]
) -> tuple[Row | None, Alias | None]:
    """The row of a cell; one without a teacher may also stand under no teacher in its source."""
    teacher, _, student = pair.rpartition(" → ")
    method = str((spec.get("source") or spec).get("method") or "")
    found = named.get((teacher, student, method))
    if found is None and spec.get("teacher") is None:
        found = named.get(("", student, method))
    return found or (None, None)


def _spec(group: Sequence[Cell]) -> Mapping[str, Any]:
    """What the cell is about, as planned or as recorded."""
    for cell in group:
        spec = cell.spec or (cell.record.spec if cell.record else None)
        if spec:
            return spec
    return {}


def _departures(group: Sequence[Cell]) -> list[str]:
    """How a row's data are not the table's; its recipe is compared as it was recorded."""
    texts = dict.fromkeys(text for cell in group for text in cell.departs)
    data = (text for text in texts if text.startswith("dataset."))
    return [f"other data ({text.removeprefix('dataset.')})" for text in data]


def _ours(numbers: Mapping[Any, Any], group: Sequence[Cell]) -> Ours:
    records = [cell.record for cell in group if cell.record is not None]
    taught = _spec(group).get("teacher") is not None
    accuracy = numbers["teacher_accuracy"]
    return Ours(
        mean=numbers["mean"],
        std=numbers["std"],
        n=int(numbers["n"]),
        best=numbers["best_mean"],
        best_std=numbers["best_std"],
        best_split=numbers["best_split"],
        impossible=_impossible(numbers),
        recipe=(records[0].spec.get("recipe") or {}) if records else {},
        views=records[0].schedule.views if records else 1,
        teacher_accuracy=accuracy if taught and not is_missing(accuracy) else None,
    )


def _impossible(numbers: Mapping[Any, Any]) -> str:
    """Why one of our cells has no number to compare."""
    if not is_missing(numbers["reason"]):
        return f"ours is n/a: {numbers['reason']}"
    stuck = [f"{int(numbers[state])} {state}" for state in STUCK if numbers[state]]
    if stuck:
        return f"ours is incomplete: of {int(numbers['expected'])} trials {', '.join(stuck)}"
    if not numbers["n"]:
        return "ours is not trained yet"
    if not numbers["complete"]:
        return f"ours is incomplete: {int(numbers['n'])} of {int(numbers['expected'])} trials"
    return ""


# ---- the verdict ---------------------------------------------------------------------------------


def _compared(
    source: str,
    row: Row | None,
    alias: Alias | None,
    ours: Ours,
    numbers: Mapping[Any, Any],
    other_data: Sequence[str],
) -> Compared:
    place = (source, numbers["pair"], numbers["method"])
    if row is None or alias is None:
        return Compared(*place, None, ours, LAST, APART, ("no such row of theirs",))
    epoch = BEST if row.epoch == BEST else LAST
    if row.reprint_of:
        reason = f"theirs is a reprint of {row.reprint_of}"
        return Compared(*place, None, ours, epoch, APART, (reason,))
    mean, std = (ours.best, ours.best_std) if epoch == BEST else (ours.mean, ours.std)
    reason = ours.impossible
    if not reason and is_missing(mean):
        reason = "our best epoch was not recorded"
    if reason:
        return Compared(*place, row, ours, epoch, APART, (reason,))
    error, critical = standard_error(row.std, row.n, std, ours.n)
    difference = mean - row.value
    differing = (*protocol(row, ours), *filter(None, [alias.protocol]), *other_data)
    verdict = OTHER if differing else verdict_of(difference, error, critical)
    return Compared(*place, row, ours, epoch, verdict, tuple(differing), difference, error)


# ---- as a frame ----------------------------------------------------------------------------------


def flat(cell: Compared) -> dict[str, Any]:
    """One cell as plain values; NaN or None where there is none."""
    row, ours = cell.theirs, cell.ours
    return {
        "source": cell.source,
        "pair": cell.pair,
        "method": cell.method,
        "theirs": row.value if row else math.nan,
        "theirs_std": math.nan if row is None or row.std is None else row.std,
        "theirs_n": row.n if row else None,
        "theirs_epoch": row.epoch if row else UNKNOWN,
        "theirs_recipe": row.recipe if row else "",
        "ours": ours.best if cell.epoch == BEST else ours.mean,
        "ours_std": ours.best_std if cell.epoch == BEST else ours.std,
        "ours_n": ours.n,
        "ours_epoch": cell.epoch,
        "difference": cell.difference,
        "standard_error": cell.standard_error,
        "verdict": cell.verdict,
        "reasons": "; ".join(cell.reasons),
    }
