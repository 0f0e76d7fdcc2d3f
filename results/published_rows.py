"""Results that papers and repositories print, as data: `published/` and what can be asked of it.

results.csv holds one row per source, data set, teacher, student, method and metric, under the names
of its source; methods.csv maps their methods to ours. A source is never averaged with another one,
and a row that repeats the figure of another source is no result of its own: it is left out unless
asked for.
"""

from __future__ import annotations

import csv
import difflib
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from results.records import RecordError

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).with_name("published")
TEACHER, STUDENT = "teacher", "student"  # rows that are no distillation
LAST, BEST, UNKNOWN = "last", "best", "unknown"
_SMALL = ("mobilenet", "shuffle")  # students with a learning rate of their own


class PublishedError(RecordError):
    """What was asked for is not among the published results."""


@dataclass(frozen=True)
class Source:
    """A paper or repository; the fields are explained in sources.yaml."""

    key: str
    title: str
    trials: str
    epoch: str
    oddities: tuple[str, ...]
    venue: str = ""
    year: int | None = None
    arxiv: str = ""
    code: str = ""
    teachers: str = ""
    pictures: bool = False
    secondary: bool = False

    @property
    def where(self) -> str:
        """ "ICLR 2020, arXiv 1910.10699"."""
        venue = " ".join(str(part) for part in (self.venue, self.year) if part)
        parts = (venue, f"arXiv {self.arxiv}" if self.arxiv else "")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Recipe:
    """How students of a row were trained; None is not stated. Explained in recipes.yaml."""

    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    small_lr: float | None = None
    schedule: str | None = None
    views: int | None = None
    text: str = ""

    def lr_of(self, student: str) -> float | None:
        """The learning rate of a student, named as published."""
        is_small = student.startswith(_SMALL) and self.small_lr is not None
        return self.small_lr if is_small else self.lr

    def summary(self) -> str:
        """ "240 epochs, batch 64, lr 0.05 (0.01 for MobileNet and ShuffleNet)"."""
        small = f" ({self.small_lr:g} for MobileNet and ShuffleNet)" if self.small_lr else ""
        parts = (
            f"{self.epochs} epochs" if self.epochs else "",
            f"batch {self.batch_size}" if self.batch_size else "",
            f"lr {self.lr:g}{small}" if self.lr else "",
            self.text,
        )
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Row:
    """One printed number, in percent, under its source's names.

    std, n      None where they are not printed
    epoch       last, best (picked on the test set) or unknown
    recipe      key of recipes.yaml, "" for teachers
    reprint_of  the source whose figure this is, if it is not this source's own
    """

    source: str
    dataset: str
    teacher: str
    student: str
    method: str
    metric: str
    value: float
    std: float | None
    n: int | None
    epoch: str
    recipe: str
    reprint_of: str
    place: str
    notes: str

    @property
    def pair(self) -> str:
        return f"{self.teacher} > {self.student}"


@dataclass(frozen=True)
class Alias:
    """What a published method is here: its name, or None and the reason.

    protocol  how the source's version differs although it is the same method
    """

    ours: str | None
    protocol: str
    reason: str


# ---- reading -------------------------------------------------------------------------------------


@functools.cache
def sources() -> dict[str, Source]:
    """Every source by its key, in the order of sources.yaml."""
    content = _yaml("sources.yaml")
    return {
        key: Source(key, **{**entry, "oddities": tuple(entry["oddities"])})
        for key, entry in content.items()
    }


@functools.cache
def recipes() -> dict[str, Recipe]:
    """Every recipe by its key."""
    return {key: Recipe(**entry) for key, entry in _yaml("recipes.yaml").items()}


@functools.cache
def all_rows() -> tuple[Row, ...]:
    """Every row of results.csv, reprints included."""
    return tuple(_row(entry) for entry in _csv("results.csv"))


def _row(entry: dict[str, str]) -> Row:
    numbers = {
        "value": float(entry["value"]),
        "std": float(entry["std"]) if entry["std"] else None,
        "n": int(entry["n"]) if entry["n"] else None,
    }
    return Row(**{**entry, **numbers})  # type: ignore[arg-type]


