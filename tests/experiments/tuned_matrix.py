"""A matrix that tunes, as if all its runs were done; their accuracies tell them apart."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from experiments.commands import tuned
from experiments.matrix.expansion import Expansion
from experiments.matrix.run_spec import RunSpec
from experiments.matrix.schema import Matrix
from experiments.plan import choosing
from experiments.rundir.status import State, Status
from results.schema import Record
from results.tuning import Tuning
from tests.experiments import cli
from tests.results.example import document

PAIRS = ["resnet14 -> resnet8", "resnet20 -> resnet8"]
SHOWN = ("resnet14 → resnet8", "resnet20 → resnet8")
METHODS = [{"name": "vanilla", "tune": False}, "kd", "at"]
ROWS = ("Student alone", "KD", "KD (tuned)", "AT", "AT (tuned)")
BEST = {"KD": 2, "AT": 0}  # the configurations that score best on the held-out part
TEST, VALIDATION = 60.0, 40.0


def tuning_matrix(**changes: Any) -> dict[str, Any]:
    """The matrix as it is written."""
    given = {"methods": METHODS, "pairs": PAIRS, "trials": 2, "tune": {"configs": 3}}
    return cli.changed(**{**given, **changes})


def expanded(**changes: Any) -> Expansion:
    return cli.expansion(**tuning_matrix(**changes))


def record_of(spec: RunSpec, top1: float) -> Record:
    made = document(top1, run=spec.id, seconds=100.0, spec=spec.dump())
    if spec.dataset.scored_on == "validation":
        made["accuracy"] = {"last": {"top1": top1, "epoch": 1}, "samples": 36}
    return Record.model_validate(made)


def scores_of(expansion: Expansion) -> dict[str, float]:
    """Search runs by configuration, final runs by method: all told apart at a glance."""
    known = {spec.id: VALIDATION for spec in expansion.teachers}
    for one in expansion.candidates:
        known[one.spec.id] = VALIDATION + (5 if one.number == BEST[one.label] else one.number)
    for entry in expansion.entries:
        known[entry.spec.id] = TEST + 3 * ROWS.index(entry.label) + entry.spec.trial / 4
    return known


def statuses_of(
    expansion: Expansion, without: Collection[str] = (), **other: Status
) -> dict[str, Status]:
    """All runs done, but those of ``without``; ``other``: run -> another status."""
    scores = scores_of(expansion)
    made = {
        spec.id: Status(spec, State.TODO)
        if spec.choice or spec.id in without
        else Status(spec, State.DONE, record=record_of(spec, scores[spec.id]))
        for spec in expansion.runs
    }
    return made | other


def gathered(expansion: Expansion, statuses: dict[str, Status], **changes: Any) -> Tuning:
    matrix = Matrix.model_validate(tuning_matrix(**changes))
    plan: Any = SimpleNamespace(matrix=matrix, expansion=expansion)
    found = tuned.tuning_of(plan, statuses)
    assert found is not None
    return found


def whole(**changes: Any) -> tuple[Expansion, Tuning]:
    """A tuning of which everything is done."""
    first = expanded(**changes)
    expansion = choosing.settled(first, statuses_of(first))
    return expansion, gathered(expansion, statuses_of(expansion), **changes)


def written(folder: Path) -> Path:
    """The folder with the matrix, and a board file of all its runs, all.jsonl."""
    cli.write(folder, **tuning_matrix())
    expansion, _ = whole()
    records = [s.record for s in statuses_of(expansion).values() if s.record]
    lines = [record.model_dump(exclude_unset=True) for record in records]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "all.jsonl").write_text(text)
    return folder
