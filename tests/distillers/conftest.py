"""--golden-errors FILE: write down how far methods are from their reference code."""

import json
from pathlib import Path

from tests.distillers import golden


def pytest_addoption(parser):
    parser.addoption(
        "--golden-errors",
        metavar="FILE",
        help="write the largest error of each case of a golden fixture to FILE, as JSON",
    )


def pytest_sessionfinish(session):
    # The default serves runs over all tests, which load this file too late to add the option.
    if file := session.config.getoption("--golden-errors", default=None):
        errors = [[*case, row] for case, row in golden.ERRORS.items()]
        Path(file).write_text(json.dumps(errors))
