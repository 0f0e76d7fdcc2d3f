"""Stop requests, and how a SLURM job ends after one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from experiments.cluster import sbatch
from experiments.matrix.slurm_options import SlurmOptions
from experiments.slurm import ABOUT_TO_TIME_OUT
from experiments.worker import signals
from experiments.worker.signals import QUEUE_PID, Stop, requeue_or_wait
from tests.experiments import cli

TASK = "100_0"
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2]


@pytest.fixture(autouse=True)
def handlers():
    with cli.signals_kept():
        yield


@pytest.mark.parametrize("number", SIGNALS, ids=[s.name for s in SIGNALS])
def test_a_signal_is_noted_and_nothing_else(number):
    stop = Stop()
    assert not stop()
    os.kill(os.getpid(), number)
    assert stop()
    assert stop.signal == number


def test_a_worker_does_not_outlive_its_queue(monkeypatch):
    monkeypatch.setenv(QUEUE_PID, str(os.getppid() + 1))
    stop = Stop()
    assert stop()
    assert stop.signal is None


# ---- inside a job --------------------------------------------------------------------------------


@pytest.fixture
def stop(fake, tmp_path, monkeypatch) -> Stop:
    """A `Stop` in this process, which is the first of two tasks."""
    about = {"options": SlurmOptions(), "minutes": 5, "code": tmp_path}
    sbatch.send(tmp_path, name="kd-x", tasks=2, **about)
    fake.move(TASK, "RUNNING", "n1")
    for name, value in fake.environment(TASK).items():
        monkeypatch.setenv(name, value)
    return Stop()


def sleeping(monkeypatch, action: Callable[[], object]) -> list[float]:
    """Run ``action`` instead of sleeping; returns the list of sleeps."""
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        assert len(naps) < 10
        action()

    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)  # of this module alone
    monkeypatch.setattr(signals, "time", clock)
    return naps


def requeues(fake) -> list[list[str]]:
    return [call for call in fake.calls("scontrol") if call[1] == "requeue"]


def test_before_its_time_limit_a_job_requeues_itself(fake, stop, monkeypatch):
    naps = sleeping(monkeypatch, lambda: None)
    stop._request(ABOUT_TO_TIME_OUT, None)
    requeue_or_wait(stop)
    assert requeues(fake) == [["scontrol", "requeue", "101"]]  # the task, not the whole array
    assert fake.queue[TASK] == "PENDING"
    assert fake.queue["100_1"] == "PENDING"
    assert naps == []


def test_a_requeued_job_waits_to_be_killed(fake, stop, monkeypatch):
    """If it ended first, SLURM would count it as failed."""
    monkeypatch.setattr(signals.slurm, "requeue", lambda job: None)
    naps = sleeping(monkeypatch, lambda: len(naps) == 3 and fake.move(TASK, "PENDING"))
    stop._request(ABOUT_TO_TIME_OUT, None)
    requeue_or_wait(stop)
    assert len(naps) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, None], ids=str)
def test_after_any_other_signal_it_waits_for_slurm(fake, stop, monkeypatch, number):
    """SLURM requeues a preempted job only if it has to kill it."""
    naps = sleeping(monkeypatch, lambda: fake.move(TASK, "COMPLETING"))
    if number is not None:
        stop._request(number, None)
    requeue_or_wait(stop)
    assert requeues(fake) == []
    assert len(naps) == 1


def test_a_refused_requeue_is_reported_without_a_wait(fake, stop, monkeypatch, capsys):
    naps = sleeping(monkeypatch, lambda: None)
    fake.refuse("scontrol", "slurm_requeue error: Job is not requeueable")
    stop._request(ABOUT_TO_TIME_OUT, None)
    requeue_or_wait(stop)
    assert capsys.readouterr().out == (
        "not requeued (scontrol: slurm_requeue error: Job is not requeueable): "
        "the next submit resumes these runs\n"
    )
    assert naps == []


def test_the_wait_has_an_end(fake, stop, monkeypatch):
    naps = sleeping(monkeypatch, lambda: None)
    monkeypatch.setattr(signals, "KILL_SECONDS", -1.0)
    stop._request(signal.SIGTERM, None)
    requeue_or_wait(stop)
    assert fake.queue[TASK] == "RUNNING"
    assert naps == []


def test_without_an_answer_from_slurm_there_is_no_wait(fake, stop, monkeypatch):
    naps = sleeping(monkeypatch, lambda: None)
    fake.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    stop._request(signal.SIGTERM, None)
    requeue_or_wait(stop)
    assert naps == []
