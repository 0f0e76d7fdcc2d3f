"""A matrix on a real SLURM: the same numbers as on this machine, and what sbatch refuses."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from experiments import slurm
from experiments.cluster import submitted
from experiments.commands import follow
from experiments.slurm import ABOUT_TO_TIME_OUT
from results import records
from tests.experiments import cli
from tests.slurm.dev_cluster import wait_until

MATRIX = {
    "dataset": {"name": "digits", "subset": 600},
    "recipe": {"epochs": 2, "batch_size": 64, "schedule": "cosine"},
    "pairs": ["resnet14 -> resnet8"],
    "methods": ["vanilla", "kd", "at"],
    "trials": 2,
}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "FIRST", 2.0)


def write(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "matrix.yaml"
    path.write_text(yaml.safe_dump(MATRIX | changes, sort_keys=False))
    return path


def call(verb: str, matrix: Path, *more: str, runs: str = "runs") -> cli.Called:
    """`benchmark.py VERB` from the matrix's folder, paths relative to it."""
    before = Path.cwd()
    os.chdir(matrix.parent)
    try:
        return cli.call(verb, matrix.name, "--runs", runs, *more)
    finally:
        os.chdir(before)


def outcomes(runs: Path) -> dict[str, object]:
    """Run id -> everything that its numbers are."""
    found = [record for _, record in records.scan(runs)]
    return {r.run: (r.accuracy, r.weights, r.parameters, r.steps) for r in found}


def test_the_same_numbers_as_on_this_machine(tmp_path: Path) -> None:
    matrix = write(tmp_path / "a folder, with spaces")
    sent = call("submit", matrix, "--yes", "--wait", "--cohort-size", "2")
    assert sent.code == 0, sent.out + sent.err
    assert "7 done" in sent.out
    local = call("run", matrix, runs=str(tmp_path / "local"))
    assert local.code == 0, local.err
    here, there = outcomes(tmp_path / "local"), outcomes(matrix.parent / "runs")
    assert len(here) == 7
    assert here == there
    again = call("submit", matrix, "--yes")
    assert again.code == 0
    assert "nothing to send" in again.out


def slurm_says(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_queue_shows_what_jobs_are_about_and_what_they_wait_for(tmp_path: Path) -> None:
    other = slurm_says("sbatch", "--parsable", "--hold", "--output", "/dev/null", "--wrap", "true")
    matrix = write(tmp_path, methods=["vanilla"], trials=1)
    try:
        sent = call("submit", matrix, "--yes", "--no-timing", "--after", other)
        assert sent.code == 0, sent.out + sent.err
        (array,) = submitted.load(tmp_path / "runs")
        name, comment, waits = slurm_says(
            "squeue", "-h", "-j", str(array.job), "-o", "%j|%k|%E"
        ).split("|")
        assert name.startswith("kd-matrix-resnet8-")
        assert comment == "matrix, resnet8, vanilla, 1 run"
        assert waits.startswith(f"afterany:{other}")
        assert call("cancel", matrix, "--yes").code == 0
    finally:
        slurm_says("scancel", other)


def test_jobs_run_from_the_snapshot(tmp_path: Path) -> None:
    matrix = write(tmp_path, methods=["vanilla"], trials=1)
    sent = call("submit", matrix, "--yes", "--wait", "--snapshot")
    assert sent.code == 0, sent.out + sent.err
    (entry,) = submitted.load(tmp_path / "runs")
    assert entry.snapshot
    assert (Path(entry.snapshot) / "SNAPSHOT.json").exists()
    script = (entry.folder / "submission.sh").read_text()
    assert f"{entry.snapshot}/benchmark.py" in script
    ((_, record),) = records.scan(tmp_path / "runs")
    assert record.starts[0].commit == (entry.code or {})["commit"]
    assert not any("code" in warning for warning in record.warnings)


@pytest.mark.parametrize(
    ("flags", "own", "said"),
    [
        (("--partition", "gold"), {}, "partition gold: none that you can see"),
        (("--account", "nobody"), {}, "may not use 'nobody'"),
        (("--qos", "express"), {}, "nvalid qos"),
        (("--constraint", "moon"), {}, "nvalid feature"),
        (("--mem", "900T"), {}, "the largest of batch has"),
    ],
    ids=["partition", "account", "qos", "constraint", "memory"],
)
def test_sbatch_refuses(
    tmp_path: Path, flags: tuple[str, ...], own: dict[str, int], said: str
) -> None:
    matrix = write(tmp_path, slurm=own, trials=25, methods=["vanilla"])
    sent = call("submit", matrix, "--yes", "--no-timing", *flags)
    assert sent.code == 2
    assert said in sent.err
    assert sent.err.count("\n") == 1
    assert "nothing was submitted" in sent.err
    assert submitted.load(tmp_path / "runs") == []
    assert "25 to do" in call("status", matrix).out


def test_a_limit_of_the_user_is_said_and_the_rest_sent_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "mine", lambda *_, **__: 0)  # other tests have jobs there, too
    matrix = write(tmp_path, methods=["vanilla"], trials=3)
    flags = ("--yes", "--wait", "--no-timing", "--cohort-size", "1", "--max-jobs", "2")
    first = call("submit", matrix, *flags)
    assert "1 more job exceeds your limit" in first.out
    assert "2 done, 1 to do" in first.out
    assert first.code == 1
    second = call("submit", matrix, *flags)
    assert "3 done" in second.out
    assert second.code == 0


