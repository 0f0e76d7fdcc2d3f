"""One job: a cohort in a process of its own, as the local queue and a cluster's tasks start it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import distillers
import models
from datasets import Data
from distillers.registry import PLUGIN_DIGITS
from results import records

from . import numerics, rendezvous, teachers, trainer
from .data import build
from .environment import CHECKOUT
from .errors import InputError
from .group import Group
from .spec import RunSpec, TeacherSpec
from .stopping import Stop, hand_back

DONE = trainer.DONE
BLOCKED = "blocked"  # a run whose teacher is not there
REFUSED, STOPPED = 2, 3  # exit codes: bad input; asked to stop, and saved


@dataclass(frozen=True)
class Job:
    """Everything a worker needs, as plain data.

    data_options  the data set's own options, paths included
    teacher       the teacher's weights file, None without a teacher
    """

    specs: tuple[RunSpec, ...]
    runs: Path
    data_root: Path
    data_options: dict[str, Any]
    teacher: Path | None
    plugins: tuple[Path, ...]
    device: str = "cpu"
    save_minutes: float = 10.0
    ids: tuple[str, ...] = ()  # of the specs when the job was written
    code: dict[str, Any] | None = None  # `environment.code` when it was planned
    processes: int = 1  # that train it together
    sources: dict[str, Path] = field(default_factory=dict)  # weights that probes are about, by run

    def write(self, path: Path) -> None:
        """As JSON, readable after any upgrade."""
        plain = {key: _plain(value) for key, value in vars(self).items()}
        plain["ids"] = [spec.id for spec in self.specs]
        records.write_atomic(path, json.dumps(plain, indent=1))

    @classmethod
    def read(cls, path: Path) -> Job:
        plain = json.loads(path.read_text())
        plain["specs"] = tuple(RunSpec.model_validate(spec) for spec in plain["specs"])
        for key in ("runs", "data_root"):
            plain[key] = Path(plain[key])
        plain["teacher"] = Path(plain["teacher"]) if plain["teacher"] else None
        plain["plugins"] = tuple(Path(p) for p in plain["plugins"])
        plain["ids"] = tuple(plain["ids"])
        plain["sources"] = {run: Path(path) for run, path in plain.get("sources", {}).items()}
        return cls(**plain)

    def check_ids(self) -> None:
        """Raise InputError if today's code gives the runs other ids (a default was edited)."""
        for spec, planned in zip(self.specs, self.ids, strict=True):
            if spec.id != planned:
                raise InputError(f"{spec}: the code changed since it was planned")


def _plain(value: Any) -> Any:
    if isinstance(value, RunSpec):
        return value.dump()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def work(path: Path, as_json: bool) -> int:
    """Train the job at ``path``; returns the process's exit code.

    ``path`` is a job's file, or a folder of them: then this is a task of a SLURM array, and the
    file of its number is taken. Reports go to standard output, one line per epoch: for people, or
    as JSON for the local queue.
    """
    in_array = path.is_dir()
    job = Job.read(path / task_file(int(os.environ["SLURM_ARRAY_TASK_ID"])) if in_array else path)
    stop = Stop()
    rendezvous.follow_the_lead()
    folder = path if in_array else None
    group, device = rendezvous.meet(job.processes, job.device, command(path, as_json), folder)
    report = _report_json if as_json else _report_text
    states = _train(replace(job, device=device), stop, report if group.is_lead else _silent, group)
    group.close()
    if not group.is_lead:  # srun takes any other code for a crash, and would kill the lead
        return 0
    if stop.asked and any(spec.id not in states for spec in job.specs):
        if in_array:
            hand_back(stop)
        return STOPPED
    bad = {trainer.FAILED, trainer.INTERRUPTED}
    if not in_array:
        bad.add(BLOCKED)
    return 1 if bad & set(states.values()) else 0


def task_file(number: int) -> str:
    """The name of an array task's job in the array's folder."""
    return f"task-{number}.json"


def _silent(spec: RunSpec, row: dict[str, Any]) -> None:
    """What processes report that are not the lead."""


