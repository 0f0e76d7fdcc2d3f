"""What must be said below a table about the records it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import fmean, stdev
from typing import Any

from results.cells import Cell, of_one_protocol
from results.provenance import code_warnings, productive, submission_warnings
from results.schema import Record, Start

DATA = "data"
MIXED, UNCOMMITTED = "mixed", "uncommitted changes in the code"
_MOST_NAMES = 4  # methods named per group, before "…": a table may have sixty

Run = tuple[str, Record]  # a method's label, and one of its runs


def warnings(cells: Sequence[Cell], paired_teachers: bool = False) -> list[str]:
    """The records' own warnings, each once, then every way in which the records do not match.

    ``paired_teachers`` says that each trial has a teacher of its own, as the matrix wanted it.
    """
    done = [(cell, cell.record) for cell in cells if cell.record is not None]
    # Pairs share their baselines, which must not be counted once per pair.
    runs = list({record.run: (cell.method, record) for cell, record in done}.values())
    # Rows that are meant to be on other data are named as such, see `Cell.departs`.
    alike = {c.record.run: (c.method, c.record) for c in of_one_protocol(cells) if c.record}
    mixtures = [*_mixtures(runs, alike.values()), *_uncommitted(runs)]
    return [
        *dict.fromkeys(text for _, record in done for text in _own(record)),
        *mixtures,
        *_code_changes(runs, mixtures),
        *_mixed_teachers(done, paired_teachers),
        *_weak_teachers([(cell, record) for cell, record in done if not cell.departs]),
    ]


def of_a_collection(runs: Sequence[Run]) -> list[str]:
    """Every way in which runs of several tables, or of several people, do not match."""
    return [
        *(text for name in _BY_PROTOCOL for text in mixture(runs, name, _PROPERTIES[name])),
        *mixture(runs, "numerics", _numerics),
        *_uncommitted(runs),
        *_teachers_of_other_weights(runs),
    ]


def not_compute_matched(cells: Sequence[Cell]) -> list[str]:
    """One sentence about the methods that computed more than the recipe says, if any."""
    more: dict[str, str] = {}
    for cell in cells:
        if cell.record is None:
            continue
        schedule = cell.record.schedule
        before, views = schedule.initial_epochs, schedule.views
        extra = [f"{schedule.epochs}+{before} epochs"] if before else []
        extra += [f"{views} views of every image"] if views > 1 else []
        if extra:
            more[cell.method] = " and ".join(extra)
    listed = "; ".join(f"{method} ({extra})" for method, extra in more.items())
    return [f"Not compute-matched: {listed}"] if listed else []


def _own(record: Record) -> list[str]:
    """A record's warnings, but not those about code: `_code_changes` gives them with methods."""
    about_code = code_warnings(record.starts)
    return [text for text in record.warnings if text not in about_code]


def _mixtures(runs: Iterable[Run], alike: Iterable[Run]) -> list[str]:
    """One sentence per property in which runs of one table differ; of the data, those ``alike``."""
    return [
        text
        for name, value in _PROPERTIES.items()
        for text in mixture(alike if name == DATA else runs, name, value)
    ]


def mixture(runs: Iterable[Run], name: str, value: Callable[[Record], str]) -> list[str]:
    """One sentence about a property in which the runs differ, none where they do not."""
    groups = _grouped(runs, value)
    groups.pop("", None)  # not recorded
    return [f"{MIXED} {name}: {_describe(groups)}"] if len(groups) > 1 else []


def _uncommitted(runs: Iterable[Run]) -> list[str]:
    """Runs with uncommitted changes; by their hashes where two of one commit differ."""
    dirty = [run for run in runs if any(start.dirty for start in _starts(run[1]))]
    changes = {(_commits(record), _changes(record)) for _, record in dirty}
    known = [commit for commit, hashes in changes if hashes]
    if len(set(known)) < len(known):
        groups = _grouped(dirty, lambda record: _changes(record) or "unknown")
        return [f"{MIXED} {UNCOMMITTED}: {_describe(groups)}"]
    methods = [method for method, _ in dirty]
    return [f"{UNCOMMITTED}: {_count(methods, named=True)}"] if dirty else []


def _code_changes(runs: Iterable[Run], mixtures: Iterable[str]) -> list[str]:
    """Code that was not the submitted one, or that changed on the way.

    The latter only where no mixture shows it already.
    """
    telling = (f"{MIXED} commits", f"{MIXED} {UNCOMMITTED}")
    is_shown = any(text.startswith(telling) for text in mixtures)
    groups: dict[str, list[str]] = {}
    for method, record in runs:
        starts = _starts(record)
        for text in submission_warnings(starts) if is_shown else code_warnings(starts):
            groups.setdefault(text, []).append(method)
    return [f"{text}: {_count(methods, named=True)}" for text, methods in groups.items()]


def _mixed_teachers(done: Iterable[tuple[Cell, Record]], paired: bool) -> list[str]:
    """Pairs whose students had teachers of different weights.

    In a chain, every method may train an assistant of its own.
    """
    weights: dict[tuple[str, int | None], dict[str, None]] = {}
    for cell, record in done:
        if record.teacher and record.teacher.sha256 and not _is_chain(cell.pair):
            key = (cell.pair, cell.trial if paired else None)
            other_pixels = " on other pixels" if record.teacher.pixels else ""
            weights.setdefault(key, {})[record.teacher.sha256[:8] + other_pixels] = None
    return [
        f"{pair}{'' if trial is None else f', trial {trial}'}: "
        f"students of different teachers (weights {', '.join(hashes)})"
        for (pair, trial), hashes in weights.items()
        if len(hashes) > 1
    ]


