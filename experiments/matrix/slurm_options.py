"""What a person asks of SLURM: from a site file, the matrix and the command line."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from experiments.environment import CHECKOUT
from experiments.errors import InputError, explain
from experiments.matrix import yaml_loader

MOST_PER_GPU = 48  # clients that CUDA MPS admits on one GPU

# What `submit` itself sets; given by a person it would break the bookkeeping.
RESERVED = (
    "array",
    "dependency",
    "error",
    "job-name",
    "kill-on-invalid-dep",
    "no-requeue",
    "open-mode",
    "output",
    "requeue",
    "signal",
    "wrap",
)


def minutes(value: Any) -> int:
    """A time limit as SLURM writes it, in whole minutes, rounded up.

    >>> minutes("1-12"), minutes("2:30:00"), minutes("90"), minutes(90), minutes("10:30")
    (2160, 150, 90, 90, 11)
    """
    text = str(value).strip()
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if match is None or isinstance(value, (bool, float)):
        raise ValueError("expected minutes, or a time such as 12:00:00 or 2-00:00:00")
    days, *rest = match.groups()
    numbers = [int(part) for part in rest if part is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, mins, seconds = [*numbers, 0, 0][:3]
        total = int(days) * 1440 + hours * 60 + mins + seconds / 60
    elif len(numbers) == 3:
        total = numbers[0] * 60 + numbers[1] + numbers[2] / 60
    else:  # minutes[:seconds]
        total = numbers[0] + (numbers[1] / 60 if len(numbers) == 2 else 0)
    if total <= 0:
        raise ValueError("must be positive")
    return math.ceil(total)


def times(mem: str, count: int) -> str:
    """So many times an amount of memory.

    >>> times("16G", 2), times("1.5G", 3), times("0", 4)
    ('32G', '4.5G', '0')
    """
    match = re.match(r"[\d.]+", mem)
    assert match is not None  # it is validated
    return f"{float(match[0]) * count:.12g}{mem[match.end() :]}"


Minutes = Annotated[int, BeforeValidator(minutes)]


class SlurmOptions(BaseModel):
    """Options of `submit`. The cluster's defaults apply otherwise; none is part of a run's id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: Minutes | None = None  # limit of every job; default: from the predicted cost
    gpus: int | None = Field(None, ge=0, le=1, strict=True)  # per process: a cohort fits one GPU
    cpus: int | None = Field(None, ge=1, strict=True)  # per process
    mem: str | None = Field(None, pattern=r"^\d+(\.\d+)?[KMGT]$")  # per node, e.g. 16G
    workers_per_gpu: int = Field(1, ge=1, le=MOST_PER_GPU, strict=True)  # cohorts at once in a job
    nodes: int = Field(1, ge=1, strict=True)  # over which a job's processes are spread evenly
    constraint: str | None = None
    setup: tuple[str, ...] = ()  # shell lines before Python starts, e.g. module load cuda
    python: str | None = None  # how Python starts on a node; default: as here
    array_parallelism: int | None = Field(None, ge=1, strict=True)  # jobs of an array at once
    max_array_size: int | None = Field(None, ge=1, strict=True)  # if lower than SLURM's own
    max_jobs: int | None = Field(None, ge=1, strict=True)  # of the user's in the queue at once
    sbatch: dict[str, str | int | bool] = Field(default_factory=dict)  # any other option of sbatch

    _whole: frozenset[str] = frozenset()  # of cpus and mem, those given for a job, not a worker

    @field_validator("sbatch")
    @classmethod
    def _not_reserved(cls, options: dict[str, Any]) -> dict[str, Any]:
        named = {key.lstrip("-").replace("_", "-"): value for key, value in options.items()}
        for key in named:
            if key in RESERVED:
                raise ValueError(f"{key} is set by submit itself")
            if key in cls.model_fields or key in ALIASES:
                raise ValueError(f"{key} has a key of its own: {ALIASES.get(key, key)}")
        return named

    def of_job(self, workers: int) -> SlurmOptions:
        """The options of a job of several workers, which take ``workers`` times cpus and mem.

        Not of what the command line gave: that is the whole job's. SLURM gives a job one core where
        none are asked for, so each worker then gets one.
        """
        if workers == 1:
            return self
        changes: dict[str, Any] = {}
        if "cpus" not in self._whole:
            changes["cpus"] = workers * (self.cpus or 1)
        if self.mem and "mem" not in self._whole:
            changes["mem"] = times(self.mem, workers)
        return self.model_copy(update=changes)

    @property
    def device(self) -> str:
        """What a job trains on: the GPU that it asks for, else the CPU."""
        kind = "gpu" in str(self.sbatch.get("gres", ""))  # asks for a certain kind of GPU
        kind |= str(self.sbatch.get("gpus-per-task", "0")) != "0"
        return "cuda" if self.gpus or kind else "cpu"


ALIASES = {"cpus-per-task": "cpus", "gpus-per-node": "gpus"}
SITE = "site.yaml"  # next to benchmark.py


def site_file(given: Path | None) -> Path | None:
    """The site file to use: the one given, else the one next to benchmark.py, if there is one."""
    own = CHECKOUT / SITE
    return given or (own if own.exists() else None)


def merged(site: Path | None, matrix: SlurmOptions, given: dict[str, Any]) -> SlurmOptions:
    """Site file, matrix and command line: the later overrides; setup lines are concatenated.

    Raises InputError naming file or flag.
    """
    layers = [_site(site) if site else SlurmOptions(), matrix, _given(given)]
    values: dict[str, Any] = {}
    for layer in layers:
        fields = layer.model_dump(exclude_unset=True)
        for key in ("setup", "sbatch"):
            if key in fields and key in values:
                joined = (*values[key], *fields[key])
                fields[key] = joined if key == "setup" else {**values[key], **fields[key]}
        values |= fields
    made = SlurmOptions.model_validate(values)
    made._whole = frozenset({"cpus", "mem"} & layers[-1].model_fields_set)
    return made


def _site(path: Path) -> SlurmOptions:
    content = yaml_loader.load(path, f"any of {', '.join(SlurmOptions.model_fields)}")
    return _validated(content, str(path))


def _given(given: dict[str, Any]) -> SlurmOptions:
    return _validated({k: v for k, v in given.items() if v not in (None, [])}, "command line")


def _validated(content: dict[str, Any], source: str) -> SlurmOptions:
    try:
        return SlurmOptions.model_validate(content)
    except ValidationError as error:
        raise explain(error, SlurmOptions, source) from error


def parsed(pairs: list[str]) -> dict[str, Any]:
    """``--sbatch KEY=VALUE``; a key alone is a switch. Raises InputError."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key.strip("- "):
            raise InputError(f"--sbatch {pair!r}: expected KEY=VALUE, or KEY for a switch")
        options[key] = value if equals else True
    return options
