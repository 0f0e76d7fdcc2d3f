"""What is said about one run on its page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from results.measure_tables import MEASURES
from results.provenance import code_name
from results.report import views
from results.report.content import Run
from results.report.words import duration
from results.schema import Record, Start

Fact = tuple[str, str]


def facts(run: Run) -> list[Fact]:
    """Headings and texts; what is not known is left out."""
    found = [
        ("Epochs", f"{run.epoch} of {run.epochs}" if run.epochs else ""),
        *(_of_record(run.record) if run.record else ()),
    ]
    return [(name, text) for name, text in found if text]


def files(run: Run) -> list[Fact]:
    """Where its files are, and by which hashes they are known."""
    record = run.record
    found = [
        ("Directory", run.directory),
        ("Weights", run.weights),
        ("Weights, sha256", record.weights.sha256 or "" if record else ""),
        ("Data, sha256", record.data.sha256 or "" if record else ""),
    ]
    return [(name, text) for name, text in found if text]


def _of_record(record: Record) -> Iterator[Fact]:
    accuracy, size = record.accuracy, record.parameters
    yield "Test top-1, last epoch", _percent(accuracy.last.top1)
    yield "Test top-5, last epoch", _percent(accuracy.last.top5)
    yield "Test loss", _number(accuracy.last.loss, 4)
    best = accuracy.best
    split = best.split or "test"
    at = f" at epoch {best.epoch:g}" if best.epoch is not None else ""
    yield (
        f"Best epoch, picked on the {split} split",
        _percent(best.top1) and f"{_percent(best.top1)}{at}",
    )
    yield "Validation top-1", _percent(accuracy.validation.top1 if accuracy.validation else None)
    yield "Test images", _number(accuracy.samples, 0)
    yield "Parameters of the student", _number(size.student, 0)
    yield "Parameters of the method", _number(size.extra, 0)
    yield "Time", duration(record.seconds)
    yield "Images per second", _number(record.images_per_second, 0)
    yield "Peak memory", _memory(record.peak_memory_bytes)
    yield "Steps", _number(record.steps, 0)


_OWN = ("method", "method_version", "options", "teacher", "trial")  # in which methods may differ


def conditions(run: Run, spec: Mapping[str, str]) -> dict[str, str]:
    """What two runs must share to be compared: the specification but the method, and the place.

    spec  its specification as lines, see `words.flat`
    """
    shared = {name: text for name, text in spec.items() if name.partition(".")[0] not in _OWN}
    last = run.starts[-1] if run.starts else None
    place = (
        {
            "device": last.device or "",
            "code": code_name(last),
            **{f"version of {name}": text for name, text in last.versions.items()},
        }
        if last
        else {}
    )
    return {**shared, **place}


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """What differs between the `conditions` of two runs: name, here, there."""
    names = dict.fromkeys([*here, *there])
    return [
        (name, here.get(name, "–"), there.get(name, "–"))
        for name in names
        if here.get(name) != there.get(name)
    ]


def measures(run: Run) -> list[Fact]:
    """The measures of its predictions, as the tables print them."""
    found = run.record.measures if run.record else None
    names = [name for name in MEASURES if name not in ("top1", "top5")]  # the record has these
    values = {name: getattr(found, name, None) for name in names} if found else {}
    return [
        (views.SHORT[name], f"{value:.{MEASURES[name].digits}f}")
        for name, value in values.items()
        if value is not None
    ]


def teacher(run: Run) -> dict[str, Any] | None:
    """Its teacher's name, accuracy and run; None for a run without one."""
    used = run.record.teacher if run.record else None
    planned = run.spec.get("teacher")
    if used:
        return {"name": used.name, "accuracy": _percent(used.accuracy), "run": used.run}
    if isinstance(planned, dict):
        return {"name": planned.get("name", ""), "accuracy": "", "run": planned.get("run")}
    return None


def starts(run: Run) -> list[list[str]]:
    """Rows of `STARTS`, one for every start."""
    return [_start(start) for start in run.starts]


STARTS = ("Time", "Host", "Job", "Device", "Code", "Versions", "From epoch", "Ended")


def _start(start: Start) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in start.versions.items())
    shared = f", {start.processes} processes" if start.processes > 1 else ""
    ended = start.ended or ("" if start.progress else "before a step was saved")
    texts = (start.time, start.host, start.job, f"{start.device or ''}{shared}")
    epoch = "" if start.epoch is None else str(start.epoch)
    return [*(text or "" for text in texts), code_name(start), versions, epoch, ended]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} %"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _memory(size: float | None) -> str:
    return "" if size is None else f"{size / 2**30:.2f} GiB"