@functools.cache
def _aliases() -> dict[tuple[str, str], Alias]:
    return {
        (entry["source"], entry["published"]): Alias(
            entry["ours"] or None, entry["protocol"], entry["reason"]
        )
        for entry in _csv("methods.csv")
    }


def method_alias(source: str, method: str) -> Alias:
    """Our method of a source's name for it; a source may have an entry of its own."""
    known = _aliases()
    return known.get((source, method)) or known["", method]


def _yaml(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return content


def _csv(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ---- asking --------------------------------------------------------------------------------------


def check(keys: Iterable[str], where: str = "") -> None:
    """PublishedError, in one line that begins with ``where``, about the first unknown source."""
    begin = f"{where}: " if where else ""
    known = sources()
    for key in keys:
        if key not in known:
            raise PublishedError(f"{begin}unknown source {key!r}: {_near(key, known)}")


def _near(name: str, known: Iterable[str]) -> str:
    """What contains ``name`` or is like it, else the command that lists all of them."""
    names = list(known)
    close = [other for other in names if name.lower() in other]  # "wttm" of "zheng2024wttm"
    close = close or difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else ""
    return hint or "`benchmark.py list published` lists them"


def rows(
    source: str,
    dataset: str | None = None,
    *,
    metric: str = "top1",
    reprints: bool = False,
) -> list[Row]:
    """The rows of one source, under its names; PublishedError for an unknown one."""
    check([source])
    return [
        row
        for row in all_rows()
        if row.source == source
        and row.metric == metric
        and dataset in (None, row.dataset)
        and (reprints or not row.reprint_of)
    ]


def pick(found: Iterable[Row], dataset: str, teacher: str, student: str, method: str) -> Row | None:
    """The row of one cell, by the names of its source; None where there is none."""
    key = (dataset, teacher, student, method)
    for row in found:
        if (row.dataset, row.teacher, row.student, row.method) == key:
            return row
    return None


def teacher_accuracy(row: Row) -> float | None:
    """Top-1 accuracy of a row's teacher, in percent; None where no source prints it.

    The source's own for that pair, else that of the source whose weights it uses.
    """
    own = pick(rows(row.source), row.dataset, row.teacher, row.student, TEACHER)
    if own is not None:
        return own.value
    lender = sources()[row.source].teachers
    lent = rows(lender, row.dataset) if lender else []
    named = (r.value for r in lent if (r.method, r.teacher) == (TEACHER, row.teacher))
    return next(named, None)


def as_pair_means(
    source: str,
    dataset: str,
    methods: Sequence[str] | None = None,
    pairs: Sequence[str] | None = None,
) -> pd.DataFrame:
    """A source's top-1 accuracies as pairs × methods, in percent, as if they were our means.

    Index "wrn_40_2 > wrn_16_2", columns by the source's names; NaN where it prints nothing. Spreads
    and numbers of runs are left out. ``methods`` and ``pairs`` select and order; by default all, in
    the source's order, without teachers. Reprints are left out. PublishedError for an unknown name.
    """
    import pandas as pd

    found = [row for row in rows(source, dataset) if row.method != TEACHER]
    if not found:
        known = ", ".join(sorted({row.dataset for row in rows(source)})) or "none"
        raise PublishedError(f"{source}: nothing on data set {dataset!r}: it has {known}")
    order = {
        "method": list(dict.fromkeys(row.method for row in found)),
        "pair": list(dict.fromkeys(row.pair for row in found)),
    }
    for what, asked in (("method", methods), ("pair", pairs)):
        for name in asked or ():
            if name not in order[what]:
                raise PublishedError(
                    f"{source}: unknown {what} {name!r} on {dataset}: {_near(name, order[what])}"
                )
    frame = pd.DataFrame(index=order["pair"], columns=order["method"], dtype=float)
    for row in found:
        frame.loc[row.pair, row.method] = row.value
    chosen_pairs = order["pair"] if pairs is None else list(pairs)
    chosen_methods = order["method"] if methods is None else list(methods)
    return frame.loc[chosen_pairs, chosen_methods]