def test_the_result_says_where_it_was_made(tmp_path: Path) -> None:
    matrix = write(tmp_path, methods=["vanilla"], trials=1)
    sent = call("submit", matrix, "--yes", "--wait", "--no-timing")
    assert sent.code == 0, sent.out + sent.err
    ((_, record),) = records.scan(tmp_path / "runs")
    (start,) = record.starts
    assert start.job is not None
    (entry,) = submitted.load(tmp_path / "runs")
    assert json.loads((entry.folder / "array.json").read_text())["job"] == entry.job


@pytest.mark.parametrize("nodes", ["1", "2"])
def test_a_job_of_several_processes(nodes: str, tmp_path: Path) -> None:
    """The same numbers as where this machine starts them, bit for bit."""
    matrix = write(tmp_path, methods=["kd", "rkd"], trials=1, processes=2)
    sent = call("submit", matrix, "--yes", "--wait", "--nodes", nodes)
    assert sent.code == 0, sent.out + sent.err
    local = call("run", matrix, runs=str(tmp_path / "local"))
    assert local.code == 0, local.err
    here, there = outcomes(tmp_path / "local"), outcomes(tmp_path / "runs")
    assert len(here) == 3
    assert here == there
    for _, record in records.scan(tmp_path / "runs"):
        assert record.starts[0].processes == 2


def test_a_job_of_several_processes_is_handed_back(tmp_path: Path) -> None:
    """At the warning before its time limit, which all its processes get; then it goes on."""
    recipe = {"epochs": 40, "batch_size": 64, "schedule": "cosine"}
    matrix = write(tmp_path, recipe=recipe, methods=["vanilla"], trials=1, processes=2)
    flags = ("--nodes", "2", "--save-minutes", "0.02")
    assert call("submit", matrix, "--yes", *flags).code == 0
    runs = tmp_path / "runs"
    wait_until(lambda: any(runs.rglob("checkpoint")), 120, "a saved step")
    (entry,) = submitted.load(runs)
    warning = f"--signal={ABOUT_TO_TIME_OUT.name.removeprefix('SIG')}"
    subprocess.run(["scancel", warning, entry.job], check=True)
    wait_until(lambda: bool(outcomes(runs)), 240, "a result")
    (record,) = (record for _, record in records.scan(runs))
    assert [start.ended for start in record.starts] == [None, None]
    assert record.starts[1].steps > 0
    assert call("run", matrix, runs="local").code == 0
    assert outcomes(tmp_path / "local") == outcomes(runs)


@pytest.mark.skipif(
    "KD_ALL_PAIRS" not in os.environ,
    reason="takes two minutes (`make test-all`); cluster/test_packing.py does it with a stand-in",
)
@pytest.mark.parametrize("how", ["warning", "requeue"])
def test_a_job_of_several_workers_is_handed_back(tmp_path: Path, how: str) -> None:
    """At the warning before its time limit, or preempted; then both its cohorts go on."""
    recipe = {"epochs": 40, "batch_size": 64, "schedule": "cosine"}
    own = {"workers_per_gpu": 2}
    matrix = write(tmp_path, recipe=recipe, methods=["vanilla"], trials=2, slurm=own)
    assert call("submit", matrix, "--yes", "--no-timing", "--save-minutes", "0.02").code == 0
    runs = tmp_path / "runs"
    wait_until(lambda: len(list(runs.rglob("checkpoint"))) == 2, 120, "a saved step of both")
    (entry,) = submitted.load(runs)
    assert [len(ids) for ids in entry.tasks] == [2]
    warning = f"--signal={ABOUT_TO_TIME_OUT.name.removeprefix('SIG')}"
    order = ["scancel", warning] if how == "warning" else ["scontrol", "requeue"]
    subprocess.run([*order, str(entry.job)], check=True)
    wait_until(lambda: len(outcomes(runs)) == 2, 300, "both results")
    for _, record in records.scan(runs):
        assert len(record.starts) == 2
        assert record.starts[1].steps
    assert call("run", matrix, runs="local").code == 0
    assert outcomes(tmp_path / "local") == outcomes(runs)


def test_probes_are_sent_like_any_run(tmp_path: Path) -> None:
    """The students by `run`, their probes by `submit`."""
    other = {"name": "fake", "num_classes": 3, "image_size": 16, "train_size": 48, "test_size": 24}
    block = {"datasets": [other], "recipe": {"epochs": 2, "milestones": [1], "batch_size": 16}}
    matrix = write(tmp_path, methods=["vanilla", "kd"], trials=1, transfer=block)
    waiting = call("submit", matrix, "--yes", "--transfer", "fake")
    assert "nothing to send" in waiting.out, waiting.out + waiting.err
    assert call("run", matrix).code == 0
    sent = call("submit", matrix, "--yes", "--wait", "--transfer", "fake")
    assert sent.code == 0, sent.out + sent.err
    assert "2 done" in sent.out
