"""How many workers should share a GPU: what is measured, when it ends, what is recommended."""

from __future__ import annotations

import multiprocessing
import threading

import pytest
import torch

from experiments.errors import InputError
from experiments.local import calibration
from experiments.local.calibration import Measured, Subject
from tests.experiments import tiny


@pytest.fixture
def subject() -> Subject:
    return Subject(tiny.spec("kd"), tiny.data().info)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([100], 1),
        ([100, 180, 300, 310], 4),  # 8 are hardly faster
        ([100, 104, 105, 100], 1),
        ([100, 90, 80, 70], 1),
        ([100, 200, 400, 800], 8),
        ([100, 190, 200], 2),
    ],
)
def test_the_fewest_that_reach_nearly_the_best(rates, expected):
    found = [Measured(n, rate, 0) for n, rate in zip((1, 2, 4, 8), rates, strict=False)]
    assert calibration.recommended(found) == expected


def test_the_most_common_pair_is_measured():
    kd, alone = tiny.spec("kd"), tiny.spec("vanilla")
    assert calibration.most_common([alone, kd, tiny.spec("at")]) is kd
    assert calibration.most_common([alone]) is alone
    with pytest.raises(InputError, match="no run is left to train"):
        calibration.most_common([])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "4 workers: out of memory"),
        (OSError("No space left"), "4 workers: No space left"),
        (TimeoutError(), "4 workers: TimeoutError"),
    ],
    ids=str,
)
def test_it_ends_at_what_the_device_cannot_do(subject, monkeypatch, error, said):
    def measured(subject, device, count, note):
        if count == 4:
            raise error
        return Measured(count, 1.0, 0)

    monkeypatch.setattr(calibration, "measure", measured)
    notes: list[str] = []
    found = calibration.ladder(subject, "cuda", notes.append)
    assert ([m.workers for m in found], notes) == ([1, 2], [said])


def test_not_even_one_is_bad_input(subject, monkeypatch):
    def short(*_):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(calibration, "measure", short)
    with pytest.raises(InputError, match="--calibrate: one worker on cuda: out of memory"):
        calibration.ladder(subject, "cuda", print)


@pytest.mark.parametrize("method", ["kd", "vanilla", "crd", "fitnet", "mlkd"])
def test_steps_of_a_run_are_timed(monkeypatch, method):
    """Methods with connectors, banks and extra views, too."""
    plain = Subject(tiny.spec(method), tiny.data().info)
    monkeypatch.setattr(calibration, "_meeting", [threading.Barrier(1)])
    monkeypatch.setattr(calibration, "WARM_UP", 1)
    rate, used = calibration._steps(plain, "cpu", 0.01)
    assert rate > 0
    assert used > 1e6


def test_one_that_fails_keeps_nobody_waiting(subject, monkeypatch):
    barrier = threading.Barrier(2)
    monkeypatch.setattr(calibration, "_meeting", [barrier])
    monkeypatch.setattr(calibration, "_training", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        calibration._steps(subject, "cpu", 0.01)
    assert barrier.broken


def test_plan_prints_it_on_request_only(place, monkeypatch):
    asked = []

    def measured(subject, device, count, note):
        asked.append((str(subject), device, count))
        return Measured(count, {1: 100.0, 2: 190.0}.get(count, 195.0), count * 10**9)

    monkeypatch.setattr(calibration, "measure", measured)
    assert place.call("plan", "--no-timing").code == 0
    assert asked == []
    said = place.call("plan", "--no-timing", "--calibrate", "--device", "cpu")
    assert said.code == 0
    assert [count for *_, count in asked] == [1, 2, 4, 8]
    assert asked[0][0] == "resnet14 -> resnet8, kd, batches of 32 made-up 16² images"
    lines = said.out.splitlines()
    assert [line.split() for line in lines if line.startswith("2 ")] == [
        ["2", "190", "1.90", "2.0", "GB"]
    ]
    assert "recommended: --workers 2" in lines
    assert "e.g. srun --gpus 1 python " in said.out


def test_plan_refuses_what_cannot_be_calibrated(place, done):
    assert "no run is left to train" in done.call("plan", "--no-timing", "--calibrate").err
    place.write(processes=2)
    said = place.call("plan", "--no-timing", "--calibrate")
    assert (said.code, said.err.count("\n")) == (2, 1)


@pytest.mark.slow
def test_a_process_of_its_own_trains(subject, monkeypatch):
    monkeypatch.setattr(calibration, "SECONDS", 0.2)
    assert calibration.measure(subject, "cpu", 1, print).rate > 0


def test_two_processes_train_at_once(subject, monkeypatch):
    """Forks, which need not import torch."""
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(calibration.multiprocessing, "get_context", lambda _: fork)
    monkeypatch.setattr(calibration, "SECONDS", 0.5)
    notes: list[str] = []
    found = calibration.ladder(subject, "cpu", notes.append, (1, 2))
    assert ([m.workers for m in found], notes) == ([1, 2], [])
    assert all(m.rate > 0 for m in found)
    assert found[1].memory > 1.5 * found[0].memory
