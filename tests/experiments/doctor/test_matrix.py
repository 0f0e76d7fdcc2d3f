"""Matrices that cannot be trained, and what earlier work left."""

from __future__ import annotations

import hashlib
import json
import os
import time

import pytest
from safetensors.torch import save_file

import models
from experiments.cluster import submitted
from experiments.doctor import matrix as matrix_checks
from experiments.doctor.finding import FAIL, OK, WARN
from experiments.matrix import schema
from experiments.plan.workspace import Workspace
from experiments.rundir import claims
from tests.experiments import cli


def planned(folder, **changes):
    source = cli.write(folder, **changes)
    place = Workspace(folder / "runs", folder / "data", "cpu")
    return matrix_checks.planned(str(source), schema.load(source), place)


def test_a_good_matrix(tmp_path):
    need, found = planned(tmp_path)
    assert [f.level for f in found] == [OK, OK]
    assert "7 runs: 7 to do" in found[0].found
    parameters = sum(p.numel() for p in models.build("resnet8", 4).parameters())
    assert need.runs == 7
    assert need.weights > 6 * 4 * parameters


def test_what_is_done_needs_nothing(finished):
    need, found = planned(finished)
    assert (need.runs, need.weights) == (0, 0)
    assert "7 done" in found[0].found


def test_a_wrong_method_and_good_data(tmp_path):
    need, found = planned(tmp_path, methods=["fitnit"])
    assert [f.level for f in found] == [FAIL, OK]
    assert "did you mean fitnet" in found[0].found
    assert need.runs == 0


def test_missing_data_is_said_once(tmp_path):
    _, found = planned(tmp_path, dataset={"name": "cifar100"})
    assert [f.level for f in found] == [FAIL]
    assert str(tmp_path / "data") in found[0].found


def test_two_things_wrong_are_two_lines(tmp_path):
    _, found = planned(tmp_path, dataset={"name": "cifar100"}, methods=["fitnit"])
    assert [f.level for f in found] == [FAIL, FAIL]


@pytest.mark.parametrize("right", [True, False])
def test_a_given_teacher(tmp_path, right):
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "teacher.safetensors"
    save_file(models.build("resnet14", 4).state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if right else "0" * 64
    _, found = planned(tmp_path, teachers={"resnet14": {"file": file.name, "sha256": digest}})
    assert [f.level for f in found] == ([OK] * 3 if right else [FAIL, OK])
    assert "sha256" in found[0].found or right


def test_plugins_without_a_matrix(tmp_path, own_registry):
    assert matrix_checks.plugins([tmp_path / "gone.py"]).level == FAIL
    (tmp_path / "broken.py").write_text("def")
    assert matrix_checks.plugins([tmp_path / "broken.py"]).level == FAIL
    (tmp_path / "fine.py").write_text("")
    assert matrix_checks.plugins([tmp_path / "fine.py"]).level == OK


# ---- left behind ---------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    """A runs directory with one run that nobody has begun."""
    (tmp_path / "fake" / "none--resnet8" / "vanilla" / "0-abc").mkdir(parents=True)
    return tmp_path


def run_of(runs):
    return next(runs.glob("fake/*/*/*"))


def test_nothing(runs, tmp_path):
    assert [f.level for f in matrix_checks.left_behind(runs)] == [OK]
    assert [f.level for f in matrix_checks.left_behind(tmp_path / "none")] == [OK]


def test_a_worker_at_work_is_not_left_behind(runs):
    assert claims.take(run_of(runs)) is not None
    assert [f.level for f in matrix_checks.left_behind(runs)] == [OK]


def test_a_worker_that_is_gone(runs):
    claim = claims.take(run_of(runs))
    assert claim is not None
    claim.release()
    (found,) = matrix_checks.left_behind(runs)
    assert (found.level, str(run_of(runs)) in found.found) == (WARN, True)


def test_a_heartbeat_that_stopped(runs):
    holder = {"host": "elsewhere", "pid": 1, "started": "1", "slurm": None}
    path = run_of(runs) / "claim-0001"
    path.write_text(json.dumps(holder))
    assert [f.level for f in matrix_checks.left_behind(runs)] == [OK]
    old = time.time() - 2 * claims.STALE_SECONDS
    os.utime(path, (old, old))
    assert [f.level for f in matrix_checks.left_behind(runs)] == [WARN]
    (run_of(runs) / "result.json").write_text("{}")
    assert [f.level for f in matrix_checks.left_behind(runs)] == [OK]


@pytest.mark.parametrize("busy", [False, True])
def test_a_submission_that_was_cut_off(runs, busy):
    entry = submitted.new(runs, "m.yaml", [])
    entry.folder.mkdir(parents=True)
    entry.write()
    claim = claims.take(runs / submitted.FOLDER) if busy else None
    (found,) = matrix_checks.left_behind(runs)
    assert found.level == WARN
    assert ("is at work" in found.found) is busy
    entry.with_job("5")
    assert [f.level for f in matrix_checks.left_behind(runs)] == [OK]
    assert claim is None or claim.is_held()
