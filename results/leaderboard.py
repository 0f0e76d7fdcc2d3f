"""Records to leaderboard: the statistics. Pure data in, pure data out; tables.py does the text.

The headline of a cell (pair × method) is the test top-1 accuracy at the last epoch, as mean and
sample standard deviation (ddof 1) over the trials. A cell counts, for averages and for bold print,
only when all its trials are there; an average over pairs exists only when all its pairs count.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results import caveats
from results.cells import STUCK, UNSUPPORTED, Cell, TeacherScores, of_one_protocol
from results.schema import Record
from results.statistics import LEVEL
from results.verdicts import Verdicts, verdicts

if TYPE_CHECKING:
    import pandas as pd

    from results.pivot import Family
    from results.published_comparison import Comparison
    from results.tuning import Tuning

NAN = float("nan")


@dataclass(frozen=True)
class Leaderboard:
    """A table's numbers. Made by ``leaderboard``.

    frame       one row per pair × method, in the given order: pair, method, mean, std, n, expected,
                missing, complete, best_mean, best_std, best_epoch (their mean), best_split (what
                the best epoch was picked and scored on), validation_mean, validation_std, failed,
                blocked, stale, lost (how many runs are), reason (why the cell cannot be), teacher,
                teacher_accuracy; NaN where there is none
    cost_frame  one row per method: means over all pairs of seconds, images_per_second,
                extra_parameters, extra_at_test, peak_memory_bytes; step_by_kd, a step's time
                relative to KD's, where KD is a row; NaN where a pair is not complete
    cells       the runs it was made of
    all_pairs   how many pairs the matrix has, where it has more than are shown; else 0
    published   published results beside it, one entry per source
    validation_notes  what must be said below accuracies on the held-out part
    tuning      of a matrix that tunes: what was tried and chosen
    families    the rows of sweeps and ablations, by what they vary: see `pivot`
    """

    dataset: str
    pairs: tuple[str, ...]
    methods: tuple[str, ...]
    frame: pd.DataFrame
    cost_frame: pd.DataFrame
    teachers: Mapping[str, TeacherScores]
    cells: tuple[Cell, ...]
    recipe: str = ""
    exceptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    validation_notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    baseline: str | None = None
    level: float = LEVEL  # the share of tables that may hold a false verdict
    all_pairs: int = 0
    published: tuple[Comparison, ...] = ()
    measures: tuple[str, ...] = ()  # beyond top-1, in the frame: see `measure_tables`
    tuning: Tuning | None = None
    families: tuple[Family, ...] = ()

    @functools.cached_property
    def verdicts(self) -> Verdicts:
        """What the test accuracies of the last epoch allow to conclude."""
        return verdicts(of_one_protocol(self.cells), self.baseline, level=self.level)

    @functools.cached_property
    def departing(self) -> frozenset[str]:
        """The methods of another recipe or other data than the table's: nothing is compared."""
        return frozenset(cell.method for cell in self.cells if cell.departs)

    def teacher(self, pair: str) -> tuple[float, float]:
        """Mean and standard deviation of the pair's teachers; NaN where there is none."""
        return summary(self.teachers[pair].accuracies) if pair in self.teachers else (NAN, NAN)

    def exceptions_beside(self, rows: Iterable[str]) -> list[str]:
        """The exceptions without those of these rows, which begin with a row's label."""
        begin = tuple(f"{row}{end}" for row in rows for end in (": ", ", "))
        return [text for text in self.exceptions if not text.startswith(begin)]

    def average(self, method: str, column: str = "mean") -> float:
        """Mean over all pairs of one column; NaN unless every cell of the row is complete."""
        rows = self.frame[self.frame["method"] == method]
        return _mean_of(rows[column].tolist()) if rows["complete"].all() else NAN

    def delta(self, method: str, column: str = "mean") -> float:
        """How far the row's average is above the baseline's, in points; NaN as for ``average``.

        NaN also for a row that is not comparable, see `departing`.
        """
        if self.baseline is None or method in self.departing:
            return NAN
        return self.average(method, column) - self.average(self.baseline, column)


def leaderboard(
    cells: Sequence[Cell],
    teachers: Mapping[str, TeacherScores],
    *,
    dataset: str,
    recipe: str = "",
    exceptions: Sequence[str] = (),
    notes: Sequence[str] = (),
    validation_notes: Sequence[str] = (),
    baseline: str | None = None,
    level: float = LEVEL,
) -> Leaderboard:
    """The leaderboard of ``cells``, one per planned run; rows and columns keep their order.

    teachers    by pair; a pair may lack one
    recipe      one line: epochs, batch size, optimiser, learning rate, schedule, precision
    exceptions  where single pairs or methods leave the recipe
    baseline    the row that the column Δ is taken against, usually "Student alone"

    ValueError when there are no cells, a run is given twice, or the baseline is no row.
    """
    groups = _grouped(cells)
    pairs, methods = (tuple(dict.fromkeys(key[i] for key in groups)) for i in (0, 1))
    if baseline is not None and baseline not in methods:
        raise ValueError(f"baseline {baseline!r} is not a row: {', '.join(methods)}")
    frame = _frame(groups, pairs, methods, teachers)
    paired = any(len(teacher.accuracies) > 1 for teacher in teachers.values())
    return Leaderboard(
        dataset=dataset,
        pairs=pairs,
        methods=methods,
        frame=frame,
        cost_frame=_cost_frame(groups, frame, methods),
        teachers=teachers,
        cells=tuple(cells),
        recipe=recipe,
        exceptions=tuple(exceptions),
        notes=(*notes, *caveats.not_compute_matched(cells)),
        validation_notes=tuple(validation_notes),
        warnings=tuple(caveats.warnings(cells, paired)),
        baseline=baseline,
        level=level,
    )


