"""Results of a plugin that has changed since: shown as stale, accepted, or trained again."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import distillers
from distillers import plugins
from distillers.registry import REGISTRY
from experiments.matrix.run_spec import RunSpec
from models.base import REGISTRY as NETWORKS
from tests.experiments import cli
from tests.experiments.commands.report import reporting

HERE = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.usefixtures("own_registry", "inline")


@pytest.fixture
def trained(tmp_path) -> Iterator[Path]:
    """A folder with a matrix of a user's own method, everything trained."""
    shutil.copy(HERE / "my_method.py", tmp_path)
    cli.write(
        tmp_path, plugins=["my_method.py"], methods=["vanilla", "my_method"], recipe__epochs=1
    )
    assert call(tmp_path, "run").code == 0
    assert "5 runs: 5 done" in call(tmp_path, "status").out
    yield tmp_path


def call(folder: Path, verb: str, *more: str) -> cli.Called:
    """A command in a process that has not loaded the plugin yet."""
    forget()
    return cli.command(verb, folder / "matrix.yaml", *more)


def forget() -> None:
    for name in list(REGISTRY._entries):
        if plugins.of_modules([REGISTRY.source(name).rpartition(".")[0]]):
            del REGISTRY._entries[name]
    for name in list(NETWORKS._entries):
        if plugins.of_modules([NETWORKS.source(name)]):
            del NETWORKS._entries[name]
    for name in list(plugins.LOADED):
        sys.modules.pop(name, None)
        del plugins.LOADED[name]


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "my_method.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def results(folder: Path) -> list[Path]:
    return sorted((folder / "runs").rglob("result.json"))


def test_a_comment_changes_nothing(trained):
    edit(trained, "return 1 -", "# one minus the cosine\n        return 1 -")
    assert "5 runs: 5 done" in call(trained, "status").out
    assert "nothing to accept" in call(trained, "accept", "--yes").out


def test_changed_code_makes_finished_runs_stale(trained):
    edit(trained, "return 1 -", "return 2 -")
    shown = call(trained, "status").out
    assert "5 runs: 3 done, 2 stale" in shown
    assert "stale: my_method.py changed" in shown
    before = results(trained)
    ran = call(trained, "run")
    assert ran.code == 1
    assert "Mine, trial 0: stale: my_method.py changed" in ran.out
    assert "accept" in ran.out
    assert results(trained) == before
    table = call(trained, "table").out
    assert "2 stored runs are stale and left out" in table


def test_a_report_offers_both_ways(trained, monkeypatch):
    """To keep the results, or to train again; with the commands."""
    reports = reporting.install(monkeypatch)
    monkeypatch.setattr("experiments.slurm.is_here", lambda: False)
    edit(trained, "return 1 -", "return 2 -")
    assert call(trained, "report", "--output", "r").code == 0
    progress = reports.last[0].progress
    assert progress and not progress.active and progress.counts["stale"] == 2
    keep, redo = progress.steps
    assert " accept " in keep.command and keep.reason.startswith("2 runs made by other code of a")
    assert redo.command.endswith(" --redo-stale") and redo.reason.startswith("or train 2 stale")
    assert call(trained, "accept", "--yes").code == 0
    assert call(trained, "report", "--output", "r").code == 0
    content = reports.last[0]
    assert content.progress and content.progress.steps == ()
    assert [run.state for run in content.runs] == ["done"] * 5


def test_back_to_the_old_code(trained):
    edit(trained, "return 1 -", "return 2 -")
    assert "2 stale" in call(trained, "status").out
    edit(trained, "return 2 -", "return 1 -")
    assert "5 runs: 5 done" in call(trained, "status").out


def test_accepted_runs_count_and_the_table_says_so(trained):
    expected = call(trained, "table", "--format", "csv").out
    edit(trained, "return 1 -", "return 1.0 -")
    asked = call(trained, "accept")
    assert asked.code == 1  # nobody at a terminal confirmed it
    assert "my_method, trial 1: my_method.py changed" in asked.out
    assert "2 stale" in call(trained, "status").out
    assert call(trained, "accept", "--yes", "--trials", "0").code == 0
    assert "5 runs: 4 done, 1 stale" in call(trained, "status").out
    assert call(trained, "accept", "--yes").code == 0
    assert "5 runs: 5 done" in call(trained, "status").out
    assert call(trained, "table", "--format", "csv").out == expected
    assert "2 runs accepted although my_method.py changed" in call(trained, "table").out
    assert call(trained, "run").code == 0
    edit(trained, "return 1.0 -", "return 3 -")  # accepted for that code, not for any
    assert "2 stale" in call(trained, "status").out


