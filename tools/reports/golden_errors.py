#!/usr/bin/env python3
"""How far the methods are from their official code: one row per case of a golden fixture.

    tools/reports/golden_errors.py                        print the table
    tools/reports/golden_errors.py --output results/reports/golden-errors.md

Runs the golden tests with --golden-errors and tabulates what they measured. Exit codes: 0, and 1 if
a test failed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tabulate import tabulate

from experiments.commands.arguments import output_file
from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from results import records
from tools.reports import shared

TESTS = CHECKOUT / "tests/distillers"
COLUMNS = ("value f64", "value f32", "gradient f64", "gradient f32", "parameters")
HEADER = ("fixture", "case", *COLUMNS)
ABOUT = """\
Largest error of each case, relative to the largest absolute value of what is compared: the terms
and the gradients at all inputs, in float64 and float32, and the gradients of learnable parameters
(whose references are float32; where those are rounding noise around zero, they are compared with
zero and left out here). Tolerances are those of the fixtures: 1e-8 in float64. Methods without a
fixture (TTM, WTTM, tf-NKD, HKD, ABKD, IKL-KD, RLD, WKD) are compared with loops written from their
formulas, in their tests. Made by `tools/reports/golden_errors.py`."""

Errors = Mapping[tuple[str, str], Mapping[str, float]]


def measure(selection: Sequence[str] = ()) -> Errors:
    """Largest errors by fixture and case; ``selection`` are arguments for pytest.

    By default all tests that compare with fixtures run. Raises RuntimeError with pytest's output if
    one fails.
    """
    if not selection:
        files = sorted(TESTS.glob("test_*.py"))
        selection = [
            str(file) for file in files if "golden.check" in file.read_text(encoding="utf-8")
        ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "errors.json"
        # A process of its own: tools do not import tests, and test modules change global state.
        command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider"]
        command += [f"--golden-errors={file}", *selection]
        run = subprocess.run(
            command, cwd=CHECKOUT, capture_output=True, text=True, errors="replace"
        )
        if run.returncode:
            raise RuntimeError(run.stdout + run.stderr)
        errors = json.loads(file.read_text(encoding="utf-8"))
    return {(fixture, case): row for fixture, case, row in errors}


def table(errors: Errors) -> str:
    """Markdown, one row per case."""
    rows = [
        [fixture, case, *(f"{row[c]:.0e}" if c in row else "" for c in COLUMNS)]
        for (fixture, case), row in sorted(errors.items())
    ]
    body = tabulate(rows, HEADER, tablefmt="pipe", disable_numparse=True)
    return f"## Methods against their official code\n\n{ABOUT}\n\n{body}\n"


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print or write."""
    parser = shared.make_parser(__doc__)
    parser.add_argument("--output", type=output_file, help="a file for the table")
    args = parser.parse_args(arguments)
    try:
        text = table(measure())
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    if args.output:
        records.write_atomic(args.output, text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