Groups = dict[tuple[str, str], list[Cell]]


def _grouped(cells: Sequence[Cell]) -> Groups:
    if not cells:
        raise ValueError("a leaderboard needs at least one cell, got none")
    groups: Groups = {}
    known: set[tuple[str, str, int]] = set()
    for cell in cells:
        if (cell.pair, cell.method, cell.trial) in known:
            raise ValueError(f"{cell.pair}, {cell.method}: trial {cell.trial} is given twice")
        known.add((cell.pair, cell.method, cell.trial))
        groups.setdefault((cell.pair, cell.method), []).append(cell)
    return groups


def summary(values: Sequence[float | None]) -> tuple[float, float]:
    """Mean and sample standard deviation (ddof 1).

    NaN where too few values define one, and both when a value is missing.
    """
    present = [value for value in values if value is not None]
    defined = len(present) == len(values) > 1
    return _mean_of(values), statistics.stdev(present) if defined else NAN


def _mean_of(values: Sequence[float | None]) -> float:
    """The mean; NaN for no values, or when one is missing: never over what happens to be there."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present and len(present) == len(values) else NAN


def _frame(
    groups: Groups,
    pairs: Sequence[str],
    methods: Sequence[str],
    teachers: Mapping[str, TeacherScores],
) -> pd.DataFrame:
    """A combination that nobody planned is a row too: it is missing, like the others."""
    import pandas as pd  # here: most commands make no table, and it takes 0.3 s

    trials = max(len(group) for group in groups.values())
    rows = []
    for method in methods:
        for pair in pairs:
            numbers = _numbers(groups.get((pair, method), []), trials)
            teacher = teachers.get(pair, TeacherScores("", ()))
            extra = {"teacher": teacher.name, "teacher_accuracy": _mean_of(teacher.accuracies)}
            rows.append({"pair": pair, "method": method, **numbers, **extra})
    return pd.DataFrame(rows)


def _numbers(group: Sequence[Cell], planned: int) -> dict[str, Any]:
    """One cell's statistics. It is impossible only if no trial was ever recorded."""
    accuracies = [cell.record.accuracy for cell in group if cell.record is not None]
    mean, std = summary([accuracy.last.top1 for accuracy in accuracies])
    best = [accuracy.best for accuracy in accuracies]
    best_mean, best_std = summary([one.top1 for one in best])
    held_out = [accuracy.validation for accuracy in accuracies]
    validation_mean, validation_std = summary([one.top1 if one else None for one in held_out])
    reasons = [cell.reason for cell in group if cell.state == UNSUPPORTED and cell.reason]
    reason = reasons[0] if reasons and not accuracies else None
    expected = 0 if reason else len(group) or planned
    return {
        "mean": mean,
        "std": std,
        "n": len(accuracies),
        "expected": expected,
        "missing": expected - len(accuracies),
        "complete": len(accuracies) == expected > 0,
        "best_mean": best_mean,
        "best_std": best_std,
        "best_epoch": _mean_of([one.epoch for one in best]),
        "best_split": next((one.split for one in best if one.split), "test"),
        "validation_mean": validation_mean,
        "validation_std": validation_std,
        **{state: sum(cell.state == state for cell in group) for state in STUCK},
        "reason": reason,
    }


_COSTS: dict[str, Callable[[Record], float | None]] = {
    "seconds": lambda record: record.seconds,
    "images_per_second": lambda record: record.images_per_second,
    "extra_parameters": lambda record: record.parameters.extra,
    "extra_at_test": lambda record: record.parameters.extra_at_test,
    "peak_memory_bytes": lambda record: _device_memory(record),
}


def _device_memory(record: Record) -> float | None:
    """None for a CPU: there it is the whole process's, which says nothing of a method."""
    on_cpu = any((start.device or "").startswith("cpu") for start in record.starts)
    return None if on_cpu else record.peak_memory_bytes


def _cost_frame(groups: Groups, frame: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Per method the mean over pairs of the means over trials, under the rule of averages."""
    import pandas as pd

    complete = frame.groupby("method")["complete"].all()
    by_method: dict[str, list[list[Cell]]] = {method: [] for method in methods}
    for (_, method), group in groups.items():
        by_method[method].append(group)
    rows = []
    for method, cells in by_method.items():
        row: dict[str, Any] = {"method": method}
        for name, cost in _COSTS.items():
            means = [_mean_of([cost(c.record) for c in group if c.record]) for group in cells]
            row[name] = statistics.fmean(means) if complete[method] else NAN
        rows.append(row)
    costs = pd.DataFrame(rows)
    kd = [method for method, cells in by_method.items() if _is_kd(cells)]
    speed = costs["images_per_second"]
    costs["step_by_kd"] = float(speed[costs["method"] == kd[0]].iloc[0]) / speed if kd else NAN
    return costs


def _is_kd(cells: Sequence[Sequence[Cell]]) -> bool:
    """The row that costs are usually compared with: Hinton's KD, whatever its options."""
    records = [cell.record for group in cells for cell in group if cell.record]
    return bool(records) and all(r.spec.get("method") == "kd" for r in records)
