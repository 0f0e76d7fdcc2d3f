"""`doctor`: check everything a benchmark depends on."""

from __future__ import annotations

import argparse
from collections import Counter

from experiments.commands.common import (
    Verbs,
    add_data_flags,
    add_file,
    add_runs_flag,
    add_site_flag,
    add_verb,
)
from experiments.doctor.finding import FAIL, OK, WARN
from experiments.wording import plural


def doctor(args: argparse.Namespace) -> int:
    """Find what is wrong here and how to fix it: versions, GPU, cluster, disk, data."""
    from experiments.doctor.examination import Examination
    from experiments.errors import InputError

    if args.images and not args.matrix:
        raise InputError("--images looks through a matrix's data set: name the matrix, too")

    levels: Counter[str] = Counter()
    for finding in Examination(args).findings():
        if finding.level != OK or not args.quiet:
            print(finding, flush=True)
        levels[finding.level] += 1
    counts = [f"{levels[level]} {level}" for level in (OK, WARN, FAIL) if levels[level]]
    print(f"\n{plural(levels.total(), 'check')}: {', '.join(counts)}")
    return 1 if levels[FAIL] else 0


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_verb(verbs, "doctor", doctor)
    verb.set_defaults(loads_torch=False)  # whether it can be imported is a check of its own
    add_file(
        verb,
        "matrix",
        nargs="?",
        help="a YAML file; with it, its data and disk space are checked too",
    )
    verb.add_argument(
        "--images",
        action="store_true",
        help="decode every image file of the matrix's data set, and list what is bad or odd",
    )
    add_runs_flag(verb)
    add_data_flags(verb)
    verb.add_argument("--partition", help="check that jobs can go to this partition")
    add_site_flag(verb)
