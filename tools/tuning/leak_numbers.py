"""Test accuracies of a search, looked for in everything that was written.

For `tools/tuning/leak.py`. Nobody computed them: they are measured here, of the weights.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import datasets
import models
from experiments.train import evaluation
from results import records
from results.schema import Record
from tools.tuning import shuffled_labels
from tools.tuning.interrupting import PROGRAM, Play

NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?:e-?\d+)?")
DECIMALS = 4  # of a number that is an accuracy and not one by chance
FORMS = ("markdown", "csv", "json", "html", "latex")


@dataclass
class Looked:
    """How many accuracies no other run has, how many numbers were held against them, the hits."""

    told: int = 0
    numbers: int = 0
    found: list[str] = field(default_factory=list)


def look(play: Play, search: Mapping[str, Path], is_shuffled: bool) -> Looked:
    """Hold what was written against the test accuracies of a search, by run id its directories.

    Only numbers count that have so many decimals that they are not there by chance; outside the
    search's own directories, only those that are no final run's.
    """
    looked, root = Looked(), play.runs.parent
    own = [
        (directory, record) for directory, record in records.scan(play.runs) if record.run in search
    ]
    measured = {_test_accuracy(play, *found, is_shuffled) for found in own}
    secret = {value for value in measured if is_telling(value)}
    for directory, _ in own:
        _hold(looked, secret, directory.iterdir(), root)
    known = list(_of_final_runs(play, search))
    telling = {value for value in secret if is_telling(value, known)}
    looked.told = len(telling)
    others = [path for path in _written(play) if path.parent.name.rpartition("-")[2] not in search]
    _hold(looked, telling, others, root)
    return looked


def _test_accuracy(play: Play, directory: Path, record: Record, is_shuffled: bool) -> float:
    """In percent, of a run's weights, by the harness's own evaluation."""
    spec = record.spec
    with shuffled_labels.shuffling() if is_shuffled else contextlib.nullcontext():
        data = datasets.build(spec["dataset"]["name"], play.data, **spec["dataset"]["options"])
    model = models.build(spec["student"], num_classes=data.info.num_classes)
    models.load_checkpoint(model, directory / str(record.weights.file))
    return evaluation.measure(model, data, spec["recipe"]["batch_size"]).top1


def _of_final_runs(play: Play, search: Mapping[str, Path]) -> Iterator[float]:
    """What tables and pages may show: every number of final runs, and means over their trials."""
    groups: dict[tuple[str, str], list[list[float]]] = {}
    for directory, record in records.scan(play.runs):
        if record.run not in search:
            yield from (float(number) for path in directory.iterdir() for number in _numbers(path))
            key = (directory.parent.parent.name, json.dumps(record.spec["options"]))
            groups.setdefault(key, []).append(_tested(directory, record))
    for curves in groups.values():
        yield from map(statistics.fmean, zip(*curves, strict=False))


def _tested(directory: Path, record: Record) -> list[float]:
    """The test accuracies of a run's epochs, and its last."""
    lines = (directory / "history.csv").read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("test_top1")
    cells = [line.split(",")[column] for line in lines[1:]]
    return [float(cell) for cell in cells if cell] + [record.top1]


def is_telling(value: float, known: Iterable[float] = ()) -> bool:
    """Whether an accuracy is no other's, nor a number that may be found anywhere."""
    is_short = math.isclose(value, round(value, DECIMALS - 1), abs_tol=1e-9)
    return not is_short and not any(math.isclose(value, other, abs_tol=1e-3) for other in known)


def _written(play: Play) -> Iterator[Path]:
    """The runs directory, and what is made of it: tables, a board, pages."""
    made = play.runs.parent / "made"
    made.mkdir(exist_ok=True)
    for form in FORMS:
        play.call("table", "--device", "cpu", "--format", form, "--output", str(made / f"t.{form}"))
    play.ask([*PROGRAM, "collect", str(play.runs), "--output", str(made / "board.jsonl")])
    play.call("report", "--device", "cpu", "--output", str(made / "pages"))
    for root in (made, play.runs):
        yield from (path for path in root.rglob("*") if path.is_file())


def _hold(looked: Looked, secret: Iterable[float], files: Iterable[Path], root: Path) -> None:
    """Hold the numbers of these files, with all their decimals, against accuracies."""
    values = sorted(secret)
    for path in files:
        numbers = _numbers(path)
        looked.numbers += len(numbers)
        hits = sorted(number for number in numbers if is_one_of(number, values))
        looked.found += [f"{path.relative_to(root)}: {hit}" for hit in hits]


def _numbers(path: Path) -> set[str]:
    """The numbers of a file that have enough decimals, as they are written."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    return {number for number in NUMBER.findall(text) if places(number) >= DECIMALS}


def places(number: str) -> int:
    """How many decimals a written number has."""
    return len(number.partition("e")[0].partition(".")[2])


def is_one_of(number: str, values: Iterable[float]) -> bool:
    """Whether a written number is one of these percentages, or one as a fraction, rounded."""
    value, near = float(number), 0.5 * 10.0 ** -places(number) + 1e-12
    return any(abs(value - v) <= near or abs(value - v / 100) <= near for v in values)
