"""Several workers per GPU: slots and environments, the same numbers, stops and deaths."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from datasets import loaders
from experiments.errors import InputError
from experiments.local import devices
from experiments.local import queue as local_queue
from experiments.local.progress import Progress
from experiments.local.queue import LocalQueue
from experiments.plan.jobs import Task
from experiments.rundir.layout import WEIGHTS
from experiments.train.memory import WORKERS_PER_GPU
from experiments.worker.job import Job
from models.checkpoints.files import sha256
from results import records
from tests.experiments import cli, forked, tiny
from tests.experiments.sending import Place

# ---- slots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpus", "per_gpu", "workers", "expected"),
    [
        (1, 1, None, "0"),
        (1, 3, None, "000"),
        (2, 2, None, "0101"),  # the first jobs get GPUs of their own
        (2, 2, 3, "010"),
        (3, 2, 1, "0"),
        (2, 48, None, "01" * 48),
    ],
)
def test_slots_of_gpus(monkeypatch, gpus, per_gpu, workers, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    found = devices.slots("cuda", workers, threads=1, per_gpu=per_gpu)
    assert found == [f"cuda:{index}" for index in expected]


@pytest.mark.parametrize(
    ("cores", "threads", "per_gpu", "workers", "expected"),
    [(8, 2, 1, None, 4), (8, 2, 2, None, 8), (1, 4, 3, None, 3), (8, 2, 2, 3, 3)],
)
def test_slots_of_a_processor(monkeypatch, cores, threads, per_gpu, workers, expected):
    monkeypatch.setattr(devices, "_cores", lambda: cores)
    assert devices.slots("cpu", workers, threads, per_gpu=per_gpu) == ["cpu"] * expected


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_several_processes_do_not_share(device):
    with pytest.raises(InputError, match=r"workers_per_gpu\): 2 with processes: 4: one of them"):
        devices.slots(device, None, 1, processes=4, per_gpu=2)
    assert devices.slots("cpu", 3, 1, processes=4) == ["cpu"] * 3


@pytest.mark.parametrize("flag", ["0", "-1", "49", "1.5", "auto", "x", "1" * 30])
def test_a_wrong_number_is_refused_in_one_line(place, flag, no_training):
    said = place.call("run", "--workers-per-gpu", flag)
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert f"'{flag}': expected a whole number from 1 to 48" in said.err


def test_it_is_refused_before_anything_is_put_aside(place, no_training):
    run = place.specs("vanilla")[0]
    place.fail(run)
    flags = ("--workers-per-gpu", "2", "--processes", "2", "--retry-failed")
    said = place.call("run", *flags)
    assert (said.code, said.out) == (2, "")
    assert (run.directory(place.runs) / "error.txt").exists()


# ---- what a worker is told -----------------------------------------------------------------------


def queue_of(names: list[str], count: int) -> LocalQueue:
    job = Job((tiny.spec("vanilla"),), None, None, {}, None, ())
    return LocalQueue([Task(job) for _ in range(count)], names, Progress([]))


def test_a_worker_sees_its_gpu_and_how_many_share_it(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    queue = queue_of(["cuda:0", "cuda:1", "cuda:0"], 9)
    told = queue._environment("cuda:0"), queue._environment("cuda:1")
    assert [t["CUDA_VISIBLE_DEVICES"] for t in told] == ["GPU-a", "GPU-b"]
    assert [t[WORKERS_PER_GPU] for t in told] == ["2", "1"]


def test_the_idlest_gpu_comes_next():
    queue = queue_of(["cuda:0", "cuda:1", "cuda:0", "cuda:1"], 9)
    assert [queue._idlest() for _ in range(4)] == ["cuda:0", "cuda:1"] * 2
    queue.free = ["cuda:0", "cuda:0", "cuda:1"]
    queue.running = {1: (None, "cuda:0", None)}
    assert queue._idlest() == "cuda:1"


@pytest.mark.parametrize(("tasks", "each"), [(9, 2), (2, 4), (1, 8)])
def test_decoding_workers_share_the_cores(monkeypatch, tasks, each):
    """All together are no more than the cores, and one job alone has them all."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    told = queue_of(["cpu"] * 4, tasks)._environment("cpu")
    monkeypatch.setenv(loaders.SHARED_BY, told[loaders.SHARED_BY])
    assert loaders.count_workers("folder", None) == each
    assert loaders.count_workers("folder", 5) == 5  # a person's number stays


@pytest.mark.parametrize("text", ["", "0", "x", "100", "1e9"])
def test_one_decoder_at_least(monkeypatch, text):
    monkeypatch.setenv(loaders.SHARED_BY, text)
    assert loaders.count_workers("folder", None) >= 1


# ---- training ------------------------------------------------------------------------------------


@pytest.fixture
def forking(monkeypatch):
    """Workers are forks; on two "devices" of a processor."""
    forked.install(monkeypatch)
    monkeypatch.setattr(devices, "_cores", lambda: 2)


def hashes(place: Place) -> dict[str, str]:
    return {str(p.relative_to(place.runs)): sha256(p) for p in place.runs.rglob(WEIGHTS)}


def test_the_same_numbers_with_two_per_device(forking, place, finished):
    said = place.call("run", "--workers-per-gpu", "2", "--cohort-size", "1")
    assert said.code == 0, said.out + said.err
    assert hashes(place) == hashes(Place(finished))
    assert len(hashes(place)) == 7


def test_stopped_and_resumed(forking, tmp_path, monkeypatch):
    """SIGTERM reaches both; what they saved is the beginning of the same numbers."""
    alone, shared = Place(tmp_path / "alone"), Place(tmp_path / "shared")
    for place in (alone, shared):
        place.folder.mkdir()
        place.write(methods=["vanilla"], trials=2, recipe__epochs=6)
    with monkeypatch.context() as patch:
        patch.setattr(local_queue, "run", cli.run_inline)
        assert alone.call("run").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "epoch", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        said = shared.call("run", "--workers-per-gpu", "2", "--cohort-size", "1")
    assert (said.code, "stopped. What was saved is safe" in said.out) == (130, True)
    assert len(list(records.scan(shared.runs))) < 2
    assert shared.call("run", "--workers-per-gpu", "2", "--cohort-size", "1").code == 0
    assert hashes(shared) == hashes(alone)


def test_one_of_two_on_a_device_dies(forking, place, finished, monkeypatch):
    """Another worker goes on where it was; its neighbor notices nothing."""
    killed, epoch = [], Progress.epoch

    def kill_one(self, spec, row):
        epoch(self, spec, row)
        if not killed:
            (pid,) = (p for p, (task, _, _) in queues[0].running.items() if spec in task.job.specs)
            os.kill(pid, signal.SIGKILL)
            killed.append(spec.id)

    queues, started = [], LocalQueue.run
    monkeypatch.setattr(LocalQueue, "run", lambda self: queues.append(self) or started(self))
    monkeypatch.setattr(Progress, "epoch", kill_one)
    flags = ("--workers-per-gpu", "2", "--cohort-size", "1", "--methods", "vanilla")
    said = place.call("run", *flags)
    assert said.code == 0, said.out + said.err
    assert len(killed) == 1
    expected = {k: v for k, v in hashes(Place(finished)).items() if "none--resnet8" in k}
    assert hashes(place) == expected
