"""Arguments that name finished runs: runs directories and board files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

ENDING = ".jsonl"  # that of results.board_file, which imports pydantic (a test compares them)


def check(places: Sequence[Path], flag: str = "") -> None:
    """Raise InputError for places that are neither; ``flag`` is what they were given to."""
    from experiments.errors import InputError, beside, together

    problems = []
    for place in places:
        if not place.exists():
            problems.append(f"{flag}{place}: no such file or directory{beside(place)}")
        elif not place.is_dir() and place.suffix != ENDING:
            expected = f"expected a runs directory or a board file (NAME{ENDING})"
            problems.append(f"{flag}{place}: {expected}")
        elif list(places).count(place) > 1:
            problems.append(f"{flag}{place}: given twice, expected once")
    error: InputError | None = together(problems)
    if error:
        raise error
