"""A matrix with its teachers, and what earlier work left behind."""

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
from experiments.doctor.finding import OK, WARN
from experiments.errors import InputError
from experiments.plan.workspace import Workspace
from experiments.rundir import claims
from tests.experiments import cli


def check(folder, **changes):
    workspace = Workspace(folder / "runs", folder / "data", "cpu")
    return matrix_checks.check_matrix(str(cli.write(folder, **changes)), workspace)


def test_a_good_matrix(tmp_path):
    need, findings = check(tmp_path)
    assert [f.level for f in findings] == [OK, OK]
    assert "7 runs: 7 to do" in findings[0].message
    parameters = sum(p.numel() for p in models.build("resnet8", 4).parameters())
    assert need.runs == 7
    assert need.weights > 6 * 4 * parameters


def test_what_is_done_needs_nothing(finished):
    need, findings = check(finished)
    assert (need.runs, need.weights) == (0, 0)
    assert "7 done" in findings[0].message


@pytest.mark.parametrize("is_right", [True, False])
def test_a_given_teacher(tmp_path, is_right):
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "teacher.safetensors"
    save_file(models.build("resnet14", 4).state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if is_right else "0" * 64
    teachers = {"resnet14": {"file": file.name, "sha256": digest}}
    if is_right:
        _, findings = check(tmp_path, teachers=teachers)
        assert [f.subject for f in findings] == ["matrix", "data", "teachers"]
    else:
        with pytest.raises(InputError, match="sha256"):
            check(tmp_path, teachers=teachers)


# ---- leftovers -----------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A run's directory that nobody has claimed yet; ``run.parents[3]`` is the runs directory."""
    path = tmp_path / "fake" / "none--resnet8" / "vanilla" / "0-abc"
    path.mkdir(parents=True)
    return path


def leftovers(run):
    return [f.level for f in matrix_checks.check_leftovers(run.parents[3])]


def test_a_run_whose_worker_is_gone(run):
    assert leftovers(run) == leftovers(run / "a/b/c/d") == [OK]
    claim = claims.take(run)
    assert leftovers(run) == [OK]  # at work
    claim.release()
    assert leftovers(run) == [WARN]
    (finding,) = matrix_checks.check_leftovers(run.parents[3])
    assert str(run) in finding.message
    (run / "result.json").write_text("{}")
    assert leftovers(run) == [OK]


def test_a_heartbeat_that_stopped(run):
    path = run / "claim-0001"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1", "slurm": None}))
    assert leftovers(run) == [OK]
    old = time.time() - 2 * claims.STALE_SECONDS
    os.utime(path, (old, old))
    assert leftovers(run) == [WARN]


@pytest.mark.parametrize("is_running", [False, True])
def test_a_submission_that_was_cut_off(run, is_running):
    runs = run.parents[3]
    entry = submitted.new(runs, "m.yaml", [])
    entry.folder.mkdir(parents=True)
    entry.write()
    claim = claims.take(runs / submitted.FOLDER) if is_running else None
    (finding,) = matrix_checks.check_leftovers(runs)
    assert finding.level == WARN
    assert ("another `submit` is running" in finding.fix) is is_running
    entry.with_job("5")
    assert leftovers(run) == [OK]
    assert claim is None or claim.is_held()
