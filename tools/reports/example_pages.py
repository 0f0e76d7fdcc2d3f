#!/usr/bin/env python3
"""The committed example pages, and pictures of them.

    tools/reports/example_pages.py              write results/boards/pages/ anew

A page is what `benchmark.py report` makes of a committed board as a single file. Pictures are taken
by Chromium without a screen, of the page that has verdicts: on a desktop, light, and on a phone,
dark. Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import benchmark
from experiments import slurm
from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from tools.reports import shared

FOLDER = Path("results/boards/pages")  # paths are relative to the checkout
PAGES = {  # name -> the arguments of `report`
    "digits": ("experiments/digits.yaml", "--runs", "results/boards/digits.jsonl"),
    "cifar100-small": (
        "experiments/cifar100-small.yaml",
        *("--runs", "results/boards/cifar100-small.jsonl"),
    ),
}


@dataclass(frozen=True)
class Picture:
    """How a page is looked at."""

    name: str
    page: str
    width: int
    height: int
    dark: bool


PICTURES = (
    Picture("desktop", "cifar100-small", 1180, 1560, False),
    Picture("phone", "cifar100-small", 390, 1240, True),
)


def write(name: str) -> Path:
    """Write one page; returns where. The commands on it are the same on every machine."""
    page = FOLDER / f"{name}.html"
    arguments = ["report", *PAGES[name], "--single-file", "--output", str(page)]
    with patch.object(sys, "argv", ["benchmark.py"]), patch.object(slurm, "is_here", lambda: False):
        code = benchmark.main(arguments)
    if code:
        raise InputError(f"report of {name}: exit code {code}")
    return page


def take(pictures: Sequence[Picture]) -> None:
    """Take the pictures. InputError where there is no Chromium."""
    from playwright.sync_api import sync_playwright  # of requirements-dev.txt

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        raise InputError("no Chromium here: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for one in pictures:
            tab = browser.new_page(
                viewport={"width": one.width, "height": one.height},
                color_scheme="dark" if one.dark else "light",
            )
            tab.goto((CHECKOUT / FOLDER / f"{one.page}.html").as_uri())
            tab.wait_for_timeout(500)
            tab.screenshot(path=str(FOLDER / f"{one.page}-{one.name}.png"))
            tab.close()
        browser.close()


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, and take the pictures."""
    parser = shared.make_parser(__doc__)
    parser.add_argument("--no-pictures", action="store_true", help="write the pages only")
    args: argparse.Namespace = parser.parse_args(arguments)
    os.chdir(CHECKOUT)
    FOLDER.mkdir(exist_ok=True)
    for name in PAGES:
        write(name)
    if not args.no_pictures:
        take(PICTURES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
