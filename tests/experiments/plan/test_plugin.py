"""A user's own method in a file of its own, anywhere: used without any other edit."""

from __future__ import annotations

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import models
from experiments.plan.plan import prepare
from experiments.plan.workspace import Workspace
from models.checkpoints.files import save_weights
from tests.experiments import cli

pytestmark = pytest.mark.usefixtures("own_registry")
HERE = Path(__file__).resolve().parents[1]
CHECKOUT = HERE.parents[1]
METHODS = ["vanilla", "my_method", {"name": "my_method+kd", "options": {"weight": 1}}]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A folder outside of the checkout, with the method and a teacher; the shell is in it."""
    shutil.copy(HERE / "my_method.py", tmp_path)
    (tmp_path / "data").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_weights(models.build("resnet14", num_classes=4), tmp_path / "data" / "t.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def matrix(folder: Path, **changes: object) -> Path:
    teachers = {"resnet14": {"file": "t.pth"}}
    return cli.write(folder, methods=METHODS, teachers=teachers, trials=1, **changes)


def call(verb: str, *more: str) -> cli.Called:
    """A command as typed in that folder: every path is relative."""
    called = cli.call(verb, "matrix.yaml", "--runs", "runs", "--data", "data", *more)
    assert called.err == ""
    return called


def accuracies(*more: str) -> dict[str, float]:
    """Method -> mean of the csv table."""
    rows = csv.DictReader(io.StringIO(call("table", "--format", "csv", *more).out))
    return {row["method"]: float(row["mean"]) for row in rows}


def test_it_is_short():
    assert len((HERE / "my_method.py").read_text().splitlines()) <= 30


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("way", ["argument", "matrix"])
def test_named_by_argument_or_matrix(elsewhere, way):
    more = ("--plugin", "my_method.py") if way == "argument" else ()
    matrix(elsewhere, **({} if more else {"plugins": ["my_method.py"]}))
    assert "3 runs: 3 to do" in call("plan", "--no-timing", *more).out
    assert call("run", *more).code == 0
    assert list(accuracies(*more)) == ["Student alone", "Mine", "Mine+KD"]
    assert "3 runs: 3 done" in call("status", *more).out
    (record,) = (elsewhere / "runs" / "fake" / "resnet14--resnet8" / "my_method").glob(
        "*/result.json"
    )
    assert '"my_method"' in record.read_text()


def test_it_is_listed(elsewhere):
    listed = cli.call("list", "methods", "--plugin", "my_method.py")
    assert "my_method" in listed.out
    assert "not yet written" in listed.out


def test_without_the_file_its_name_is_unknown(elsewhere):
    matrix(elsewhere)
    called = cli.call("plan", "matrix.yaml")
    assert called.code == 2
    assert "unknown method 'my_method'" in called.err


def ids(folder: Path, plugin: str) -> list[str]:
    place = Workspace(folder / "runs", folder / "data", plugins=(folder / plugin,))
    return [entry.spec.id for entry in prepare("matrix.yaml", place).expansion.entries]


def test_the_content_of_the_file_counts_not_its_place(elsewhere):
    matrix(elsewhere)
    before = ids(elsewhere, "my_method.py")
    (elsewhere / "other").mkdir()
    (elsewhere / "my_method.py").rename(elsewhere / "other" / "mine.py")
    assert ids(elsewhere, "other/mine.py") == before


def test_comments_and_docstrings_do_not_count(elsewhere):
    matrix(elsewhere)
    path = elsewhere / "my_method.py"
    before = in_own_process(elsewhere)
    path.write_text(path.read_text().replace("1 - cos", "One minus cos") + "\n# another try\n")
    assert in_own_process(elsewhere) == before


def test_an_edited_file_is_another_method(elsewhere):
    matrix(elsewhere)
    path = elsewhere / "my_method.py"
    before = in_own_process(elsewhere)
    assert in_own_process(elsewhere) == before
    path.write_text(path.read_text().replace("return 1 - ", "return 2 - "))
    after = in_own_process(elsewhere)
    assert after[0] == before[0]  # the student alone
    assert not set(after[1:]) & set(before)


def in_own_process(folder: Path) -> list[str]:
    """`ids` in a fork: this process would know both versions, and refuse the second."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, "\n".join(ids(folder, "my_method.py")).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return text.split("\n")


def test_interrupted_and_resumed_it_ends_as_if_it_had_not_been(elsewhere, inline):
    """With the real processes: SIGTERM to `run` after the first epoch, then the same command."""
    matrix(elsewhere, recipe__epochs=10, dataset__train_size=128)
    end = interrupt(
        "run", "matrix.yaml", "--plugin", "my_method.py", "--verbose", after="Mine, trial 0: "
    )
    assert "stopped. What was saved is safe" in end
    shown = call("status", "--plugin", "my_method.py").out
    assert "to do: epoch " in shown
    assert "1/1 done" not in shown
    assert call("run", "--plugin", "my_method.py").code == 0
    resumed = accuracies("--plugin", "my_method.py")
    shutil.rmtree(elsewhere / "runs")
    assert call("run", "--plugin", "my_method.py").code == 0
    assert accuracies("--plugin", "my_method.py") == resumed


def interrupt(verb: str, *arguments: str, after: str) -> str:
    """Start a command, ask it to stop once it printed ``after``; returns the rest it prints."""
    command = [sys.executable, str(CHECKOUT / "benchmark.py"), verb, *arguments]
    places = ["--runs", "runs", "--data", "data", "--device", "cpu", "--workers", "1"]
    process = subprocess.Popen(
        [*command, *places],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if after in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
        assert process.wait(60) == 130, rest
    finally:
        process.kill()
    return rest
