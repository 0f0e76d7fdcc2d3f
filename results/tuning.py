"""What a tuning tried and chose, as plain data; the tables are made by `tuning_tables`.

A *search* tries configurations of one method's options on one pair (or on several together) and
scores them on the held-out part of the training set. The chosen options are then trained on the
whole training set, as a row of the leaderboard beside that of the method's own options.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DIVERGED = -math.inf  # in place of the accuracy of a run without one
Score = float | None


@dataclass(frozen=True)
class Search:
    """The configurations of one choice; number 0 has the method's own options.

    label    the row of the method's own options
    pairs    as tables print them; several where one choice is made for all of them
    options  of each configuration, resolved
    scores   of each configuration, the validation accuracies in percent of all its runs at the last
             epoch; None for a run that is not done, `DIVERGED` for one that diverged
    chosen   the number of the configuration that was chosen; None while there is no choice
    seconds  of the finished runs together; None where one of them has none on record
    """

    label: str
    pairs: tuple[str, ...]
    options: tuple[Mapping[str, Any], ...]
    scores: tuple[tuple[Score, ...], ...]
    chosen: int | None = None
    seconds: float | None = None

    @functools.cached_property
    def values(self) -> list[Score]:
        """By number: the mean over its runs, by which is chosen; None where one is not done."""
        return [_mean(scores) for scores in self.scores]

    @property
    def done(self) -> int:
        """How many configurations have all their runs."""
        return sum(value is not None for value in self.values)

    @property
    def diverged(self) -> int:
        """How many configurations have lost because a run of theirs diverged."""
        return sum(value == DIVERGED for value in self.values)

    def hours(self, k: int) -> float | None:
        """What ``k`` configurations take, by the mean of all; None where it is not on record."""
        return None if self.seconds is None else k * self.seconds / len(self.options) / 3600

    @property
    def changed(self) -> dict[str, Any]:
        """The chosen options that differ from the method's own; empty where these were chosen."""
        if self.chosen is None:
            return {}
        own, new = self.options[0], self.options[self.chosen]
        return {key: value for key, value in new.items() if key not in own or own[key] != value}

    @functools.cached_property
    def curve(self) -> list[tuple[float, float]]:
        """`expected_best` of its configurations; empty until all of them are done.

        One that diverged counts as 0 %: it took its part of the budget and gave no network.
        """
        values = [value for value in self.values if value is not None]
        if len(values) < len(self.scores):
            return []
        return expected_best([0.0 if value == DIVERGED else value for value in values])


@dataclass(frozen=True)
class Stage:
    """A stage of a tuned matrix: how many runs it has, and what those that are done took.

    ``seconds`` is None where a run that is done has none on record.
    """

    name: str
    runs: int
    done: int
    seconds: float | None


@dataclass(frozen=True)
class Tuning:
    """All choices of a matrix that tunes.

    tuned     label of a method's own options -> label of the row with the chosen ones
    stages    in the order in which they are trained
    configs   configurations per search; ``trials`` and ``epochs`` are those of the search
    held_out  the part of the training set that was held out: "10 % of the training set"
    given     teachers from files, which may have seen the held-out images
    """

    searches: tuple[Search, ...]
    tuned: Mapping[str, str]
    stages: tuple[Stage, ...] = ()
    configs: int = 0
    seed: int = 0
    trials: int = 1
    epochs: int = 0
    held_out: str = ""
    given: tuple[str, ...] = field(default=())

    def search(self, label: str, pair: str) -> Search | None:
        """The search whose choice a method's tuned run on this pair has."""
        found = (s for s in self.searches if s.label == label and pair in s.pairs)
        return next(found, None)

    @property
    def joint(self) -> bool:
        """Whether one choice was made for several pairs."""
        return any(len(search.pairs) > 1 for search in self.searches)

    def ordered(self, methods: Iterable[str]) -> list[Search]:
        """The searches in the order of a table's rows; those of other rows are left out."""
        place = {method: i for i, method in enumerate(methods)}
        found = [(self._places(search, place), search) for search in self.searches]
        shown = [(min(places), search) for places, search in found if places]
        return [search for _, search in sorted(shown, key=lambda item: item[0])]

    def _places(self, search: Search, place: Mapping[str, int]) -> list[int]:
        """Where the rows of a search stand: of its own options, and of the chosen ones."""
        rows = (search.label, self.tuned.get(search.label, search.label))
        return [place[row] for row in rows if row in place]


def expected_best(values: Sequence[float]) -> list[tuple[float, float]]:
    """For k = 1 … n: mean and standard deviation of the best of k of these n values.

    The k are drawn without replacement: the i-th smallest value v(i) is the best of C(i−1, k−1) of
    the C(n, k) draws, so the mean is Σ v(i) C(i−1, k−1) / C(n, k). Dodge et al. (EMNLP 2019, §3)
    give the form with replacement, which never reaches the best of what was tried.
    """
    ordered, n = sorted(values), len(values)
    made = []
    for k in range(1, n + 1):
        draws = math.comb(n, k)
        shares = [math.comb(i, k - 1) / draws for i in range(n)]  # i smaller ones
        mean = math.fsum(p * v for p, v in zip(shares, ordered, strict=True))
        square = math.fsum(p * (v - mean) ** 2 for p, v in zip(shares, ordered, strict=True))
        made.append((mean, math.sqrt(square)))
    return made


def budgets(n: int) -> list[int]:
    """The numbers of configurations that a table shows: 1, 2, 4, … and n itself."""
    powers = [2**i for i in range(n.bit_length()) if 2**i < n]
    return [*powers, n] if n else []


def _mean(scores: Sequence[Score]) -> Score:
    """None where a run is missing; a configuration with a diverged run has lost at once."""
    if DIVERGED in scores:
        return DIVERGED
    known = [score for score in scores if score is not None]
    return statistics.fmean(known) if known and len(known) == len(scores) else None
