#!/usr/bin/env python3
"""How far the methods are from their official code: one row per case of a golden fixture.

    tools/reports/golden_errors.py                        print the table
    tools/reports/golden_errors.py --output results/reports/golden-errors.md

Runs the golden tests and writes down what their comparisons saw. Exit codes: 0, and 1 where one
failed.
"""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pytest
import torch
from tabulate import tabulate

from experiments.environment import CHECKOUT
from results import records

golden: Any = importlib.import_module("tests.distillers.golden")  # no package mypy could follow
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

Errors = dict[tuple[str, str], dict[str, float]]


class Recorder:
    """Notes the largest error of every comparison, by fixture and case."""

    def __init__(self) -> None:
        self.errors: Errors = defaultdict(dict)

    def note(self, case: Any, column: str, error: float) -> None:
        row = self.errors[case.method, case.name]
        row[column] = max(row.get(column, 0.0), float(error))

    def install(self) -> None:
        """Put this between the tests and the comparisons."""
        check_value, check_gradients = golden.check_value, golden.check_gradients
        check_parameters = golden.check_parameter_gradients

        def value(case: Any, term: str, found: torch.Tensor) -> float:
            error: float = check_value(case, term, found)
            self.note(case, f"value {_precision(found)}", error)
            return error

        def gradients(
            case: Any, inputs: Mapping[str, torch.Tensor], *more: Any, **only: Any
        ) -> float:
            error: float = check_gradients(case, inputs, *more, **only)
            floating = next(x for x in inputs.values() if x.is_floating_point())
            self.note(case, f"gradient {_precision(floating)}", error)
            return error

        golden.check_value, golden.check_gradients = value, gradients
        golden.check_parameter_gradients = self._noting(check_parameters)

    def _noting(self, check: Callable[..., float]) -> Callable[..., float]:
        def parameters(case: Any, *arguments: Any) -> float:
            error = check(case, *arguments)
            self.note(case, "parameters", error)
            return error

        return parameters


def _precision(tensor: torch.Tensor) -> str:
    return "f64" if tensor.dtype == torch.float64 else "f32"


def table(errors: Errors) -> str:
    """Markdown, one row per case."""
    rows = [
        [fixture, case, *(f"{row[c]:.0e}" if c in row else "" for c in COLUMNS)]
        for (fixture, case), row in sorted(errors.items())
    ]
    body = tabulate(rows, HEADER, tablefmt="pipe", disable_numparse=True)
    return f"## Methods against their official code\n\n{ABOUT}\n\n{body}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print or write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=Path, help="a file for the table")
    args = parser.parse_args(arguments)
    recorder = Recorder()
    recorder.install()
    files = [str(path) for path in sorted(TESTS.glob("test_*.py")) if "golden." in path.read_text()]
    said = io.StringIO()
    with redirect_stdout(said):
        code = pytest.main(["-q", "-p", "no:xdist", "-p", "no:cacheprovider", *files])
    if code:
        print(said.getvalue(), file=sys.stderr)
        return 1
    text = table(recorder.errors)
    if args.output:
        records.write_atomic(args.output, text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
