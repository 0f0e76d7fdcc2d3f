"""`report` of a board file with searches: which rows have a method's own options, and which the
chosen ones.

The file does not say what was chosen. It has the runs of the search, so the choice is made again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from experiments.commands.reference_rows import Key, Row, key_of
from experiments.commands.report.protocols import Item, items_of, search_key
from experiments.commands.teacher_scores import arrow
from experiments.commands.tuned import is_of_a_search
from results.schema import Record

K = TypeVar("K")
Place = tuple[str, str, str]  # a protocol (`search_key`), a method and a pair
Scores = Mapping[Key, list[float]]  # configuration -> its validation accuracies
Configurations = Mapping[str, set[Key]]  # pair -> those of its final runs
Reading = dict[str, Key]  # pair -> the configuration that was chosen for it


@dataclass(frozen=True)
class Searches:
    """The searches of a board file; one with runs of several protocols is left out."""

    scores: Mapping[Place, Scores]

    @classmethod
    def of(cls, records: Mapping[str, Record]) -> Searches:
        """The searches among all records of a file."""
        by_place: dict[Place, list[Item]] = {}
        for item in items_of(records):
            if item.is_taught and is_of_a_search(item.record.spec):
                place = (search_key(item.trained), item.method, arrow(item.pair))
                by_place.setdefault(place, []).append(item)
        return cls({place: _scores(items) for place, items in by_place.items() if _is_one(items)})

    def split(
        self, found: Mapping[Key, Row], protocol: str
    ) -> tuple[dict[Key, Row], dict[str, Row]]:
        """Rows of own options, and method -> its row of chosen ones, of a table's `search_key`.

        Where the choice cannot be told from the file, a method's rows stay as they are.
        """
        own, tuned = dict[Key, Row](), dict[str, Row]()
        for method in dict.fromkeys(method for method, _ in found):
            rows = {key: row for key, row in found.items() if key[0] == method}
            final = _final(rows)
            chosen = self._chosen(protocol, method, final)
            for key, row in rows.items():
                of_key = {pair for pair, best in chosen.items() if best == key}
                others = {pair for pair in of_key if len(final[pair]) > 1}
                own[key] = {place: one for place, one in row.items() if place[0] not in others}
                picked = {place: one for place, one in row.items() if place[0] in of_key}
                tuned[method] = tuned.get(method, {}) | picked
        return _filled(own), _filled(tuned)

    def _chosen(self, protocol: str, method: str, final: Configurations) -> Reading:
        """What was chosen for each pair, or for all of them; empty where that cannot be told.

        Of two readings that explain as many pairs, the one with fewer own options: where what is
        best on a pair happens to be the method's own, the chosen ones would be its own there.
        """
        by_pair = {pair: self.scores.get((protocol, method, pair), {}) for pair in final}
        everywhere = dict.fromkeys(final, _of_all(by_pair.values()))
        readings = [_read(final, scores) for scores in (by_pair, everywhere)]
        return max(readings, key=lambda found: (len(found), -len(_own(final, found))))


def _is_one(items: Iterable[Item]) -> bool:
    return len({(item.key, item.lr) for item in items}) == 1


def _scores(items: Iterable[Item]) -> Scores:
    found: dict[Key, list[float]] = {}
    for item in items:
        found.setdefault(key_of(item.method, item.options), []).append(item.record.top1)
    return found


def _of_all(pairs: Collection[Scores]) -> Scores:
    """Those of all pairs together, of the configurations that each of them has."""
    common = set.intersection(*(set(scores) for scores in pairs))
    return {key: [one for scores in pairs for one in scores[key]] for key in common}


def _read(final: Configurations, scores: Mapping[str, Scores]) -> Reading:
    """The configuration of the final runs that is the best of the search, of pairs that have one.

    Empty where a pair has final runs that neither its own options nor the best explain.
    """
    found: Reading = {}
    for pair, keys in final.items():
        means = {key: fmean(values) for key, values in scores[pair].items()}
        best = {key for key in keys if key in means and means[key] == max(means.values())}
        if len(best) == 1 and len(keys) <= 2:
            found[pair] = best.pop()
        elif len(keys) > 1:
            return {}
    return found


def _own(final: Configurations, chosen: Reading) -> set[Key]:
    """The own options that a method then has: on a pair with one configuration, the chosen."""
    return {key for pair, best in chosen.items() for key in final[pair] - {best} or {best}}


def _final(rows: Mapping[Key, Row]) -> Configurations:
    found: dict[str, set[Key]] = {}
    for key, row in rows.items():
        for pair, _ in row:
            found.setdefault(pair, set()).add(key)
    return found


def _filled(rows: Mapping[K, Row]) -> dict[K, Row]:
    """The rows that have a run."""
    return {key: row for key, row in rows.items() if row}
