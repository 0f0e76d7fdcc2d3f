"""What the disk says about every run of a matrix. Reads only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

import distillers
import models
from datasets import Info
from results import records

from . import claims
from .errors import InputError
from .learner import CHECKPOINT
from .spec import RunSpec, is_current

DONE, RUNNING, TODO, BLOCKED, FAILED, STALE, UNSUPPORTED = (
    "done",
    "running",
    "to do",
    "blocked",
    "failed",
    "stale",
    "n/a",
)
STATES = (DONE, RUNNING, TODO, BLOCKED, FAILED, STALE, UNSUPPORTED)


@dataclass(frozen=True)
class Status:
    """A run and its state; ``detail`` is the error, the reason or what is stale."""

    spec: RunSpec
    state: str
    detail: str = ""
    epoch: int = 0  # epochs done and saved
    record: dict[str, Any] | None = None


def census(
    specs: Iterable[RunSpec], runs: Path, reasons: Mapping[str, str] | None = None
) -> dict[str, Status]:
    """Run id -> status. ``reasons``: why a run cannot be, by run id (see `capabilities`).

    A run that is to do is blocked while its teacher, among ``specs``, is failed or stale.
    """
    found = {spec.id: status(spec, runs, (reasons or {}).get(spec.id)) for spec in specs}
    return {run: _after_teacher(entry, found) for run, entry in found.items()}


def _after_teacher(entry: Status, found: Mapping[str, Status]) -> Status:
    run = entry.spec.teacher.run if entry.spec.teacher else None
    teacher = found.get(run or "")
    if teacher is None:
        return entry
    if entry.state == DONE and teacher.record and _learned_from_another(entry, teacher):
        return replace(entry, state=STALE, detail="its teacher has been trained again since")
    if entry.state == TODO and teacher.state == RUNNING:
        return replace(entry, detail="its teacher is being trained elsewhere")
    if entry.state != TODO or teacher.state not in (FAILED, STALE):
        return entry
    return replace(entry, state=BLOCKED, detail=f"its teacher ({teacher.spec}): {teacher.state}")


def _learned_from_another(student: Status, teacher: Status) -> bool:
    """Whether the weights a student's record names are not those of its teacher's record."""
    used = ((student.record or {}).get("teacher") or {}).get("sha256")
    made = ((teacher.record or {}).get("weights") or {}).get("sha256")
    return None not in (used, made) and used != made


def status(spec: RunSpec, runs: Path, reason: str | None = None) -> Status:
    """One run's state from its directory."""
    directory = spec.directory(runs)
    if not directory.is_dir():
        return Status(spec, UNSUPPORTED, reason) if reason else Status(spec, TODO)
    record = records.read(directory)
    stored = record["spec"] if record else _stored_spec(directory)
    if stored is not None and not is_current(stored, spec):
        return Status(spec, STALE, _difference(stored, spec.dump()))
    if record is not None:
        return Status(spec, DONE, epoch=spec.recipe.epochs, record=record)
    if reason:
        return Status(spec, UNSUPPORTED, reason)
    epoch = _epochs_saved(directory)
    if is_claimed(directory):
        return Status(spec, RUNNING, epoch=epoch)
    error = directory / "error.txt"
    if error.exists():
        return Status(spec, FAILED, error.read_text().partition("\n")[0], epoch)
    broken = "result.json was unreadable" if (directory / records.RESULT).exists() else ""
    return Status(spec, TODO, broken, epoch)


def is_claimed(directory: Path) -> bool:
    """Whether somebody is working on the run in this directory."""
    claim = claims.newest(directory)
    return claim is not None and claims.is_alive(claim)


def _stored_spec(directory: Path) -> dict[str, Any] | None:
    try:
        stored = yaml.safe_load((directory / "spec.yaml").read_text())
    except (FileNotFoundError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return stored if isinstance(stored, dict) else None


def _epochs_saved(directory: Path) -> int:
    """Epochs of the main stage: those of an initial stage come on top of the recipe's."""
    history = directory / "history.csv"
    if not history.exists() or not (directory / CHECKPOINT).exists():
        return 0
    return sum(line.startswith("main,") for line in history.read_text().splitlines())


def _difference(stored: Mapping[str, Any], today: Mapping[str, Any], prefix: str = "") -> str:
    """The first key in which a stale run differs: "options.weight was 100.0, is 200.0"."""
    for key in sorted({*stored, *today}):
        before, now = stored.get(key), today.get(key)
        if before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            return _difference(before, now, f"{prefix}{key}.")
        return f"{prefix}{key} was {before!r}, is {now!r}"
    return "the same today"


def count(statuses: Iterable[Status]) -> dict[str, int]:
    """How many runs are in each state, in the order of STATES, zeros left out."""
    counts = Counter(s.state for s in statuses)
    return {state: counts[state] for state in STATES if counts[state]}


def capabilities(specs: Iterable[RunSpec], info: Info) -> dict[str, str]:
    """Run id -> why its method cannot serve its pair; (pair, method, options) are built once.

    Raises InputError where a method cannot be built at all (a wrong option, a plugin's fault).
    """
    networks: dict[str, models.Classifier] = {}
    reasons: dict[str, str | None] = {}
    found = {}
    for spec in specs:
        key = json.dumps([spec.pair, spec.method, spec.options], sort_keys=True)
        if key not in reasons:
            reasons[key] = _reason(spec, info, lambda name: _network(networks, name, info))
        reason = reasons[key]
        if reason is not None:
            found[spec.id] = reason
    return found


def _reason(spec: RunSpec, info: Info, network: Callable[[str], models.Classifier]) -> str | None:
    teacher = network(spec.teacher.name) if spec.teacher else None
    with torch.random.fork_rng(devices=[]):
        try:
            distillers.build(spec.method, network(spec.student), teacher, info, **spec.options)
        except distillers.Unsupported as error:
            return str(error)
        except Exception as error:
            kind = "" if isinstance(error, distillers.MethodError) else f"{type(error).__name__}: "
            raise InputError(f"{spec.pair}, {spec.method}: {kind}{error}") from error
    return None


def _network(known: dict[str, models.Classifier], name: str, info: Info) -> models.Classifier:
    if name not in known:
        with torch.random.fork_rng(devices=[]):
            known[name] = models.build(name, info.num_classes)
    return known[name]
