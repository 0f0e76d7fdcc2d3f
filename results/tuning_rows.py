"""A tuning as data: what csv and json hold."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from results.leaderboard import Leaderboard
from results.spreadsheet import harmless
from results.statistics import Estimate
from results.tuning import DIVERGED, Score, Search, Tuning
from results.tuning_gains import Gain, PairGain, gains
from results.tuning_order import Order, order

if TYPE_CHECKING:
    import pandas as pd


def beside(frame: pd.DataFrame, board: Leaderboard) -> pd.DataFrame:
    """A board's frame with the columns of a tuning, filled in its tuned rows.

    tuned_from            the row of the method's own options
    configuration         the number that was chosen, 0 for the own options
    changed               the chosen options that are not the method's own, as JSON
    own_validation, chosen_validation   their accuracies on the held-out part, in percent
    gain                  points above the row of the own options on this pair, with ``gain_low``,
                          ``gain_high``, ``gain_p`` and ``gain_verdict``
    """
    tuning = board.tuning
    if tuning is None:
        return frame
    found = {gain.row: gain for gain in gains(board, tuning)}
    places = zip(frame["method"], frame["pair"], strict=True)
    rows = [_cell(tuning, found.get(method), pair) for method, pair in places]
    frame = frame.copy()
    for name in _COLUMNS:
        frame[name] = [row.get(name) for row in rows]
    return frame


_COLUMNS = (
    *("tuned_from", "configuration", "changed", "own_validation", "chosen_validation"),
    *("gain", "gain_low", "gain_high", "gain_p", "gain_verdict"),
)


def _cell(tuning: Tuning, gain: Gain | None, pair: str) -> dict[str, Any]:
    if gain is None:
        return {}
    search = tuning.search(gain.method, pair)
    one = gain.pairs[pair]
    judged = {f"gain_{name}": value for name, value in (_estimate(one.estimate) or {}).items()}
    points = {"gain": one.gain.mean if one.gain else None}
    return {"tuned_from": gain.method, **(_choice(search) if search else {}), **points, **judged}


def _choice(search: Search) -> dict[str, Any]:
    if search.chosen is None:
        return {}
    return {
        "configuration": search.chosen,
        "changed": json.dumps(search.changed, ensure_ascii=False, default=str),
        "own_validation": _score(search.values[0]),
        "chosen_validation": _score(search.values[search.chosen]),
    }


def curves_csv(board: Leaderboard, tuning: Tuning) -> str:
    """One row per search that is complete and number k of configurations, as csv.

    method, pairs    the search; the pairs of a joint choice are separated by "; "
    expected_best    the mean of the best of k configurations, and ``std`` of it over the draws
    hours            what k configurations take on average; empty where it is not on record
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, _CURVE, lineterminator="\n")
    writer.writeheader()
    for search in tuning.ordered(board.methods):
        for k, (mean, std) in enumerate(search.curve, start=1):
            values = (search.label, "; ".join(search.pairs), k, mean, std, search.hours(k))
            row = dict(zip(_CURVE, values, strict=True))
            writer.writerow({key: harmless(value) for key, value in row.items()})
    return file.getvalue()


_CURVE = ("method", "pairs", "k", "expected_best", "std", "hours")


# ---- json ----------------------------------------------------------------------------------------


def objects(board: Leaderboard) -> dict[str, Any] | None:
    """The json's ``tuning``: settings, every search with its curve, gains, orders, costs.

    Accuracies in percent, differences in points, times in seconds. ``validation`` has one number
    per configuration: null where it is not done or diverged (then its number is in ``diverged``).
    """
    tuning = board.tuning
    if tuning is None:
        return None
    ranked = order(board, tuning)
    return {
        "configs": tuning.configs,
        "seed": tuning.seed,
        "trials": tuning.trials,
        "epochs": tuning.epochs,
        "held_out": tuning.held_out,
        "teachers_given": list(tuning.given),
        "searches": [_search(search) for search in tuning.ordered(board.methods)],
        "gains": [_gain(gain) for gain in gains(board, tuning)],
        "order": _order(ranked) if ranked else None,
        "stages": [asdict(stage) for stage in tuning.stages],
    }


def _search(search: Search) -> dict[str, Any]:
    values = search.values
    return {
        "method": search.label,
        "pairs": list(search.pairs),
        "chosen": search.chosen,
        "changed": search.changed,
        "options": [dict(options) for options in search.options],
        "validation": [_score(value) for value in values],
        "diverged": [i for i, value in enumerate(values) if value == DIVERGED],
        "seconds": search.seconds,
        "expected_best": [{"mean": mean, "std": std} for mean, std in search.curve],
    }


def _score(value: Score) -> float | None:
    return None if value == DIVERGED else value


def _gain(gain: Gain) -> dict[str, Any]:
    return {
        "method": gain.method,
        "row": gain.row,
        "difference": gain.mean if gain.complete else None,
        "these_pairs": _estimate(gain.these),
        "pairs_like_these": _estimate(gain.like_these),
        "improved": gain.improved,
        "by_pair": {pair: _pair(one) for pair, one in gain.pairs.items()},
    }


def _pair(pair: PairGain) -> dict[str, Any]:
    judged = _estimate(pair.estimate)
    difference = pair.gain.mean if pair.gain else None
    return {"difference": difference, "own_options_chosen": pair.same, **(judged or {})}


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    names = ("low", "high", "p", "verdict")
    return {name: getattr(estimate, name) for name in names}


def _order(found: Order) -> dict[str, Any]:
    return {
        "own": {method: asdict(place) for method, place in found.own.items()},
        "tuned": {method: asdict(place) for method, place in found.tuned.items()},
        "tau": asdict(found.tau),
        "tau_of_repetitions": list(found.again) if found.again else None,
        "swapped": [list(pair) for pair in found.swapped],
        "separated": [list(pair) for pair in found.separated],
        "trials": found.trials,
    }
