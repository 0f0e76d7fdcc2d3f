"""One job: a cohort in a process of its own, as the local queue and a cluster's tasks start it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import datasets
import distillers
import models
from datasets import Data
from distillers.registry import PLUGIN_DIGITS
from results import records

from . import teachers, trainer
from .environment import CHECKOUT
from .errors import InputError
from .spec import RunSpec

DONE = trainer.DONE
BLOCKED = "blocked"  # a run whose teacher is not there
QUEUE_PID = "KD_QUEUE_PID"  # environment: the local queue that a worker must not outlive
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
    return str(value) if isinstance(value, Path) else value


def work(path: Path, as_json: bool) -> int:
    """Train the job at ``path``; returns the process's exit code.

    Reports go to standard output, one line per epoch: for people, or as JSON for the local queue.
    """
    job = Job.read(path)
    loaded = {distillers.load_plugin(plugin)[:PLUGIN_DIGITS] for plugin in job.plugins}
    job.check_ids()
    stop = _Stop()
    device = torch.device(job.device)
    trainer.set_numerics(job.specs[0].recipe, device)
    report = _report_json if as_json else _report_text
    data = build_data(job)
    specs = [spec for spec in job.specs if _as_planned(spec, loaded, data, report)]
    specs, teacher = _taught(job, specs, data, device, report)
    if not specs:
        return 1
    cohort = trainer.Cohort(
        specs=specs,
        runs=job.runs,
        data=data,
        teacher=teacher,
        device=device,
        save_minutes=job.save_minutes,
        stop=stop,
        report=report,
    )
    states = trainer.train(cohort)
    if stop.asked:
        return STOPPED
    return 1 if trainer.FAILED in states.values() else 0


def build_data(job: Job) -> Data:
    """The data set that the job's runs agree on."""
    spec = job.specs[0]
    return datasets.build(
        spec.dataset.name,
        root=job.data_root,
        subset=spec.dataset.subset,
        validation=spec.dataset.validation,
        batch_size=spec.recipe.batch_size,
        epochs=spec.recipe.epochs,
        device=job.device,
        **{**spec.dataset.options, **job.data_options},
    )


def _as_planned(spec: RunSpec, loaded: set[str], data: Data, report: trainer.Report) -> bool:
    """Whether plugins and a user's own data are still those that the run's id was made of."""
    same_data = spec.dataset.content in (None, data.fingerprint)
    if set(spec.plugins) <= loaded and same_data:
        return True
    what = "data" if not same_data else "plugin"
    report(spec, {"state": BLOCKED, "error": f"its {what} changed since it was planned"})
    return False


def _taught(
    job: Job, specs: list[RunSpec], data: Data, device: torch.device, report: trainer.Report
) -> tuple[list[RunSpec], teachers.Teacher | None]:
    """The runs that can be trained, and their teacher; without it only those that need none."""
    first = next((spec for spec in specs if spec.teacher), None)
    if first is None or first.teacher is None or job.teacher is None:
        return specs, None
    try:
        return specs, teachers.load(first.teacher, job.teacher, data, first.recipe, device)
    except (teachers.Blocked, models.ModelError) as error:
        for spec in specs:
            if spec.teacher:
                report(spec, {"state": BLOCKED, "error": str(error)})
        return [spec for spec in specs if not spec.teacher], None


class _Stop:
    """True once a signal asked for a stop, or once the process that started this one is gone."""

    def __init__(self) -> None:
        self.asked = False
        self.parent = int(os.environ.get(QUEUE_PID, os.getppid()))
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(name, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True

    def __call__(self) -> bool:
        self.asked = self.asked or os.getppid() != self.parent
        return self.asked


def _report_json(spec: RunSpec, row: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more: `_Stop` sees to it
        print("\n" + json.dumps({"run": spec.id, **row}), flush=True)


def _report_text(spec: RunSpec, row: dict[str, Any]) -> None:
    print(describe(spec, row), flush=True)


def describe(spec: RunSpec, row: dict[str, Any]) -> str:
    """One line about an epoch or the end of a run."""
    if "state" in row:
        end = f"top-1 {row['top1']:.2f} %" if "top1" in row else row.get("error", "")
        return f"{spec}: {row['state']}: {end}"
    scores = [f"loss {row['train_loss']:.4f}", f"train {row['train_top1']:.2f} %"]
    scores += [
        f"{s} {row[f'{s}_top1']:.2f} %" for s in ("validation", "test") if f"{s}_top1" in row
    ]
    stage = "initial stage, " if row["stage"] == "initial" else ""
    return f"{spec}: {stage}epoch {row['epoch']}/{spec.recipe.epochs}: {', '.join(scores)}"


def command(path: Path, as_json: bool) -> list[str]:
    """How to start a worker for the job at ``path``."""
    program = [sys.executable, str(CHECKOUT / "benchmark.py"), "work", str(path)]
    return [*program, "--json"] if as_json else program
