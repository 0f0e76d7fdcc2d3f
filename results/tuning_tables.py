"""A tuning as tables of text: gains, what was chosen, best-of-k, the order of methods, the cost.

They stand below the leaderboard, whose rows have both the methods' own options and the tuned ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from results.layout import Table
from results.leaderboard import Leaderboard
from results.printed import MISSING, number, plus_minus, signed
from results.tuning import Search, Stage, Tuning, budgets
from results.tuning_gains import Gain, PairGain, gains
from results.tuning_notes import about_choices, about_curves, about_gains, about_order, about_stages
from results.tuning_order import Order, Place, order
from results.verdict_tables import interval

_SAME = "own options chosen"
_LONGEST = 40  # characters of one option's value


def tables(board: Leaderboard, cost: bool = True) -> list[Table]:
    """The tables of ``board.tuning``; empty without one, or where none of its rows is shown."""
    return list(named(board, cost).values())


def named(board: Leaderboard, cost: bool = True) -> dict[str, Table]:
    """The same by short names, for headings."""
    tuning = board.tuning
    searches = tuning.ordered(board.methods) if tuning else []
    if tuning is None or not searches:
        return {}
    found, ranked = gains(board, tuning), order(board, tuning)
    made = {
        "Own options and tuned ones": _gains(board, tuning, found) if _begun(found) else None,
        "Averages": _averages(board, found) if _begun(found) and len(board.pairs) > 1 else None,
        "Order of the methods": _order(ranked) if ranked else None,
        "What was chosen": _choices(board, tuning, searches),
        "Best of k configurations": _curves(board, searches),
        "What it cost": _stages(tuning) if cost and tuning.stages else None,
    }
    return {name: table for name, table in made.items() if table}


# ---- own and tuned -------------------------------------------------------------------------------


def _begun(found: Sequence[Gain]) -> bool:
    return any(pair.n for gain in found for pair in gain.pairs.values())


def _gains(board: Leaderboard, tuning: Tuning, found: Sequence[Gain]) -> Table:
    """A row for each method and pair."""
    rows = [
        [_named(gain.method, [pair], board), *_pair(one)]
        for gain in found
        for pair, one in gain.pairs.items()
    ]
    header = [_first(board), "Own options", "Tuned", "n", "Gain"]
    title = "Tuning: test top-1 accuracy with the method's own options and with tuned ones (%)"
    return Table(title, header, rows, notes=about_gains(board, tuning, found), is_list=True)


def _first(board: Leaderboard) -> str:
    return "Method, pair" if len(board.pairs) > 1 else "Method"


def _named(method: str, pairs: Sequence[str], board: Leaderboard) -> str:
    """ "KD, resnet56 → resnet20", "KD, 13 pairs", and of a single pair "KD"."""
    if len(board.pairs) == 1:
        return method
    return f"{method}, {pairs[0] if len(pairs) == 1 else f'{len(pairs)} pairs'}"


def _pair(pair: PairGain) -> list[str]:
    both = [plus_minus(*pair.own), plus_minus(*pair.tuned)]
    return [*both, str(pair.n) if pair.n else MISSING, _gained(pair)]


def _gained(pair: PairGain) -> str:
    if pair.same:
        return _SAME
    if pair.gain is None:
        return MISSING
    return interval(pair.estimate) if pair.estimate else signed(pair.gain.mean)


def _averages(board: Leaderboard, found: Sequence[Gain]) -> Table:
    """A row for each method, with its averages over all pairs."""
    like_these = any(gain.like_these for gain in found)
    rows = [_average(board, gain, like_these) for gain in found]
    header = ["Method", "Own options", "Tuned", "Gain, these pairs"]
    header += ["Gain, pairs like these"] * like_these + ["Improved"]
    notes = [f"{MISSING}: a pair or a trial is not there yet, or the method cannot serve a pair."]
    shown = any(not gain.complete for gain in found)
    return Table("Tuning: averages over all pairs (%)", header, rows, notes=notes * shown)


def _average(board: Leaderboard, gain: Gain, like_these: bool) -> list[str]:
    means = [number(board.average(row)) for row in (gain.method, gain.row) if row in board.methods]
    both = means if len(means) == 2 else [MISSING, *means]
    if not gain.complete:
        return [gain.method, *both, *[MISSING] * (2 + like_these)]
    these = interval(gain.these) if gain.these else signed(gain.mean)
    both += [_SAME if gain.same else these, *[interval(gain.like_these)] * like_these]
    return [gain.method, *both, f"{gain.improved}/{len(gain.pairs)}"]


# ---- the order -----------------------------------------------------------------------------------


def _order(found: Order) -> Table:
    header = ["Method", "Own options", "Rank", "Tuned", "Rank, tuned"]
    by_rank = sorted(found.own, key=lambda method: found.tuned[method].rank)
    rows = [[m, *_place(found.own[m]), *_place(found.tuned[m])] for m in by_rank]
    title = "Tuning: order of the methods by test top-1 accuracy (%)"
    return Table(title, header, rows, notes=about_order(found))


def _place(place: Place) -> list[str]:
    """ "71.20", "3 [2, 5]" """
    ends = "" if place.low is None else f" [{place.low}, {place.high}]"
    return [number(place.mean), f"{place.rank}{ends}"]


# ---- what was chosen -----------------------------------------------------------------------------


def _choices(board: Leaderboard, tuning: Tuning, searches: Sequence[Search]) -> Table:
    unit, size = unit_of([search.seconds for search in searches])
    timed = any(search.seconds is not None for search in searches)
    rows = [
        [_named(s.label, s.pairs, board), *[_time(s.seconds, size)] * timed, *_chosen(s)]
        for s in searches
    ]
    header = [_first(board), *[f"Search ({unit})"] * timed, "Own", "Chosen", "Number", "Options"]
    title = "Tuning: what was chosen, by validation top-1 accuracy (%)"
    return Table(title, header, rows, notes=about_choices(tuning, searches), is_list=True)


def _chosen(search: Search) -> list[str]:
    own = _validation(search, 0)
    if search.chosen is None:
        return [own, MISSING, MISSING, f"not yet: {search.done} of {len(search.options)} done"]
    changed = listed(search.changed) or "its own"
    return [own, _validation(search, search.chosen), str(search.chosen), changed]


def _validation(search: Search, configuration: int) -> str:
    value = search.values[configuration]
    return MISSING if value is None else "diverged" if value < 0 else number(value)


def listed(options: Mapping[str, Any]) -> str:
    """ "kd_temperature 8.0, weight 0.5"."""
    return ", ".join(f"{key} {_value(value)}" for key, value in options.items())


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


# ---- against the budget --------------------------------------------------------------------------


def _curves(board: Leaderboard, searches: Sequence[Search]) -> Table | None:
    """A row for each search that is complete; None without one."""
    whole = [search for search in searches if search.curve]
    if not whole:
        return None
    shown = budgets(max(len(search.options) for search in whole))
    rows = [[_named(s.label, s.pairs, board), *(_best(s, k) for k in shown)] for s in whole]
    header = [_first(board), *(f"k = {k}" for k in shown)]
    title = "Tuning: expected best validation accuracy of k configurations (%)"
    return Table(title, header, rows, notes=about_curves(whole), is_list=True)


def _best(search: Search, k: int) -> str:
    if k > len(search.curve):
        return MISSING
    mean, std = search.curve[k - 1]
    return plus_minus(mean, std) if k < len(search.curve) else number(mean)  # all are drawn


# ---- what it cost --------------------------------------------------------------------------------


def _stages(tuning: Tuning) -> Table:
    """A row for each stage, and one for all of them."""
    seconds = [stage.seconds for stage in tuning.stages]
    known = [value for value in seconds if value is not None]
    total = sum(known) if len(known) == len(seconds) else None
    runs, done = (sum(getattr(stage, name) for stage in tuning.stages) for name in ("runs", "done"))
    unit, size = unit_of([*seconds, total])
    rows = [
        [s.name, f"{s.runs:,}", f"{s.done:,}", _time(s.seconds, size), _share(s.seconds, total)]
        for s in (*tuning.stages, Stage("all", runs, done, total))
    ]
    header = ["Stage", "Runs", "Done", f"Time ({unit})", "Share"]
    return Table("Tuning: what it cost", header, rows, notes=about_stages(tuning))


def unit_of(seconds: Sequence[float | None]) -> tuple[str, int]:
    """The unit that leaves the longest time a readable number, and its seconds."""
    longest = max((value for value in seconds if value is not None), default=0.0)
    return ("h", 3600) if longest >= 7200 else ("min", 60) if longest >= 120 else ("s", 1)


def _time(seconds: float | None, size: int) -> str:
    return MISSING if seconds is None else f"{seconds / size:,.1f}"


def _share(seconds: float | None, total: float | None) -> str:
    return f"{100 * seconds / total:.0f} %" if seconds is not None and total else MISSING