def _train(job: Job, stop: Stop, report: trainer.Report, group: Group) -> dict[str, str]:
    """Everything of a job that can be done; run id -> how it ended."""
    loaded = {distillers.load_plugin(plugin)[:PLUGIN_DIGITS] for plugin in job.plugins}
    job.check_ids()
    device = torch.device(job.device)
    numerics.check(job.specs[0].recipe, job.device)
    trainer.set_numerics(job.specs[0].recipe, device)
    states: dict[str, str] = {}

    def told(spec: RunSpec, row: dict[str, Any]) -> None:
        if "state" in row:
            states[spec.id] = row["state"]
        report(spec, row)

    first, shard = job.specs[0], (group.rank, group.size)
    options = {**first.dataset.options, **job.data_options}
    data = build(first.dataset, first.recipe, job.data_root, options, job.device, shard)
    specs = [spec for spec in job.specs if _as_planned(spec, loaded, data, told)]
    specs = [spec for spec in specs if _has_source(spec, job, told)]
    specs, teacher = _taught(job, specs, data, device, told, group)
    if specs:
        cohort = trainer.Cohort(
            specs=specs,
            runs=job.runs,
            data=data,
            teacher=teacher,
            device=device,
            save_minutes=job.save_minutes,
            stop=stop,
            report=told,
            code=job.code,
            group=group,
            sources=job.sources,
        )
        trainer.train(cohort)
    return states


def _as_planned(spec: RunSpec, loaded: set[str], data: Data, report: trainer.Report) -> bool:
    """Whether plugins and a user's own data are still those that the run's id was made of."""
    same_data = spec.dataset.content in (None, data.fingerprint)
    if set(spec.plugins) <= loaded and same_data:
        return True
    what = "data" if not same_data else "plugin"
    report(spec, {"state": BLOCKED, "error": f"its {what} changed since it was planned"})
    return False


def _has_source(spec: RunSpec, job: Job, report: trainer.Report) -> bool:
    """Whether the student that a probe is about is there, as its result names it."""
    if spec.source is None:
        return True
    trained = TeacherSpec(name=spec.student, run=spec.source.run)
    try:
        teachers.checked_hash(trained, job.sources[spec.source.run], "student")
    except teachers.Blocked as error:
        report(spec, {"state": BLOCKED, "error": str(error)})
        return False
    return True


def _taught(
    job: Job,
    specs: list[RunSpec],
    data: Data,
    device: torch.device,
    report: trainer.Report,
    group: Group,
) -> tuple[list[RunSpec], teachers.Teacher | None]:
    """The runs that can be trained, and their teacher; without it only those that need none."""
    first = next((spec for spec in specs if spec.teacher), None)
    if first is None or first.teacher is None or job.teacher is None:
        return specs, None
    try:
        return specs, teachers.load(first.teacher, job.teacher, data, first.recipe, device, group)
    except (teachers.Blocked, models.ModelError) as error:
        for spec in specs:
            if spec.teacher:
                report(spec, {"state": BLOCKED, "error": str(error)})
        return [spec for spec in specs if not spec.teacher], None


def _report_json(spec: RunSpec, row: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more: `Stop` sees to it
        print("\n" + json.dumps({"run": spec.id, **row}), flush=True)


def _report_text(spec: RunSpec, row: dict[str, Any]) -> None:
    print(describe(spec, row), flush=True)


def describe(spec: RunSpec, row: dict[str, Any]) -> str:
    """One line about an epoch or the end of a run."""
    if "state" in row:
        end = f"top-1 {row['top1']:.2f} %" if "top1" in row else row.get("error", "")
        return f"{spec}: {row['state']}: {end}"
    scores = [f"loss {row['train_loss']:.4f}"]
    parts = ("train", "validation", "test")  # not all in every epoch
    scores += [f"{part} {row[f'{part}_top1']:.2f} %" for part in parts if f"{part}_top1" in row]
    stage = "initial stage, " if row["stage"] == "initial" else ""
    return f"{spec}: {stage}epoch {row['epoch']}/{spec.recipe.epochs}: {', '.join(scores)}"


def command(path: Path, as_json: bool) -> list[str]:
    """How to start a worker for the job at ``path``."""
    program = [sys.executable, str(CHECKOUT / "benchmark.py"), "work", str(path)]
    return [*program, "--json"] if as_json else program
