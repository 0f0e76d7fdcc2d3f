"""What came of a matrix: everything that must not depend on how it was trained.

For `tools/reports/tuning_check.py`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.wording import plural
from results import records
from tests.slurm.outcomes import numbers
from tools.tuning.interrupting import Play


@dataclass(frozen=True)
class Outcome:
    """The numbers of every finished run by its id, and every choice.

    runs     accuracies, steps, the teacher, the history, and the weights' SHA-256, as recorded and
             of the file; see `tests.slurm.scenario.numbers`
    choices  per search: the method, its pairs, every configuration's options and validation
             accuracy, and the number that was chosen; empty for a matrix that does not tune
    """

    runs: dict[str, dict[str, Any]]
    choices: list[dict[str, Any]]


COMPARED = ("method", "pairs", "chosen", "changed", "options", "validation", "diverged")


def outcome(play: Play) -> Outcome:
    """Read what a play left. Raises InputError where its table cannot be printed."""
    whole = json.loads(play.call("table", "--format", "json", "--device", "cpu"))
    searches = (whole.get("tuning") or {}).get("searches", [])
    found = records.scan(play.runs)
    return Outcome(
        {record.run: numbers(directory, record) for directory, record in found},
        [{key: search[key] for key in COMPARED} for search in searches],
    )


def differences(one: Outcome, other: Outcome) -> list[str]:
    """What is not the same, bit for bit, in words; empty if all is."""
    lost, more = one.runs.keys() - other.runs.keys(), other.runs.keys() - one.runs.keys()
    both = one.runs.keys() & other.runs.keys()
    changed = {run for run in both if one.runs[run] != other.runs[run]}
    groups = {"lost": lost, "not expected": more, "different": changed}
    said = [_listed(what, runs) for what, runs in groups.items() if runs]
    return said + (["other choices"] if one.choices != other.choices else [])


def _listed(what: str, runs: set[str]) -> str:
    return f"{plural(len(runs), 'run')} {what}: {', '.join(sorted(runs)[:5])}"
