"""Pairs whose teacher is a pattern, replaced by a pair for each network that fits."""

from __future__ import annotations

from collections.abc import Iterator

import models
from experiments.errors import InputError, together
from experiments.matrix.pairs import PairEntry, fits
from experiments.matrix.schema import Matrix
from models.registry import near


def concrete(matrix: Matrix, source: str) -> Matrix:
    """The matrix with no pattern among its pairs.

    "resnet* -> resnet20" stands for a pair with each network of the zoo that fits, in alphabetical
    order, but the student itself; pairs that are there already are not added again. Networks with
    "/" in their names fit patterns that have one; those that ``teachers:`` gives fit all the same.

    Raises InputError naming ``source`` for a pattern that fits nothing, and for what `Matrix` says
    of the pairs that result. Plugins that register networks have been imported.
    """
    if not any(pair.is_pattern for pair in matrix.pairs):
        return matrix
    written = {str(pair) for pair in matrix.pairs}
    pairs: dict[str, PairEntry] = {}
    for i, pair in enumerate(matrix.pairs):
        found = list(_standing_for(pair, matrix)) if pair.is_pattern else [pair]
        if not found:
            hint = near(pair.roots[0], models.names())
            raise InputError(f"{source}: pairs.{i}: no network fits {pair.roots[0]!r}: {hint}")
        new = {str(one): one for one in found}
        pairs |= {text: one for text, one in new.items() if one is pair or text not in written}
    resolved = matrix.model_copy(update={"pairs": tuple(pairs.values())})
    error = together(f"{source}: {problem}" for problem in resolved.problems())
    if error:
        raise error
    return resolved


def _standing_for(pair: PairEntry, matrix: Matrix) -> Iterator[PairEntry]:
    """The pairs that a pattern stands for."""
    pattern = pair.roots[0]
    known = [name for name in models.names() if "/" in pattern or "/" not in name]
    for name in sorted({*known, *matrix.teachers}):
        if fits(name, pattern) and name not in pair.networks:
            yield pair.beginning_with(name)
