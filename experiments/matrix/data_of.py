"""The data set of a matrix, as its runs see it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import datasets
from datasets.places import is_own_data
from experiments.matrix.expansion import Facts
from experiments.matrix.run_spec import DataSpec, ScoredOn, data_defaults
from experiments.matrix.schema import Matrix
from experiments.matrix.tune_entry import HOLD_OUT


def data_spec(
    matrix: Matrix,
    facts: Facts,
    own: Mapping[str, Any] = MappingProxyType({}),
    scored_on: ScoredOn = "test",
) -> DataSpec:
    """The matrix's data set with all options that can change a result.

    own        in place of the matrix's, options and ``subset`` of an entry
    scored_on  "validation" for runs of a search: the part held out for it; other runs of a matrix
               that tunes train on the whole training set
    """
    dataset = matrix.dataset
    placement = functools.partial(datasets.is_placement, dataset.name)
    given = {k: v for k, v in {**dataset.options, **own}.items() if not placement(k)}
    subset = given.pop("subset", dataset.subset)
    options = {**data_defaults(dataset.name), **given}
    spec = DataSpec(
        name=dataset.name,
        subset=subset,
        validation=_held_out(matrix, scored_on),
        options=options,
        scored_on=scored_on,
    )
    content = facts.content_of(spec) if facts.content_of else facts.content
    return spec.model_copy(update={"content": content})


def _held_out(matrix: Matrix, scored_on: ScoredOn) -> int | float | None:
    given = matrix.dataset.validation
    if matrix.tune is None:
        return given
    return given or HOLD_OUT if scored_on == "validation" else None


def needs_content(matrix: Matrix) -> bool:
    """Whether the data is the user's own, so that its content is part of the runs' identity."""
    return any(is_own_data(option) for option in matrix.dataset.options)
