"""The image files of a matrix's data set: each is decoded, and what is odd is listed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import datasets
from datasets.inspection import Inspection, inspect
from datasets.loaders import count_workers
from experiments.doctor.finding import FAIL, OK, WARN, Finding
from experiments.matrix.schema import Matrix
from experiments.wording import plural

SHOWN = 50  # odd files that are listed of a kind; of bad ones, all


def check_images(matrix: Matrix, root: Path) -> Iterator[Finding]:
    """One finding per file that cannot be read, one per kind of odd or skipped files, and a sum.

    Raises DataError if the set is not there, or its folders are not laid out as expected.
    """
    name, options = matrix.dataset.name, matrix.dataset.options
    parts = datasets.files(name, root, options)
    if parts is None:
        yield Finding(OK, "images", f"{name} is not made of image files")
        return
    workers = count_workers(name, options.get("workers"))
    found = inspect(name, *parts, workers)
    for problem in found.problems:
        yield Finding(FAIL, "images", problem, "replace the file, or remove it")
    for kind, paths in sorted(found.odd.items()):
        yield Finding(WARN, "images", f"{kind} ({len(paths)}): {_listed(paths)}")
    yield _sum(found)


def _sum(found: Inspection) -> Finding:
    modes = ", ".join(f"{count} {mode}" for mode, count in found.modes.most_common())
    message = f"{plural(found.files, 'file')}, {len(found.problems)} unreadable; modes: {modes}"
    return Finding(FAIL if found.problems else OK, "images", message)


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more
