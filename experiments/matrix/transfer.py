"""Linear probes: how well a matrix's trained students transfer to other data sets.

A probe is a run like any other, on the other data set and without a teacher; its network is a
trained student, frozen, under a new linear layer. A matrix has one probe of every student for each
data set in its ``transfer:`` block; ``--transfer NAME`` makes a command work on them.
"""

from __future__ import annotations

from dataclasses import replace

import distillers
from experiments.errors import InputError
from experiments.matrix.data_of import data_spec
from experiments.matrix.expansion import Expansion, Facts
from experiments.matrix.recipes import Recipes
from experiments.matrix.run_spec import RunSpec, SourceSpec
from experiments.matrix.schema import Matrix
from models.registry import near


def matrix_of(matrix: Matrix, name: str, source: str) -> Matrix:
    """The matrix of the probes on the data set ``name``. Raises InputError naming ``source``."""
    if matrix.transfer is None:
        raise InputError(f"{source}: transfer: no such block, which --transfer needs")
    targets = {entry.name: entry for entry in matrix.transfer.datasets}
    if name not in targets:
        raise InputError(f"{source}: transfer: no data set {name!r}: {near(name, targets)}")
    return matrix.model_copy(
        update={
            "dataset": targets[name],
            "recipe": matrix.transfer.recipe_on(matrix.recipe),
            "teacher_recipe": {},
            "teachers": {},
        }
    )


def expand(base: Expansion, matrix: Matrix, facts: Facts, source: str) -> Expansion:
    """One probe of every student of ``base``; ``matrix`` comes from `matrix_of`. Pure.

    Students whose options are still to be chosen are left out.
    """
    assert matrix.transfer is not None  # matrix_of
    data, recipes = data_spec(matrix, facts), Recipes(matrix, source)
    entries = []
    for entry in base.entries:
        trained = entry.spec
        if trained.choice:  # its options are still to be chosen
            continue
        probe = RunSpec(
            dataset=data,
            student=trained.student,
            method_version=distillers.find("vanilla").version,
            options=distillers.defaults("vanilla"),
            trial=trained.trial,
            recipe=recipes.student(trained.student),
            plugins=trained.plugins,
            source=SourceSpec(
                run=trained.id,
                dataset=trained.dataset.name,
                method=trained.method,
                bn_mode=matrix.transfer.bn_mode,
            ),
        )
        entries.append(replace(entry, spec=probe))
    return Expansion(tuple(entries), ())


def note(bn_mode: str) -> str:
    """The caption of a table of probes."""
    norms = {
        "eval": "with the statistics they were trained with",
        "train": "with the statistics of the new data's batches",
    }
    return f"Linear probes of frozen students, batch norms {norms[bn_mode]}"
