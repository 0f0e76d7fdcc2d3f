"""Whatever lies in a runs directory: the commands go on, and what is bad is said in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.experiments import cli
from tests.fuzz import tree
from tests.fuzz.guard import harmless
from tests.fuzz.values import mutated

JSON_FILES = ("result.json", "starts.json", "measures.json", "claim-0001", "array.json")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    tree.make(folder)
    return folder


def verbs(folder: Path, run: str) -> list[list[str]]:
    """Command lines about a matrix or one run; none may write outside the folder."""
    matrix, runs, data = (str(folder / name) for name in ("matrix.yaml", "runs", "data"))
    of_matrix = ["--runs", runs, "--data", data, "--device", "cpu"]
    return [
        ["status", matrix, *of_matrix],
        ["status", matrix, "--each", *of_matrix],
        ["table", matrix, *of_matrix, "--measures", "nll,ece", "--best"],
        ["table", matrix, *of_matrix, "--format", "json"],
        ["report", matrix, *of_matrix, "--output", str(folder / "pages")],
        ["plan", matrix, *of_matrix, "--no-timing"],
        ["clean", matrix, *of_matrix],
        ["retry", matrix, *of_matrix],
        ["cancel", matrix, *of_matrix],
        ["collect", runs, "--output", str(folder / "board.jsonl"), "--history"],
        ["table", matrix, "--runs", str(folder / "board.jsonl"), "--data", data],
        ["report", str(folder / "board.jsonl"), "--output", str(folder / "p"), "--data", data],
        ["logs", run, "--runs", runs],
        ["export", run, "--runs", runs, "--output", str(folder / "s.pth")],
        ["evaluate", run, "--runs", runs, "--data", data, "--device", "cpu"],
    ]


def check(called: cli.Called) -> None:
    assert called.code in (0, 1, 2), called
    if called.code == 2:
        assert called.err.startswith("error: ") and called.err.count("\n") <= 11, called.err
    assert "Traceback" not in called.err


def texts(file: str) -> st.SearchStrategy[bytes]:
    """The content of a file: its own with something else in some places, or anything."""
    return st.binary()
