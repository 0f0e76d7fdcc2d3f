"""`table --pivot` and `table --ladder`: the sweeps, ablations and teacher ladders of a matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from experiments.errors import InputError
from experiments.matrix.method_entry import MethodEntry
from experiments.matrix.schema import Matrix
from experiments.matrix.variants import Own, label, text, variants
from experiments.plan.plan import Plan
from models.registry import near
from results import ladder, pivot, pivot_formats
from results.leaderboard import Leaderboard
from results.pivot import Family, Value
from results.pivot_formats import Printed

_BY_PAIR = Value("own")  # an own value that differs between pairs or students


def families_of(plan: Plan) -> tuple[Family, ...]:
    """The entries of a plan's matrix that vary something, with the values of all their rows."""
    return tuple(_families(plan.of_students.matrix))


def _families(matrix: Matrix) -> Iterator[Family]:
    for number, method in enumerate(matrix.methods):
        if method.is_varied:
            own = _own(matrix, method)
            found = {
                row.label: own | {key: _value(value) for key, value in row.values}
                for row in variants(matrix, method, number)
            }
            yield Family(label(method), own, found)


def _own(matrix: Matrix, method: MethodEntry) -> dict[str, Value]:
    own = Own(matrix, method)
    values = {key: own.get(key) for key in method.varied}
    return {key: _value(v) if own.has(key, v) else _BY_PAIR for key, v in values.items()}


def _value(value: Any) -> Value:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return Value(text(value), float(value) if is_number else None)


# ---- what is printed -----------------------------------------------------------------------------


def printed(board: Leaderboard, keys: Sequence[str]) -> Printed:
    """The pivots by these options, else the teacher ladders. InputError where there is none."""
    return _pivots(board, keys) if keys else _ladders(board)


def _pivots(board: Leaderboard, keys: Sequence[str]) -> Printed:
    known = pivot.options(board)
    if not known:
        raise InputError("--pivot: no row of this matrix is of a sweep: or ablate: of two values")
    for key in keys:
        if key not in known:
            raise InputError(f"--pivot {key}: no sweep: or ablate: varies it: {near(key, known)}")
    found = list(pivot.pivots(board, keys))
    if not found:
        raise InputError(f"--pivot {' '.join(keys)}: no sweep: or ablate: varies both of them")
    return pivot_formats.of_pivots(board, found)


def _ladders(board: Leaderboard) -> Printed:
    found = ladder.ladders(board)
    if not found:
        raise InputError(
            "--ladder: no student here has two teachers: expected pairs such as "
            '"* -> resnet20", and a method that has a teacher'
        )
    return pivot_formats.of_ladders(board, found)