def _is_chain(pair: str) -> bool:
    """Whether a pair's teacher has a teacher: "A → B → C", or as a matrix writes it."""
    return pair.count("→") + pair.count("->") > 1


def _weak_teachers(done: Iterable[tuple[Cell, Record]]) -> Iterator[str]:
    """Teachers that are worse than the student of their pair is alone."""
    alone: dict[str, list[Record]] = {}
    teachers: dict[str, dict[tuple[str | None, float], None]] = {}
    for cell, record in done:
        used = record.teacher
        if is_alone(record):
            alone.setdefault(cell.pair, []).append(record)
        elif used and used.accuracy is not None:
            teachers.setdefault(cell.pair, {})[used.sha256, float(used.accuracy)] = None
    for pair, found in teachers.items():
        accuracies = [accuracy for _, accuracy in found]
        yield from below_student(pair, accuracies, alone.get(pair, []))


def is_alone(record: Record) -> bool:
    """Whether a record is of a student that learned from labels only."""
    spec = record.spec
    return spec.get("method") == "vanilla" and not (spec.get("teacher") or spec.get("source"))


def below_student(pair: str, teachers: Sequence[float], alone: Sequence[Record]) -> Iterator[str]:
    """One sentence if a pair's teachers are worse than its student alone by more than noise.

    Noise are two standard errors of the difference: each mean's from its trials or, if that is
    larger, from the size of the test set, since other images would have given other accuracies.
    """
    samples = min((r.accuracy.samples or 0 for r in alone), default=0)
    if not (samples and teachers):
        return
    students = [record.top1 for record in alone]
    theirs, own = fmean(students), fmean(teachers)
    noise = math.hypot(_standard_error(students, samples), _standard_error(teachers, samples))
    who, are = ("the assistants", "are") if _is_chain(pair) else ("the teacher", "is")
    if theirs - own > 2 * noise:
        count = f", n = {len(students)}" if len(students) > 1 else ""
        yield (
            f"{pair}: {who} ({own:.2f} %) {are} worse than the student alone "
            f"({theirs:.2f} %{count})"
        )


def _standard_error(accuracies: Sequence[float], samples: int) -> float:
    """Of a mean accuracy in percent over trials, all on one test set."""
    share = min(max(fmean(accuracies) / 100, 0), 1)
    of_images = 100 * math.sqrt(share * (1 - share) / samples)
    trials = len(accuracies)
    return max(of_images, stdev(accuracies) / math.sqrt(trials) if trials > 1 else 0.0)


def _teachers_of_other_weights(runs: Iterable[Run]) -> list[str]:
    """Teachers that were trained twice: one run, but students of different weights."""
    students: dict[str, list[Run]] = {}
    for method, record in runs:
        if record.teacher and record.teacher.run:
            students.setdefault(record.teacher.run, []).append((method, record))
    return [
        text
        for teacher, group in students.items()
        for text in mixture(group, f"weights of teacher {teacher}", _teacher_weights)
    ]


# ---- the properties of a run ---------------------------------------------------------------------


def _starts(record: Record) -> list[Start]:
    return productive(record.starts)


def _commits(record: Record) -> str:
    return _joined((start.commit or "")[:10] for start in _starts(record))


def _changes(record: Record) -> str:
    return _joined((start.changes or "")[:8] for start in _starts(record))


def _teacher_weights(record: Record) -> str:
    return ((record.teacher and record.teacher.sha256) or "")[:8]


_NUMERICS = ("channels_last", "compile", "tf32", "deterministic")


def _numerics(record: Record) -> str:
    """ "bf16, channels_last"; threads matter on a CPU only, where the device names them."""
    recipe = record.spec.get("recipe")
    if not isinstance(recipe, dict) or "precision" not in recipe:
        return ""
    return ", ".join([recipe["precision"], *(name for name in _NUMERICS if recipe.get(name))])


def _joined(values: Iterable[Any]) -> str:
    """A run that changed machines on its way is a group of its own: "A100 then H100"."""
    return " then ".join(dict.fromkeys(str(value) for value in values if value))


_PROPERTIES: dict[str, Callable[[Record], str]] = {
    DATA: lambda record: (record.data.sha256 or "")[:8],
    "torch versions": lambda record: _joined(s.versions.get("torch") for s in _starts(record)),
    "devices": lambda record: _joined(start.device for start in _starts(record)),
    # Batch norms see what one process sees, so this is part of what was trained.
    "numbers of processes": lambda record: _joined(s.processes for s in _starts(record)),
    "commits": _commits,
}
# Several data sets on one board are no mixture.
_BY_PROTOCOL = tuple(name for name in _PROPERTIES if name != DATA)


# ---- words ---------------------------------------------------------------------------------------


def _grouped(runs: Iterable[Run], value: Callable[[Record], str]) -> dict[str, list[str]]:
    """Value -> the methods of the runs that have it."""
    groups: dict[str, list[str]] = {}
    for method, record in runs:
        groups.setdefault(value(record), []).append(method)
    return groups


def _describe(groups: dict[str, list[str]]) -> str:
    """Largest group first; only the others name their methods."""
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return ", ".join(
        f"{value} ({_count(methods, named=i > 0)})" for i, (value, methods) in enumerate(ordered)
    )


def _count(methods: list[str], named: bool) -> str:
    text = f"{len(methods)} run{'s' * (len(methods) != 1)}"
    names = list(dict.fromkeys(methods))
    more = ", …" if len(names) > _MOST_NAMES else ""
    return f"{text} of {', '.join(names[:_MOST_NAMES])}{more}" if named else text
