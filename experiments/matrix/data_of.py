"""The data set of a matrix, as its runs see it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import datasets
from datasets.places import is_own_data
from experiments.matrix.expansion import Facts
from experiments.matrix.run_spec import DataSpec, data_defaults
from experiments.matrix.schema import Matrix


def data_spec(
    matrix: Matrix, facts: Facts, own: Mapping[str, Any] = MappingProxyType({})
) -> DataSpec:
    """The matrix's data set with all options that can change a result.

    ``own``: in place of the matrix's, options and ``subset`` of an entry.
    """
    dataset = matrix.dataset
    placement = functools.partial(datasets.is_placement, dataset.name)
    given = {k: v for k, v in {**dataset.options, **own}.items() if not placement(k)}
    subset = given.pop("subset", dataset.subset)
    options = {**data_defaults(dataset.name), **given}
    spec = DataSpec(
        name=dataset.name, subset=subset, validation=dataset.validation, options=options
    )
    content = facts.content_of(spec) if facts.content_of else facts.content
    return spec.model_copy(update={"content": content})


def needs_content(matrix: Matrix) -> bool:
    """Whether the data is the user's own, so that its content is part of the runs' identity."""
    return any(is_own_data(option) for option in matrix.dataset.options)