def test_redone_runs_leave_the_old_ones_alone(trained):
    old = results(trained)
    edit(trained, "return 1 -", "return 2 -")
    assert call(trained, "run", "--redo-stale").code == 0
    assert "5 runs: 5 done" in call(trained, "status").out
    assert set(old) < set(results(trained))
    assert len(results(trained)) == len(old) + 2
    edit(trained, "return 2 -", "return 1 -")
    assert "5 runs: 5 done" in call(trained, "status").out


def test_a_failed_run_of_earlier_code_is_simply_tried_again(trained):
    for path in results(trained):
        if "my_method" in str(path):
            path.unlink()
            (path.parent / "error.txt").write_text("it broke\n")
    assert "2 failed" in call(trained, "status").out
    edit(trained, "return 1 -", "return 2 -")
    assert "5 runs: 3 done, 2 to do" in call(trained, "status").out
    assert call(trained, "run").code == 0


def test_moved_into_the_harness_unchanged_its_runs_stay(trained, monkeypatch):
    before = results(trained)
    name = "distillers.my_method_of_a_test"
    forget()
    spec = importlib.util.spec_from_file_location(name, trained / "my_method.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)  # as if the file were in distillers/
    cli.write(trained, methods=["vanilla", "my_method"], recipe__epochs=1)
    plugins.digest_of_module.cache_clear()
    called = cli.command("status", trained / "matrix.yaml")
    assert "5 runs: 5 done" in called.out
    assert cli.command("run", trained / "matrix.yaml").code == 0
    assert results(trained) == before


def as_before_syntax_trees(folder: Path) -> None:
    """Give the runs of the method the ids of earlier versions, which hashed the file's bytes."""
    older = plugins.read_plugin(folder / "my_method.py").older[: plugins.DIGITS]
    for path in results(folder):
        stored = yaml.safe_load((path.parent / "spec.yaml").read_text())
        if not stored["plugins"]:
            continue
        stored["plugins"] = [older]
        run = RunSpec.model_validate(stored)
        (path.parent / "spec.yaml").write_text(run.as_yaml())
        record = json.loads(path.read_text())
        record["spec"], record["run"] = stored, run.id
        path.write_text(json.dumps(record))
        path.parent.rename(run.directory(folder / "runs"))


def test_runs_of_earlier_versions_keep_their_ids(trained):
    distillers.load_plugin(trained / "my_method.py")
    as_before_syntax_trees(trained)
    before = results(trained)
    assert "5 runs: 5 done" in call(trained, "status").out
    assert call(trained, "run").code == 0
    assert results(trained) == before
    edit(trained, "return 1 -", "return 2 -")
    assert "2 stale" in call(trained, "status").out


NETWORK = """

import models
models.register("my_network", lambda num_classes: models.build("resnet8", num_classes))
"""


@pytest.mark.parametrize(
    ("pair", "method"),
    [("resnet14 -> resnet8 -> resnet8", "my_method"), ("[resnet14, my_network] -> resnet8", "kd")],
)
def test_changed_code_of_whom_others_learn_from(tmp_path, pair, method):
    """An assistant's method, or a member's network: its student is stale with it, or accepted."""
    (tmp_path / "my_method.py").write_text((HERE / "my_method.py").read_text() + NETWORK)
    one = {"recipe__epochs": 1, "trials": 1}
    cli.write(tmp_path, plugins=["my_method.py"], pairs=[pair], methods=[method], **one)
    assert call(tmp_path, "run").code == 0
    assert "3 runs: 3 done" in call(tmp_path, "status").out
    edit(tmp_path, "return 1 -", "return 2 -")
    assert "3 runs: 1 done, 2 stale" in call(tmp_path, "status").out
    assert call(tmp_path, "accept", "--yes").code == 0
    assert "3 runs: 3 done" in call(tmp_path, "status").out
    edit(tmp_path, "return 2 -", "return 1 -")
    assert "3 runs: 3 done" in call(tmp_path, "status").out
