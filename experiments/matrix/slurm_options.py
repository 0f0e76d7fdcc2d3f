"""What a person asks of SLURM: from a site file, the matrix and the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from experiments.environment import CHECKOUT
from experiments.errors import InputError, explain
from experiments.matrix import slurm_grammar, yaml_loader
from experiments.matrix.slurm_grammar import option_name, option_value, times

MOST_PER_GPU = 48  # clients that CUDA MPS admits on one GPU

# What `submit` itself sets; given by a person it would break the bookkeeping.
RESERVED = (
    "array",
    "dependency",
    "error",
    "help",
    "job-name",
    "kill-on-invalid-dep",
    "no-requeue",
    "open-mode",
    "output",
    "requeue",
    "signal",
    "test-only",
    "usage",
    "version",
    "wait",
    "wrap",
)
PROCESSES = ("ntasks", "ntasks-per-node")  # more would run a worker several times


def _line(value: Any) -> Any:
    """A text that becomes part of the script: a line break in it would begin another line."""
    if isinstance(value, str) and any(ord(c) < 32 for c in value):
        raise ValueError("expected one line, without control characters")
    return value


def _jobs(value: Any) -> Any:
    """ "12,13_4" or a list of such ids of jobs."""
    listed = value if isinstance(value, (list, tuple)) else str(value).split(",")
    ids = [str(part).strip() for part in listed]
    odd = next((job for job in ids if not re.fullmatch(r"\d+(_\d+)?", job, re.ASCII)), None)
    if odd is not None:
        raise ValueError(f"expected ids of jobs such as 1234 or 1234_5, not {odd!r}")
    return tuple(dict.fromkeys(ids))


Line = Annotated[str, BeforeValidator(_line)]
Minutes = Annotated[int, BeforeValidator(slurm_grammar.minutes)]
Memory = Annotated[str, BeforeValidator(slurm_grammar.memory)]
Jobs = Annotated[tuple[str, ...], BeforeValidator(_jobs)]
Gpus = Annotated[int | str, BeforeValidator(slurm_grammar.gpus)]


class SlurmOptions(BaseModel):
    """Options of `submit`. The cluster's defaults apply otherwise; none is part of a run's id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: Line | None = None
    account: Line | None = None
    qos: Line | None = None
    time: Minutes | None = None  # limit of every job; default: from the predicted cost
    gpus: Gpus | None = None  # per process: a cohort fits one GPU; or a type: a100:1
    cpus: int | None = Field(None, ge=1, strict=True)  # per process
    mem: Memory | None = None  # per node, e.g. 16G; 0: all of it
    workers_per_gpu: int = Field(1, ge=1, le=MOST_PER_GPU, strict=True)  # cohorts at once in a job
    nodes: int = Field(1, ge=1, strict=True)  # over which a job's processes are spread evenly
    constraint: Line | None = None
    setup: tuple[str, ...] = ()  # shell lines before Python starts, e.g. module load cuda
    python: Line | None = None  # how Python starts on a node; default: as here
    array_parallelism: int | None = Field(None, ge=1, strict=True)  # jobs of an array at once
    max_array_size: int | None = Field(None, ge=1, strict=True)  # if lower than SLURM's own
    max_jobs: int | None = Field(None, ge=1, strict=True)  # of the user's in the queue at once
    after: Jobs = ()  # ids of jobs that must have ended, well or not, before any job begins
    sbatch: dict[str, str | int | bool] = Field(default_factory=dict)  # any other option of sbatch

    _whole: frozenset[str] = frozenset()  # of cpus and mem, those given for a job, not a worker

    @field_validator("sbatch")
    @classmethod
    def _not_reserved(cls, options: dict[str, Any]) -> dict[str, Any]:
        named: dict[str, Any] = {}
        for key, value in options.items():
            name = option_name(key, (*cls.model_fields, *ALIASES))
            if name in named:
                raise ValueError(f"{name} is given twice")
            cls._refuse(name, value)
            named[name] = option_value(name, value)
        return named

    @classmethod
    def _refuse(cls, name: str, value: object) -> None:
        """Raise ValueError for an option that `submit` sets, or that has a key of its own."""
        if name in RESERVED:
            raise ValueError(f"{name} is set by submit itself")
        if name in PROCESSES and str(value) != "1":
            raise ValueError(f"{name} is set by submit itself, from `processes` of the matrix")
        if name.replace("-", "_") in cls.model_fields or name in ALIASES:
            raise ValueError(f"{name} has a key of its own: {ALIASES.get(name, name)}")

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
# Keys whose values reach SLURM as they are written: YAML would make 20240501 of 2024_05_01.
TEXTS = ("partition", "account", "qos", "time", "mem", "constraint", "setup", "python", "sbatch")


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
    expected = f"any of {', '.join(SlurmOptions.model_fields)}"
    content = yaml_loader.load(path, expected, [(key,) for key in TEXTS])
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
