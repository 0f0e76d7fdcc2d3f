#!/usr/bin/env python3
"""Seconds, memory and size of `benchmark.py report`, and how soon a browser shows its page.

    tools/reports/report_pages.py --output results/reports/report-pages.md

Three boards: the committed one of 53 methods; 53 methods on the literature's 13 pairs, three
trials, all done, with measures and the histories of 60 epochs; and a matrix of about 20,000 runs in
all states (that of scale.py). Each is written as a folder, the first two also as a single file. The
browser is Chromium without a screen; its times are those until the first text is painted and until
the page has loaded, medians of five visits.
Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import json

import torch
import yaml

from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Expansion, Facts
from experiments.matrix.schema import Matrix
from results import records
from results.render import Table, markdown
from tools.reports import shared, synthetic_board, synthetic_runs
from tools.reports.scale import Taken, measure

VISITS = 5
PAIRS = (
    "wrn_40_2 -> wrn_16_2", "wrn_40_2 -> wrn_40_1", "resnet56 -> resnet20", "resnet110 -> resnet20",
    "resnet110 -> resnet32", "resnet32x4 -> resnet8x4", "vgg13 -> vgg8", "vgg13 -> MobileNetV2",
    "ResNet50 -> MobileNetV2", "ResNet50 -> vgg8", "resnet32x4 -> ShuffleV1",
    "resnet32x4 -> ShuffleV2", "wrn_40_2 -> ShuffleV1",
)  # fmt: skip
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_LOADED = "performance.timing.loadEventEnd - performance.timing.navigationStart"


@dataclass(frozen=True)
class Case:
    """A matrix and its runs; ``runs`` counts them."""

    name: str
    matrix: Path
    place: Path
    runs: int


@dataclass(frozen=True)
class Outcome:
    """What one report took; ``first`` and ``loaded`` are milliseconds in the browser."""

    case: Case
    form: str
    taken: Taken
    files: int
    size: int
    page: int  # bytes of what is opened first
    first: float
    loaded: float


def cases(folder: Path, runs: int) -> Iterator[Case]:
    """The three boards, made as they are asked for."""
    board = CHECKOUT / "results/boards/digits-all.jsonl"
    lines = len(board.read_text(encoding="utf-8").splitlines())
    yield Case("53 methods, 1 pair", CHECKOUT / "experiments/digits-all.yaml", board, lines)
    shared.progress("making 53 methods × 13 pairs × 3 trials …")
    (folder / "wide").mkdir()
    made = synthetic_runs.make_of(wide_matrix(), folder / "wide", _all_done)
    _add_measures(made)
    yield Case("53 methods × 13 pairs × 3 trials", made.matrix, made.runs, made.count)
    shared.progress(f"making about {runs:,} runs …")
    (folder / "long").mkdir()
    long = synthetic_runs.make(folder / "long", runs)
    yield Case(f"about {runs:,} runs in all states", long.matrix, long.runs, long.count)


def wide_matrix() -> dict[str, object]:
    """The methods of digits-all.yaml on the 13 pairs of the literature."""
    methods = yaml.safe_load(
        (CHECKOUT / "experiments/digits-all.yaml").read_text(encoding="utf-8")
    )["methods"]
    return {**synthetic_runs.matrix(100), "pairs": list(PAIRS), "methods": methods, "trials": 3}


def _all_done(expansion: Expansion) -> dict[str, str]:
    return {spec.id: "done" for spec in expansion.runs}


def _add_measures(made: synthetic_runs.Made) -> None:
    content = yaml.safe_load(made.matrix.read_text(encoding="utf-8"))
    for spec in expand(Matrix.model_validate(content), Facts()).runs:
        directory = spec.directory(made.runs)
        record = records.read(directory)
        assert record is not None
        found = synthetic_board.measures(spec, record.top1)
        (directory / records.MEASURES).write_text(json.dumps(found), encoding="utf-8")


def outcome(case: Case, form: str, folder: Path) -> Outcome:
    """Write one report and open it. InputError where `report` fails or there is no Chromium."""
    output = folder / ("report.html" if form == "single file" else "report")
    flags = ["--single-file"] if form == "single file" else []
    places = ["--runs", str(case.place), "--device", "cpu"]
    taken = measure(["report", str(case.matrix), *places, "--output", str(output), *flags])
    shared.progress(f"{case.name}, {form}: {taken.seconds:.1f} s")
    files = [output] if output.is_file() else [p for p in output.rglob("*") if p.is_file()]
    page = output if output.is_file() else output / "index.html"
    first, loaded = visit(page)
    size = sum(file.stat().st_size for file in files)
    found = Outcome(case, form, taken, len(files), size, page.stat().st_size, first, loaded)
    output.unlink() if output.is_file() else shutil.rmtree(output)
    return found


def visit(page: Path) -> tuple[float, float]:
    """Milliseconds until the first paint and until the page has loaded: medians."""
    from playwright.sync_api import sync_playwright  # of requirements-dev.txt

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        raise InputError("no Chromium here: apt-get install chromium")
    times: list[tuple[float, float]] = []
    with sync_playwright() as driver:
        for _ in range(VISITS):  # a fresh browser each time: nothing is cached
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            tab = browser.new_page()
            tab.goto(page.as_uri(), wait_until="load")
            tab.wait_for_timeout(300)
            times.append((float(tab.evaluate(_PAINT)), float(tab.evaluate(_LOADED))))
            browser.close()
    first, loaded = zip(*times, strict=True)
    return statistics.median(first), statistics.median(loaded)


def report(outcomes: Sequence[Outcome], command: str) -> str:
    """Markdown: a row per report."""
    header = [
        *("board", "form", "runs", "seconds", "of CPU", "peak memory (GB)", "files"),
        *("size (MB)", "first page (MB)", "first paint (s)", "loaded (s)"),
    ]
    rows = [
        [
            *(o.case.name, o.form, f"{o.case.runs:,}", f"{o.taken.seconds:.1f}"),
            *(f"{o.taken.cpu:.1f}", f"{o.taken.peak_bytes / 1e9:.2f}", f"{o.files:,}"),
            *(f"{o.size / 1e6:.1f}", f"{o.page / 1e6:.2f}"),
            *(f"{o.first / 1e3:.2f}", f"{o.loaded / 1e3:.2f}"),
        ]
        for o in outcomes
    ]
    device, code = shared.describe_machine(torch.device("cpu"))
    notes = [
        "Whole processes, start included. Every folder has 1.6 MB of scripts that its pages share.",
        f"device: {device}",
        code,
        f"command: {command}",
    ]
    return markdown([Table("Pages of a report", header, rows, notes=notes)])


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the report and write it where asked."""
    args = _parser().parse_args(arguments)
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in cases(folder, args.runs):
            forms = ["folder", "single file"] if case.runs < 10_000 else ["folder"]
            outcomes += [outcome(case, form, folder) for form in forms]
    shared.publish(report(outcomes, shared.command(__file__, arguments)), args.output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=20_000, help="size of the largest matrix")
    shared.add_output(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
