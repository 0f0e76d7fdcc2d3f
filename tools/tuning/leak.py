"""Whether the labels of the test part reach the choice of a tuned matrix.

For `tools/reports/tuning_check.py`. The matrix is trained in two worlds that differ in nothing
but the labels of the test images: their own, and those of others. What is equal in both cannot
depend on them. Then every number with four decimals in the runs directory, tables, boards and pages
is held against the test accuracies of the configurations, measured here for that.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from results import records
from results.layout import Table
from tools.reports import shared
from tools.tuning import leak_numbers, shuffled_labels
from tools.tuning.interrupting import Play, undisturbed
from tools.tuning.outcome import Outcome, outcome

WORLDS = ("true labels", "shuffled labels")
PLUGIN = Path(__file__).with_name("shuffled_labels_plugin.py")
SEARCH = ("teachers of the search", "search")
# What a result says of the machine and the data, not of the run; the data's hash has all labels.
OF_THE_START = ("seconds", "images_per_second", "peak_memory_bytes", "starts", "data")


@dataclass
class Finding:
    """What two worlds have in common and what not.

    changed  what differs and must not; ``found``: test accuracies of the search that are somewhere
    """

    matrix: str
    runs: int = 0
    choices: int = 0
    tuned: int = 0
    moved: int = 0
    told: int = 0
    numbers: int = 0
    changed: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.changed or self.found) and self.choices > 0 and self.moved > 0

    def table(self) -> Table:
        rows = [
            ["choices with all options, numbers and validation accuracies", str(self.choices)],
            ["runs of the search, every file but what tells of the machine", str(self.runs)],
            ["weights of the final runs", str(self.tuned)],
            ["… of which the test accuracy differs, as it must", str(self.moved)],
            ["what is not equal and should be", "; ".join(self.changed) or "none"],
            ["test accuracies of configurations that no other run has", str(self.told)],
            ["numbers held against them", f"{self.numbers:,}"],
            ["places where one was found", "; ".join(self.found[:10]) or "none"],
        ]
        notes = [
            "the matrix trained twice, with the labels of the test images and with those of others "
            "in their place; equal: bit for bit.",
            "numbers: those with four decimals or more in every file of the runs directory, in the "
            "table (in all formats), the board and the pages. The accuracies they are held against "
            "were measured for this, of the weights; left out are those of fewer decimals and, "
            "outside the search's own directories, those that are a number of some final run.",
        ]
        return Table(
            f"Test labels and the choice: {self.matrix}", ["what", "equal"], rows, notes=notes
        )


def find(plain: Play, other: Play) -> Finding:
    """Train a matrix in both worlds and compare. Raises InputError where a run fails."""
    finding = Finding(plain.source.name)
    worlds = [_trained(plain, ""), _trained(other, "1")]
    _compare_choices(finding, *worlds)
    _compare_search(finding, plain, other)
    _compare_final(finding, plain, *worlds)
    for play in (plain, other):
        looked = leak_numbers.look(play, search_runs(play), play.env[shuffled_labels.SWITCH] != "")
        finding.told += looked.told
        finding.numbers += looked.numbers
        finding.found += looked.found
    return finding


def _trained(play: Play, switch: str) -> Outcome:
    play.env = {shuffled_labels.SWITCH: switch}
    play.plugin = PLUGIN
    play.data = _own_data(play)
    undisturbed(play)
    shared.progress(f"{play.source.stem}: trained with {play.runs.parent.name}")
    return outcome(play)


def _own_data(play: Play) -> Path:
    """A data root whose cache, with accuracies of teachers, is this world's alone."""
    own = play.runs.parent / "data"
    own.mkdir(parents=True, exist_ok=True)
    if own != play.data and play.data.is_dir():
        for path in play.data.iterdir():
            if path.name != ".cache" and not (own / path.name).exists():
                (own / path.name).symlink_to(path.resolve())
    return own


# ---- what must be equal --------------------------------------------------------------------------


def _compare_choices(finding: Finding, one: Outcome, other: Outcome) -> None:
    finding.choices = len(one.choices)
    if one.choices != other.choices:
        finding.changed.append("choices")


def _compare_search(finding: Finding, plain: Play, other: Play) -> None:
    """Every file of the runs of the search."""
    here, there = search_runs(plain), search_runs(other)
    finding.runs = len(here)
    if here.keys() != there.keys():
        finding.changed.append(f"runs of the search: {len(here)} and {len(there)}")
    for run in here.keys() & there.keys():
        one, two = contents(here[run]), contents(there[run])
        names = [name for name in one.keys() | two.keys() if one.get(name) != two.get(name)]
        finding.changed += [f"{name} of {here[run].parent.name} {run}" for name in sorted(names)]


def search_runs(play: Play) -> dict[str, Path]:
    """Run id -> its directory, of the search and its teachers."""
    found = records.scan(play.runs)
    return {r.run: directory for directory, r in found if play.stage_of(r.run) in SEARCH}


def contents(directory: Path) -> dict[str, Any]:
    """A run's files by name, the result without what tells of the machine and the data."""
    files: dict[str, Any] = {path.name: path.read_bytes() for path in directory.iterdir()}
    result = json.loads(files[records.RESULT])
    files[records.RESULT] = {k: v for k, v in result.items() if k not in OF_THE_START}
    return files


def _compare_final(finding: Finding, play: Play, one: Outcome, other: Outcome) -> None:
    """Weights are equal, and test accuracies are not, or nothing was shuffled."""
    final = [run for run in one.runs if play.stage_of(run) not in SEARCH]
    finding.tuned = len(final)
    for run in final:
        there = other.runs.get(run)
        if there is None or one.runs[run]["weights"] != there["weights"]:
            finding.changed.append(f"weights of {run}")
        elif one.runs[run]["accuracy"] != there["accuracy"]:
            finding.moved += 1
