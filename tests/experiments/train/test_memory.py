"""A GPU's memory that several workers share: its errors in words, and what becomes of the runs."""

from __future__ import annotations

import pytest
import torch

from experiments.rundir.outcome import Outcome
from experiments.train import memory, networks, teachers, trainer
from experiments.worker import worker
from experiments.worker.job import Job
from tests.experiments import tiny

ALLOCATOR = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB"
SHORT = [
    torch.OutOfMemoryError(ALLOCATOR),
    RuntimeError(ALLOCATOR),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]
OTHER = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ValueError(ALLOCATOR),
    MemoryError(),
]


@pytest.fixture
def shared(monkeypatch):
    monkeypatch.setenv(memory.WORKERS_PER_GPU, "4")


@pytest.mark.parametrize("error", SHORT, ids=lambda e: str(e)[:40])
def test_of_a_shared_gpu_it_says_so_and_what_to_do(shared, error):
    line = memory.shortage(error) or ""
    assert line.startswith("the GPU, which 4 workers share, is out of memory: ")
    assert "use --workers-per-gpu 2 (CU" in line.replace("cuDNN", "CU")
    assert "\n" not in line and len(line) < 300


@pytest.mark.parametrize("error", OTHER, ids=lambda e: str(e)[:40])
def test_other_errors_keep_their_words(shared, error):
    assert memory.shortage(error) is None


@pytest.mark.parametrize(("workers", "fewer"), [("2", "1"), ("3", "1"), ("8", "4")])
def test_the_advice_is_fewer(monkeypatch, workers, fewer):
    monkeypatch.setenv(memory.WORKERS_PER_GPU, workers)
    assert f"use --workers-per-gpu {fewer} (" in (memory.shortage(SHORT[0]) or "")


@pytest.mark.parametrize("value", [None, "1", "0", "", "many"])
def test_alone_on_a_gpu_nobody_else_is_to_blame(monkeypatch, value):
    if value is not None:
        monkeypatch.setenv(memory.WORKERS_PER_GPU, value)
    assert memory.shortage(SHORT[0]) is None


def reports(job):
    seen = {}
    job.report = lambda spec, row: seen.update({spec.method: row}) if "state" in row else None
    return seen


def test_a_run_without_memory_leaves_and_may_be_resumed(shared, tmp_path, monkeypatch):
    """It is not recorded as failed; the other run of its cohort goes on."""
    job, methods = tiny.cohort(tmp_path, ("kd", "at")), []
    seen, step = reports(job), networks.run

    def short(*arguments):
        methods.append(1)
        if len(methods) == 6:  # a student's pass, a few steps on
            raise SHORT[0]
        return step(*arguments)

    monkeypatch.setattr(networks, "run", short)
    trainer.train(job)
    states = sorted(row["state"] for row in seen.values())
    assert states == [Outcome.DONE, Outcome.INTERRUPTED]
    assert not list(tmp_path.rglob("error.txt"))
    monkeypatch.undo()
    assert set(trainer.train(tiny.cohort(tmp_path, ("kd", "at"))).values()) == {Outcome.DONE}


def test_alone_it_is_a_failure_of_the_run_as_before(tmp_path, monkeypatch):
    job = tiny.cohort(tmp_path, ("vanilla",))
    seen = reports(job)

    def short(*arguments):
        raise SHORT[0]

    monkeypatch.setattr(networks, "run", short)
    trainer.train(job)
    assert seen["vanilla"]["state"] == Outcome.FAILED
    assert "OutOfMemoryError: CUDA out of memory" in seen["vanilla"]["error"]


def test_without_memory_for_the_teachers_pass_all_are_released(shared, tmp_path, monkeypatch):
    job = tiny.cohort(tmp_path, ("kd", "at"))
    seen = reports(job)

    def short(*arguments):
        raise SHORT[2]

    monkeypatch.setattr(trainer, "teacher_outputs", short)
    trainer.train(job)
    assert {row["state"] for row in seen.values()} == {Outcome.INTERRUPTED}
    monkeypatch.undo()
    assert set(trainer.train(tiny.cohort(tmp_path, ("kd", "at"))).values()) == {Outcome.DONE}


@pytest.mark.parametrize("is_shared", [True, False])
def test_without_memory_to_begin(tmp_path, monkeypatch, capsys, is_shared):
    """While its teacher is loaded: said in one line per run. Alone, the worker's own traceback."""

    def short(*arguments):
        raise SHORT[2]

    monkeypatch.setattr(teachers, "load", short)
    monkeypatch.setenv(memory.WORKERS_PER_GPU, "2" if is_shared else "1")
    path = tmp_path / "job.json"
    specs = (tiny.spec("kd"), tiny.spec("at"))
    Job(specs, tmp_path / "runs", tmp_path, {}, tmp_path / "teacher", ()).write(path)
    if not is_shared:
        with pytest.raises(RuntimeError, match="out of memory"):
            worker.work(path, as_json=False)
        return
    assert worker.work(path, as_json=False) == 1
    said = capsys.readouterr().out
    assert said.count(": interrupted: the GPU, which 2 workers share, is out of memory") == 2
