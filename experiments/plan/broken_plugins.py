"""Go on without a matrix's plugins that cannot be imported: only their own runs are left out.

What a broken plugin would register is not known, so the runs that are left out are those of methods
and networks that nobody registers. They are named; nothing is counted of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import datasets
import models
from experiments.errors import together
from experiments.matrix import known
from experiments.matrix.method_entry import MethodEntry
from experiments.matrix.pairs import PairEntry
from experiments.matrix.schema import Matrix
from experiments.wording import plural


@dataclass(frozen=True)
class LeftOut:
    """What a plan lacks: ``runs`` of the matrix, because of the plugins in ``broken``.

    broken  one line per plugin, with file and line
    names   the methods and networks that are unknown without them
    """

    broken: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    runs: int = 0

    def __bool__(self) -> bool:
        return bool(self.broken)


NOTHING = LeftOut()


def without(matrix: Matrix, broken: Sequence[str], source: str) -> tuple[Matrix, LeftOut]:
    """The part of a matrix that does not need its ``broken`` plugins, and what is left out.

    Raises InputError with all of ``broken`` where nothing is left.
    """
    if not broken:
        return matrix, NOTHING
    unknown = [*_unknown_methods(matrix.methods), *_unknown_in(matrix.pairs)]
    methods = tuple(m for m in matrix.methods if m.name not in unknown)
    pairs = tuple(p for p in matrix.pairs if not _names(p) & set(unknown))
    if not methods or not pairs or matrix.dataset.name not in datasets.names():
        error = together(broken)
        assert error is not None  # there is at least one
        raise error
    part = matrix.model_copy(
        update={"methods": methods, "pairs": pairs, **_known_only(matrix, pairs)}
    )
    left = LeftOut(tuple(broken), tuple(dict.fromkeys(unknown)), _count(matrix) - _count(part))
    return part, left


def tell(left: LeftOut) -> None:
    """Say on standard error what is left out and why, one line per plugin."""
    for problem in left.broken:
        print(f"note: left out a plugin that is broken: {problem}", file=sys.stderr)
    if left.runs:
        names = ", ".join(left.names)
        print(f"note: left out its {plural(left.runs, 'run')}, of {names}", file=sys.stderr)


def _unknown_methods(methods: Iterable[MethodEntry]) -> list[str]:
    return [method.name for method in methods if not known.is_method(method.name)]


def _unknown_in(pairs: Iterable[PairEntry]) -> list[str]:
    """Networks, and methods of assistants."""
    names = dict.fromkeys(name for pair in pairs for name in pair.networks)
    methods = dict.fromkeys(link.by for pair in pairs for link in pair.links if link.by)
    return [
        *(name for name in names if not known.is_model(name)),
        *(name for name in methods if not known.is_method(name)),
    ]


def _names(pair: PairEntry) -> set[str]:
    """Those of a pair's networks, and of the methods that train its assistants."""
    return {*pair.networks, *(link.by for link in pair.links if link.by)}


def _known_only(matrix: Matrix, pairs: Sequence[PairEntry]) -> dict[str, object]:
    """Other keys of the matrix that name networks, without those that are left out."""
    registered = models.names()
    rates = matrix.recipe.lr_exceptions
    kept = {
        pattern: rate
        for pattern, rate in rates.items()
        if any(fnmatchcase(n, pattern) for n in registered)
    }
    return {
        "teachers": {
            name: entry
            for name, entry in matrix.teachers.items()
            if any(pair.can_begin_with(name) for pair in pairs)
        },
        "recipe": matrix.recipe.model_copy(update={"lr_exceptions": kept}),
    }


def _count(matrix: Matrix) -> int:
    return matrix.rows * len(matrix.pairs) * matrix.trials
