"""What queues show of an array: a name that begins with matrix and teacher, and a comment."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

from experiments.matrix.run_spec import RunSpec
from experiments.wording import plural

LONGEST_NAME, LONGEST_COMMENT = 40, 200  # characters; of a name, without "kd-" and what is random
# What squeue's and sacct's tables, and sbatch's script, take as it is.
_ODD = re.compile(r"[^A-Za-z0-9 ,.:+/_()=*~<>\[\]-]")


def name(matrix: str, about: str = "") -> str:
    """A unique name for a job, as "kd-cifar100-resnet56-0a1b2c3d"; ``about`` is a teacher's."""
    parts = (_plain(part) for part in (Path(matrix).stem, about) if part)
    return f"kd-{'-'.join(parts)[:LONGEST_NAME]}-{secrets.token_hex(4)}"


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text)


def teacher(specs: Iterable[RunSpec]) -> str:
    """Whom these runs are about: their teacher, else their student; nothing if there are several.

    Students with several teachers are never in one array.
    """
    found = {spec.teacher.name if spec.teacher else spec.student for spec in specs}
    return found.pop() if len(found) == 1 else ""


def comment(matrix: str, specs: Sequence[RunSpec]) -> str:
    """ "cifar100, resnet56 -> resnet20 vgg8, kd crd, 16 runs", in plain characters."""
    teachers = dict.fromkeys(spec.teacher.name for spec in specs if spec.teacher)
    students = dict.fromkeys(spec.student for spec in specs)
    pairs = f"{' '.join(teachers)} -> {' '.join(students)}" if teachers else " ".join(students)
    methods = " ".join(dict.fromkeys(spec.method for spec in specs))
    text = _ODD.sub("_", f"{Path(matrix).stem}, {pairs}, {methods}")
    count = f", {plural(len(specs), 'run')}"
    room = LONGEST_COMMENT - len(count)
    return (text if len(text) <= room else f"{text[: room - 3]}...") + count
