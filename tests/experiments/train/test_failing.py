"""A run that fails is recorded with its reason; the others continue."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.experiments import cli

pytestmark = pytest.mark.usefixtures("own_registry", "inline")

DIVERGING = '''
import os

from torch import nn

from distillers import Distiller, Needs, register


@register("unstable", title="Unstable")
class Unstable(Distiller):
    """Not finite from some step on, while the environment asks for it."""

    needs = Needs(embedding=True)
    defaults = {"after": 3}

    def loss(self, student, teacher, batch):
        value = student.embedding.square().mean()
        late = 10 * batch.epoch + batch.step >= self.options.after
        late = late and len(batch) > 8  # not in the dry step of planning, which would refuse it
        return value * float("nan") if late and "KD_TEST_UNSTABLE" in os.environ else value


@register("faulty", title="Faulty")
class Faulty(Distiller):
    """Breaks in its second step."""

    def loss(self, student, teacher, batch):
        if batch.step:
            raise LookupError("no such\\nthing")
        return student.logits.square().mean()
'''


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "own.py").write_text(DIVERGING)
    monkeypatch.setenv("KD_TEST_UNSTABLE", "1")
    return tmp_path


def matrix(folder: Path, *methods: object) -> Path:
    return cli.write(folder, methods=list(methods), plugins=["own.py"], trials=1)


def error_of(folder: Path, method: str) -> Path:
    (path,) = (folder / "runs" / "fake" / "resnet14--resnet8" / method).rglob("error.txt")
    return path


@pytest.mark.parametrize(("after", "where"), [(11, "epoch 1, step 1"), (20, "epoch 2, step 0")])
def test_divergence_is_recorded_and_the_others_finish(folder, after, where):
    path = matrix(folder, "kd", {"name": "unstable", "options": {"after": after}}, "fitnet")
    called = cli.command("run", path)
    assert called.code == 1
    assert called.err == ""
    line = error_of(folder, "unstable").read_text().split("\n")[0]
    assert line.startswith(f"Diverged: loss not finite at {where}: ce ")
    assert "unstable nan; last finite: ce " in line
    last = dict(part.split() for part in line.partition("last finite: ")[2].split(", "))
    assert float(last["ce"]) > 0
    assert float(last["unstable"]) > 0
    assert f"resnet14 -> resnet8, unstable, trial 0: failed: {line}" in called.out
    assert "--retry-failed" in called.out
    assert "4 runs: 3 done, 1 failed" in cli.command("status", path).out
    table = csv.DictReader(io.StringIO(cli.command("table", path, "--format", "csv").out))
    assert [(row["n"], row["failed"]) for row in table] == [("1", "0"), ("0", "1"), ("1", "0")]
    assert f"- ¹ failed: {line[:40]}" in cli.command("table", path).out


def test_a_failed_run_is_tried_again_only_when_asked(folder, monkeypatch):
    path = matrix(folder, "kd", "unstable")
    assert cli.command("run", path).code == 1
    text = error_of(folder, "unstable").read_text()
    monkeypatch.delenv("KD_TEST_UNSTABLE")
    before = cli.listing(folder)
    again = cli.command("run", path)
    assert (again.code, cli.listing(folder)) == (1, before)
    assert cli.command("run", path, "--retry-failed").code == 0
    assert "3 runs: 3 done" in cli.command("status", path).out
    (kept,) = (folder / "runs").rglob("error.txt.broken")
    assert kept.read_text() == text


def test_a_failed_teacher_blocks_its_students_only(folder):
    path = cli.write(folder, trials=1, teacher_recipe={"lr": 1e30})
    called = cli.command("run", path)
    assert called.code == 1
    assert "resnet14, vanilla, trial 0: failed: Diverged: " in called.out
    shown = cli.command("status", path).out
    assert "4 runs: 1 done, 2 blocked, 1 failed" in shown
    assert "blocked: its teacher (resnet14, vanilla, trial 0): failed" in shown
    table = cli.command("table", path).out
    assert table.count("blocked¹") == 2
    assert "- ¹ blocked: its teacher (resnet14, vanilla, trial 0): failed\n" in table
    before = cli.listing(folder)
    assert cli.command("run", path).code == 1
    assert cli.listing(folder) == before


def test_an_error_in_a_method_ends_its_run_alone(folder):
    path = matrix(folder, "faulty", "kd")
    assert cli.command("run", path).code == 1
    text = error_of(folder, "faulty").read_text()
    first = "loss() of faulty: LookupError: no such thing (own.py:"
    assert text.startswith(first)
    assert "Traceback" in text
    assert 'own.py", line' in text
    shown = cli.command("status", path).out
    assert "3 runs: 2 done, 1 failed" in shown
    assert f"failed: {first}" in shown


def test_all_members_of_a_cohort_may_fail(folder):
    path = matrix(folder, "faulty", "unstable")
    assert cli.command("run", path).code == 1
    assert "3 runs: 1 done, 2 failed" in cli.command("status", path).out
    shown = cli.command("table", path).out
    assert "failed¹" in shown and "failed²" in shown and "–: not there yet" in shown
    assert "- ¹ failed: loss() of faulty: LookupError: no such thing (own.py:" in shown
