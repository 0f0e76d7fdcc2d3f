"""Tuning: the runs of the search, the choice among them, and what it means for final runs. Pure.

The search trains every configuration on the training set without its held-out part, which scores
it; the test set is not read. The final runs train on the whole training set: with an entry's own
options, and with those that were chosen. Until a choice is made, the latter are placeholders.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import distillers
from experiments.matrix.expansion import Candidate, Choice, Entry, Expansion
from experiments.matrix.method_entry import MethodEntry
from experiments.matrix.pairs import PairEntry
from experiments.matrix.run_spec import RunSpec
from experiments.matrix.schema import Matrix
from experiments.matrix.tune_entry import TuneEntry
from experiments.matrix.variants import Variant, recipe_fields

if TYPE_CHECKING:
    from experiments.matrix.expand import RunMaker

LOST = -math.inf  # the score of a run that diverged


def tuned_label(label: str) -> str:
    """The row of the chosen options, beside that of the entry's own."""
    return f"{label} (tuned)"


def search_label(label: str) -> str:
    """What `status` and `plan` call the runs that are chosen from."""
    return f"{label} (search)"


def is_tuned(matrix: Matrix, method: MethodEntry) -> bool:
    """Whether options are chosen for an entry."""
    return matrix.tune is not None and method.tune


# ---- the search ----------------------------------------------------------------------------------


@dataclass
class Search:
    """The search stage of a matrix; ``placeholders``: (label, pair) -> id of its choice."""

    candidates: list[Candidate] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    placeholders: dict[tuple[str, str], str] = field(default_factory=dict)

    def final(self, row: Variant, pair: str, default: Sequence[RunSpec]) -> Iterator[Entry]:
        """The placeholders of a row on a pair; ``default``: its runs at its own options."""
        chosen = self.placeholders.get((row.label, pair))
        if chosen is not None:
            for spec in default:
                placeholder = spec.model_copy(update={"choice": chosen})
                yield Entry(placeholder, pair, tuned_label(row.label), row.label)


def search(matrix: Matrix, rows: Iterable[Variant], maker: RunMaker) -> Search:
    """All configurations of all rows that are tuned; ``maker`` makes runs of the search."""
    found, tune = Search(), matrix.tune
    if tune is None:
        return found
    pairs = [matrix.pairs] if tune.per == "matrix" else [(pair,) for pair in matrix.pairs]
    for row in rows:
        if is_tuned(matrix, row.entry):
            searching = _with_recipe(matrix, row.entry, tune)
            for group in pairs:
                _add(found, replace(row, entry=searching), group, tune, maker)
    return found


def _with_recipe(matrix: Matrix, method: MethodEntry, tune: TuneEntry) -> MethodEntry:
    """The entry with the recipe of the search; its teachers keep theirs."""
    own = tune.recipe(recipe_fields(matrix, method))
    return method.model_copy(update={"recipe": {**method.recipe, **own}})


def _add(
    found: Search, row: Variant, pairs: Sequence[PairEntry], tune: TuneEntry, maker: RunMaker
) -> None:
    """Add the configurations of a row on pairs for which one choice is made."""
    options = configurations(row.entry, pairs[0], tune)
    runs: list[tuple[str, ...]] = []
    for number, each in enumerate(options):
        made = [
            Candidate(spec, str(pair), row.label, number)
            for pair in pairs
            for spec in maker.runs(row.place, row.entry, pair, tune.trials, each)
        ]
        found.candidates += made
        runs.append(tuple(candidate.spec.id for candidate in made))
    names = tuple(map(str, pairs))
    choice = Choice(_digest(runs), row.label, names, tuple(options), tuple(runs))
    found.choices.append(choice)
    found.placeholders |= {(row.label, name): choice.id for name in names}


def configurations(method: MethodEntry, pair: PairEntry, tune: TuneEntry) -> list[dict[str, Any]]:
    """The resolved options of every configuration; number 0 is the entry's own."""
    from distillers import search as spaces  # imports PyTorch, which `status` does without

    own = distillers.resolve(method.name, method.options_for(pair), method.preset)
    return spaces.configurations(method.name, own, tune.configs, tune.seed, space(method, pair))


def space(method: MethodEntry, pair: PairEntry) -> Mapping[str, Any]:
    """What an entry is searched in on a pair; empty where nothing of it can be chosen.

    Raises MethodError for a wrong ``search`` of the entry.
    """
    from distillers import search as spaces

    found = spaces.space_of(method.name, method.preset, method.options_for(pair))
    return spaces.narrowed(method.name, found, method.search)


def _digest(runs: Sequence[Sequence[str]]) -> str:
    return hashlib.sha256(json.dumps(runs).encode()).hexdigest()[:10]


# ---- the choice ----------------------------------------------------------------------------------


def choose(choice: Choice, scores: Mapping[str, float]) -> int | None:
    """The number of the configuration with the highest mean score; of equal ones the lowest.

    ``scores``: run -> accuracy on the held-out part at the last epoch, `LOST` where it diverged.
    None while a run has no score. A configuration without runs, or with one that is lost, loses.
    """
    if any(run not in scores for runs in choice.runs for run in runs):
        return None
    means = [_mean([scores[run] for run in runs]) for runs in choice.runs]
    return max(range(len(means)), key=lambda k: (means[k], -k))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values and LOST not in values else LOST


def possible(choice: Choice, impossible: Collection[str]) -> Choice:
    """The choice without the pairs that no configuration can serve (n/a).

    A configuration that alone cannot serve one is left without runs: it has lost.
    """
    if not impossible:
        return choice
    places = range(len(choice.runs[0]))
    kept = [j for j in places if any(runs[j] not in impossible for runs in choice.runs)]
    runs = (tuple(each[j] for j in kept) for each in choice.runs)
    fair = tuple(() if set(each) & set(impossible) else each for each in runs)
    return replace(choice, runs=fair)


def settled(expansion: Expansion, chosen: Mapping[str, int]) -> Expansion:
    """The expansion with runs in place of placeholders; ``chosen``: choice's id -> number.

    The same object where there is nothing to replace.
    """
    choices = {choice.id: choice for choice in expansion.choices if choice.id in chosen}
    entries = tuple(
        replace(entry, spec=with_options(entry.spec, choices[entry.spec.choice], chosen))
        if entry.spec.choice in choices
        else entry
        for entry in expansion.entries
    )
    if entries == expansion.entries:
        return expansion
    both = zip(expansion.entries, entries, strict=True)
    stood_for = [(new.spec.id, old.spec.id) for old, new in both if old is not new]
    return replace(expansion, entries=entries, sent_as=(*expansion.sent_as, *stood_for))


def with_options(spec: RunSpec, choice: Choice, chosen: Mapping[str, int]) -> RunSpec:
    """The run that a placeholder stands for. At an entry's own options it is the run of these."""
    options = dict(choice.options[chosen[choice.id]])
    return spec.model_copy(update={"options": options, "choice": None})
