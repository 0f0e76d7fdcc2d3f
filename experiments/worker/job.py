"""One job as plain data: everything that a worker process is given."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix.expansion import Choice
from experiments.matrix.run_spec import RunSpec
from experiments.rundir import epochs
from results import files, records

# Exit codes: bad input; stopped on request, with everything saved; of a task of an array, of which
# a run is blocked: SLURM must not count it as completed.
REFUSED, STOPPED, BLOCKED = 2, 3, 4


@dataclass(frozen=True)
class Job:
    """Everything a worker needs.

    data_options  options of the data set beyond its spec, such as paths
    teacher       the teacher's weights file; None without a teacher, and for an ensemble
    members       the weights files of an ensemble's members, in their order
    ids           of the specs when the job was first written; empty before
    code          `environment.code` when the job was planned
    processes     how many train the job together
    sources       weights of the students that probes read, by run id
    predictions   how those of the last test are stored (`results.predictions.WANTED`)
    tensorboard   where event files are written; None for none
    stated_teachers  given teachers whose accuracy the matrix states
    choices       those that its placeholders wait for, see `experiments.matrix.tuning`
    awaited       whether others, its students, wait for its result
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    specs: tuple[RunSpec, ...]
    runs: Path
    data_root: Path
    data_options: dict[str, Any]
    teacher: Path | None
    plugins: tuple[Path, ...]
    device: str = "cpu"
    save_minutes: float = 10.0
    ids: tuple[str, ...] = ()
    code: dict[str, Any] | None = None
    processes: int = 1
    sources: dict[str, Path] = field(default_factory=dict)
    predictions: str = "auto"
    tensorboard: Path | None = None
    stated_teachers: tuple[str, ...] = ()
    awaited: bool = False
    members: tuple[Path, ...] = ()
    choices: tuple[Choice, ...] = ()

    def write(self, path: Path) -> None:
        """Write the job as JSON, which stays readable after an upgrade of the harness."""
        plain = {key: _plain(value) for key, value in vars(self).items()}
        plain["ids"] = list(self.ids) or [spec.id for spec in self.specs]
        records.write_atomic(path, json.dumps(plain, indent=1))

    @classmethod
    def read(cls, path: Path) -> Job:
        """The inverse of `write`. InputError, in one line, for a file that is no job."""
        try:
            job = TypeAdapter(cls).validate_python(json.loads(files.read_bytes(path)))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"{path}: no job: {where}: {first['msg'].lower()}") from error
        except files.OddFile as error:
            raise InputError(f"{path}: no job: {error.strerror}") from error
        except RecursionError as error:
            raise InputError(f"{path}: no job: nested too deeply") from error
        except ValueError as error:
            raise InputError(f"{path}: no job: not JSON: {error}") from error
        if not job.specs or len(job.ids) != len(job.specs):
            raise InputError(f"{path}: no job: expected runs, and an id for each")
        return job

    @property
    def teacher_weights(self) -> tuple[Path, ...]:
        """The teacher's weights: one file, or one for each member; none without a teacher."""
        return (self.teacher,) if self.teacher else self.members

    def taught_by(self, weights: tuple[Path, ...]) -> Job:
        """The same job with a teacher of this file, or of these members' files."""
        if len(weights) == 1:
            return replace(self, teacher=weights[0], members=())
        return replace(self, teacher=None, members=weights)

    def only(self, specs: Sequence[RunSpec]) -> Job:
        """The same job for some of its runs, with the ids that they had when it was planned."""
        planned = zip(self.specs, self.ids, strict=True) if self.ids else ()
        ids = tuple(run for spec, run in planned if any(spec is chosen for chosen in specs))
        return replace(self, specs=tuple(specs), ids=ids)

    def id_of(self, spec: RunSpec) -> str:
        """The id that a run had when it was planned; today's code may give it another, or none."""
        planned = zip(self.specs, self.ids, strict=True) if self.ids else ()
        return next((run for own, run in planned if own is spec), None) or spec.id

    def directory(self, spec: RunSpec) -> Path:
        """Where a run is, by the id that it was planned with."""
        return spec.directory(self.runs, self.id_of(spec))


def _plain(value: Any) -> Any:
    if isinstance(value, RunSpec):
        return value.dump()
    if isinstance(value, Choice):
        return _plain(vars(value))
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value


def task_file(number: int, worker: int | None = None) -> str:
    """The name of an array task's job in the array's folder; of one of its workers' jobs."""
    return f"task-{number}.json" if worker is None else f"task-{number}-{worker}.json"


def worker_files(folder: Path) -> list[Path]:
    """The jobs of this process's array task where it has several workers, else none."""
    number = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    if not (number.isascii() and number.isdecimal()):  # the worker says so
        return []
    names = (folder / task_file(int(number), worker) for worker in itertools.count())
    return list(itertools.takewhile(Path.exists, names))


def describe(spec: RunSpec, row: dict[str, Any], name: str | None = None) -> str:
    """One line about an epoch or the end of a run, which is called ``name``."""
    name = name or str(spec)
    if "state" in row:
        end = f"top-1 {row['top1']:.2f} %" if "top1" in row else row.get("error", "")
        return f"{name}: {row['state']}: {end}"
    scores = [f"loss {row['train_loss']:.4f}"]
    parts = ("train", "validation", "test")  # an epoch may lack some
    scores += [f"{part} {row[f'{part}_top1']:.2f} %" for part in parts if f"{part}_top1" in row]
    return f"{name}: {epoch_of(spec, row)}: {', '.join(scores)}"


def epoch_of(spec: RunSpec, row: Mapping[str, Any]) -> str:
    """ "epoch 17/240", "initial stage, epoch 12/30"."""
    if row.get("stage") == "initial":
        return epochs.in_initial(row["epoch"], epochs.planned_initially(spec))
    return f"epoch {row['epoch']}/{spec.recipe.epochs}"


def command(path: Path, as_json: bool) -> list[str]:
    """The command line that starts a worker for the job at ``path``."""
    program = [sys.executable, str(CHECKOUT / "benchmark.py"), "work", str(path)]
    return [*program, "--json"] if as_json else program
