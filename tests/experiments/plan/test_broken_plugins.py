"""A plugin that cannot be imported leaves out its own runs, with a line; the others go on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from experiments.rundir.outcome import Outcome
from experiments.worker import plugins, worker
from experiments.worker.blocking import Blocker
from tests.experiments import cli

pytestmark = pytest.mark.usefixtures("own_registry")
GOOD = Path(__file__).resolve().parents[1] / "my_method.py"
REGISTERS_KD = GOOD.read_text().replace('"my_method"', '"kd"')
BROKEN = {  # what is in the file -> what the line about it says
    "def f(:\n": "my_method.py, line 1",
    "\n\nimport no_such_package\n": "ModuleNotFoundError: No module named 'no_such_package' (at my",
    "x = 1\nraise RuntimeError('no\\nsuch device')\n": "no such device (at my_method.py:2)",
    "x = 1\nraise SystemExit(3)\n": "SystemExit: 3 (at my_method.py:2)",
    "x = " + "(" * 5000: "my_method.py",
    "x = 1\n": "registers nothing",
    "x = '\0'\n": "null bytes",
    REGISTERS_KD: "the name is taken by 'kd'",
}
METHODS = ["vanilla", "kd", "my_method"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "my_method.py").write_text("def f(:\n")
    cli.write(tmp_path, methods=METHODS, plugins=["my_method.py"], trials=1)
    return tmp_path


def call(place: Path, verb: str, *more: str) -> cli.Called:
    return cli.command(verb, place / "matrix.yaml", *more)


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text.strip()[:20].encode().hex())
def test_status_shows_the_other_runs(place: Path, text: str) -> None:
    (place / "my_method.py").write_text(text)
    called = call(place, "status")
    assert called.code == 0
    assert "3 runs: 3 to do" in called.out and "my_method" not in called.out
    first, second = called.err.splitlines()
    assert BROKEN[text] in first and "plugins.0" in first
    assert second == "note: left out its 1 run, of my_method"


def test_a_plugin_that_is_gone_or_may_not_be_read(place: Path) -> None:
    (place / "my_method.py").unlink()
    assert "no file at" in call(place, "status").err
    (place / "my_method.py").symlink_to("my_method.py")
    called = call(place, "status")
    assert (called.code, "3 runs" in called.out) == (0, True), called.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_plugin_without_permission(place: Path) -> None:
    (place / "my_method.py").chmod(0)
    assert "Permission denied" in call(place, "status").err


@pytest.mark.parametrize("verb", ["table", "clean", "retry"])
def test_looking_goes_on(place: Path, verb: str) -> None:
    called = call(place, verb)
    assert called.code in (0, 1) and "my_method.py, line 1" in called.err
    assert "error" not in called.err


@pytest.mark.usefixtures("inline")
def test_training_goes_on_and_ends_with_1(place: Path) -> None:
    planned = call(place, "plan", "--no-timing")
    assert planned.code == 1 and "3 runs: 3 to do" in planned.out
    called = call(place, "run", "--workers", "1")
    assert called.code == 1 and "my_method.py, line 1" in called.err
    assert "3 runs: 3 done" in call(place, "status").out
    shutil.copy(GOOD, place)  # mended: its run is to do, and nothing is complained about
    status = call(place, "status")
    assert "4 runs: 3 done, 1 to do" in status.out and not status.err


def test_an_explicit_plugin_is_still_bad_input(place: Path) -> None:
    cli.write(place, methods=["kd"], trials=1)
    plugin = ("--plugin", str(place / "my_method.py"))
    for verb in ("plan", "run"):
        called = call(place, verb, *plugin)
        assert called.code == 2 and "--plugin" in called.err and "line 1" in called.err
    assert call(place, "status", *plugin).code == 0


def test_a_network_of_the_plugin_leaves_out_its_pairs(place: Path) -> None:
    cli.write(
        place,
        pairs=["resnet14 -> resnet8", "mine -> resnet8", "resnet14 -> own"],
        methods=["kd"],
        plugins=["my_method.py"],
        recipe__lr_exceptions={"own*": 0.01},
    )
    called = call(place, "status")
    assert "3 runs: 3 to do" in called.out  # one teacher, two trials
    assert "left out its 4 runs, of mine, own" in called.err


def test_where_nothing_is_left_it_is_bad_input(place: Path) -> None:
    cli.write(place, methods=["my_method"], plugins=["my_method.py"])
    called = call(place, "status")
    assert called.code == 2 and "my_method.py, line 1" in called.err


def test_a_wrong_name_is_still_wrong_where_no_plugin_is_broken(place: Path) -> None:
    shutil.copy(GOOD, place)
    cli.write(place, methods=["kd", "my_methd"], plugins=["my_method.py"])
    assert call(place, "status").code == 2


def test_a_job_goes_on_without_the_runs_of_a_plugin_that_broke(place: Path) -> None:
    from experiments.plan.plan import prepare
    from experiments.plan.workspace import Workspace

    specs = [entry.spec for entry in cli.expansion(methods=["vanilla"], trials=1).entries]
    plan = prepare(str(place / "matrix.yaml"), Workspace(place / "runs", place / "data"))
    theirs = specs[0].model_copy(update={"method": "my_method", "plugins": ("0123",)})
    job = plan.template(1.0)
    job = type(job)(**{**vars(job), "specs": (*specs, theirs), "ids": (specs[0].id, "0" * 10)})
    job = type(job)(**{**vars(job), "plugins": (place / "my_method.py",)})
    said = []
    block = Blocker(job, lambda spec, row: said.append((spec, row)), writes=False)
    assert plugins.without_broken(job, block) == specs
    assert [(spec, row["state"]) for spec, row in said] == [(theirs, Outcome.BLOCKED)]
    assert "my_method.py, line 1" in said[0][1]["error"]
    job.write(place / "job.json")
    assert worker.work(place / "job.json", as_json=False) == 1  # one blocked
    assert (specs[0].directory(place / "runs") / "result.json").exists()
