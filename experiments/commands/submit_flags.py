"""The flags of `submit`, and SLURM's options by them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from experiments.commands.arguments import positive
from experiments.commands.common import (
    add_sharing_flag,
    add_site_flag,
    add_training_flags,
    add_yes_flag,
)

if TYPE_CHECKING:
    from experiments.matrix.slurm_options import SlurmOptions

OPTIONS = (
    "partition",
    "account",
    "qos",
    "time",
    "gpus",
    "cpus",
    "mem",
    "constraint",
    "nodes",
    "workers_per_gpu",
)


def add_flags(verb: argparse.ArgumentParser) -> None:
    """Add the flags of the verb; those of SLURM's options win over the matrix and the site file."""
    add = verb.add_argument
    for name in ("partition", "account", "qos", "constraint"):
        add(f"--{name}", help=f"submit every job with this {name}")
    add("--time", help="time limit of every job: minutes, or 12:00:00 (default: from the cost)")
    add("--mem", help="memory of every job, e.g. 16G")
    add("--nodes", type=int, help="spread the processes of a job over this many nodes (default: 1)")
    add("--gpus", help="GPUs per process, 0 or 1, or with a type, e.g. a100:1")
    add("--cpus", type=int, help="cores per process; of all workers that share a GPU")
    add_sharing_flag(verb, "train this many cohorts at once in a job, on its one GPU")
    add("--setup", action="append", default=[], help="run this shell line first (repeatable)")
    add(
        "--sbatch",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="pass any other option to sbatch (repeatable)",
    )
    add_site_flag(verb)
    add_training_flags(
        verb, cohort_size="train at most this many runs in one worker (default: 8 per job)"
    )
    add("--after", metavar="JOB[,JOB]", help="begin when these jobs have ended, well or not")
    add("--array-parallelism", type=positive, help="run at most this many jobs of an array at once")
    add("--max-jobs", type=positive, help="have at most this many jobs in the queue at once")
    add("--no-timing", action="store_true", help="do not time training steps on this machine")
    add("--snapshot", action="store_true", help="run the jobs from a copy of today's code")
    add("--dry-run", action="store_true", help="only print the sbatch scripts")
    add("--wait", action="store_true", help="follow until all jobs have ended")
    add("--keep-going", action="store_true", help="as --wait, and send lost runs again by itself")
    add_yes_flag(verb)


def options_of(args: argparse.Namespace) -> SlurmOptions:
    """SLURM's options from the site file, the matrix and the flags; the last one wins."""
    from experiments.cluster import addresses
    from experiments.matrix import schema
    from experiments.matrix.slurm_options import merged, parsed, site_file

    site = site_file(args.site)
    given = {name: getattr(args, name) for name in OPTIONS}
    given |= {"setup": args.setup, "array_parallelism": args.array_parallelism}
    given |= {"after": args.after, "max_jobs": args.max_jobs, "sbatch": parsed(args.sbatch) or None}
    return addresses.resolved(merged(site, schema.load(args.matrix).slurm, given))
