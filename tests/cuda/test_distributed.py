"""A run on two GPUs is the run in two CPU processes: NCCL does what gloo does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from experiments.rundir.layout import WEIGHTS
from tests.experiments import tiny
from tests.experiments.train import test_distributed as processes

METHODS = ("kd", "fitnet", "crd", "rkd")

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices"),
]


def test_two_gpus_are_two_processors(tmp_path: Path) -> None:
    file = tmp_path / WEIGHTS
    processes.save_teacher(file)
    places = {}
    for device in ("cpu", "cuda"):
        job = processes.job(tmp_path / device, file, METHODS)
        done = processes.work(dataclasses.replace(job, device=device))
        assert done.returncode == 0, done.stderr
        places[device] = job.runs
    for method in METHODS:
        directories = [processes.spec(method, file).directory(p) for p in places.values()]
        cpu, cuda = (tiny.load_file(directory / WEIGHTS) for directory in directories)
        for name, expected in cpu.items():
            if "num_batches" not in name:
                torch.testing.assert_close(cuda[name], expected, rtol=1e-6, atol=1e-6)
