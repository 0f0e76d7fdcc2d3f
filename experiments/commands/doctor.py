"""`doctor`: check everything a benchmark depends on."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from experiments.commands.common import (
    _SITE,
    Verbs,
    _add_places,
    add_verb,
)
from experiments.doctor.examination import (
    Examination,
)
from experiments.doctor.finding import FAIL, OK, WARN

_COUNTED = {OK: "ok", WARN: "to note", FAIL: "BAD"}


def doctor(args: argparse.Namespace) -> int:
    """What is wrong here and how to mend it: versions, GPU, cluster, disk, data."""
    levels: Counter[str] = Counter()
    for finding in Examination(args).findings():
        _say(str(finding))
        levels[finding.level] += 1
    counts = [f"{levels[level]} {word}" for level, word in _COUNTED.items() if levels[level]]
    _say(f"\n{levels.total()} checks: {', '.join(counts)}")
    return 1 if levels[FAIL] else 0


def _say(text: str) -> None:
    """Print at once; what a terminal cannot show (odd names of files) must not end the rest."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def add_doctor_arguments(verb: argparse.ArgumentParser) -> None:
    """What to look at; the matrix may be left out."""
    verb.add_argument("matrix", nargs="?", help="a YAML file; with it data and space are looked at")
    _add_places(verb)
    verb.add_argument("--partition", help="where jobs are to go")
    verb.add_argument("--site", type=Path, help=_SITE)


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_doctor_arguments(add_verb(verbs, "doctor", doctor))
