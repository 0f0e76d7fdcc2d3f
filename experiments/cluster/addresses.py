"""Which cluster jobs are sent to. A job's address is its cluster and its id."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from experiments import slurm
from experiments.cluster import submitted
from experiments.matrix.slurm_options import SlurmOptions

# A cluster (None: this machine's) and an array task ("123_4"), or all of an array ("123").
Address = tuple[str | None, str]
OPTION = "clusters"  # as sbatch calls it
OTHER_NAMES = ("cluster", "M")
VARIABLES = ("SBATCH_CLUSTERS", "SLURM_CLUSTERS")
EVERY = "all"  # stands for every cluster of the same accounts


def resolved(options: SlurmOptions) -> SlurmOptions:
    """The options with the clusters under one name; a variable of the shell is asked last."""
    found = [options.sbatch.get(key) for key in (OPTION, *OTHER_NAMES)]
    found += [os.environ.get(name) for name in VARIABLES]
    names = next((str(value) for value in found if value), None)
    return options if names is None else _to(options, names)


def clusters(options: SlurmOptions) -> tuple[str, ...]:
    """The clusters among which sbatch chooses; empty for this machine's, which needs no name."""
    names = str(options.sbatch.get(OPTION, ""))
    return tuple(name.strip() for name in names.split(",") if name.strip())


def recorded(options: SlurmOptions) -> str | None:
    """What an array's record says before sbatch has answered: "a,b" where it will choose."""
    return ",".join(clusters(options)) or slurm.cluster()


@dataclass(frozen=True)
class Awaited:
    """What an array waits for: ``tasks`` must end well, ``arrays`` in any way."""

    tasks: tuple[Address, ...] = ()
    arrays: tuple[Address, ...] = ()

    @classmethod
    def of(
        cls, after: Iterable[str], after_end: Iterable[str], known: Mapping[str, Address]
    ) -> Self:
        """Of an array that waits for these runs; ``known``: the task of each."""
        ends = (known[run] for run in after_end)
        return cls(
            tuple(dict.fromkeys(known[run] for run in after)),
            tuple(dict.fromkeys((cluster, task.partition("_")[0]) for cluster, task in ends)),
        )

    @property
    def all(self) -> tuple[Address, ...]:
        return self.tasks + self.arrays


def beside(options: SlurmOptions, awaited: Iterable[Address]) -> SlurmOptions | None:
    """The options of an array that waits for these jobs: on their cluster.

    None where that is none of the option's clusters, or there are several: SLURM's dependencies end
    at a cluster's edge.
    """
    found: SlurmOptions | None = options
    for where in dict.fromkeys(cluster for cluster, _ in awaited):
        found = _on(found, where) if found else None
    return found


def _on(options: SlurmOptions, where: str | None) -> SlurmOptions | None:
    """The options for that cluster alone; None where they do not allow it."""
    if where is None:
        return options
    names = clusters(options)
    if not names:
        return options if _same(where, slurm.cluster()) else None
    if EVERY in names or any(_same(where, name) for name in names):
        return _to(options, where)
    return None


def of_runs(runs: Path, under_way: Mapping[str, str]) -> dict[str, Address]:
    """The addresses of the tasks of runs that are under way: run id -> cluster and task."""
    found: dict[str, Address] = {run: (None, task) for run, task in under_way.items()}
    for array in submitted.load(runs):
        for i, ids in enumerate(array.tasks):
            task = f"{array.job}_{i}"
            found |= {run: (array.cluster, task) for run in ids if under_way.get(run) == task}
    return found


def _to(options: SlurmOptions, names: str) -> SlurmOptions:
    kept = {k: v for k, v in options.sbatch.items() if k not in (OPTION, *OTHER_NAMES)}
    return options.model_copy(update={"sbatch": {**kept, OPTION: names}})


def _same(one: str, other: str | None) -> bool:
    """SLURM writes clusters' names in small letters where it keeps accounts."""
    return other is not None and one.lower() == other.lower()
