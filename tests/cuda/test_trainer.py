"""The trainer on the device: it never waits, and other runs and interruptions change nothing."""

from __future__ import annotations

import contextlib

import pytest
import torch

from experiments.rundir.outcome import Outcome
from experiments.train import trainer
from experiments.train.learner import CHECK_EVERY
from results import records
from tests.cuda import small
from tests.experiments import tiny

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

# Runs that wait for the device in every step, and why that is unavoidable.
EIGH = "torch.linalg.eigh reads an error flag of cuSOLVER on the host"
WAITS = {"gk_dfd": EIGH, "kdsvd": EIGH}
WARM_UP, STEPS = 2, 3  # the first steps allocate, choose kernels and meet new loss terms
COHORT = ["vanilla", "kd", "fitnet", "at", "rkd", "irg", "crd", "dkd", "gk_dfd"]
REPEATABLE = small.recipe(epochs=2, deterministic=True)


@contextlib.contextmanager
def waiting_is_an_error():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


# Not fp16: there the gradient scaler asks in every step whether the gradients were finite.
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", small.METHODS)
def test_a_step_never_waits(method, precision, tmp_path):
    small.skip_where_unsupported(method)
    if method in WAITS:
        pytest.skip(WAITS[method])
    assert WARM_UP + STEPS < CHECK_EVERY  # the steps at which the loss is checked
    one = small.Stepper(tmp_path, method, small.recipe(precision=precision, channels_last=True))
    for stage in one.stages:
        one.enter(stage)
        for _ in range(WARM_UP):
            one.step()
        with waiting_is_an_error():
            for _ in range(STEPS):
                one.step()


def test_the_check_notices_a_wait(tmp_path, monkeypatch):
    """The test above sees a host that reads one number per step."""
    one = small.Stepper(tmp_path, "vanilla", small.RECIPE)
    for _ in range(WARM_UP):
        one.step()
    update = one.learner.meter.update

    def waiting(losses, *rest):
        losses["ce"].item()
        update(losses, *rest)

    monkeypatch.setattr(one.learner.meter, "update", waiting)
    with waiting_is_an_error(), pytest.raises(AssertionError, match="synchroniz"):
        one.step()


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    made = small.train(tmp_path_factory.mktemp("together"), COHORT, REPEATABLE)
    left = {method: end for method, end in made.ends.items() if end["state"] != Outcome.DONE}
    assert not left
    return made


@pytest.mark.parametrize("method", COHORT)
def test_alone_is_as_in_a_cohort(method, together, tmp_path):
    alone = small.train(tmp_path, [method], REPEATABLE).weights(method)
    for name, tensor in together.weights(method).items():
        torch.testing.assert_close(alone[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_stop_in_the_middle_of_an_epoch_changes_nothing(precision, tmp_path):
    methods = ["vanilla", "fitnet", "crd", "gk_dfd"]
    numerics = small.recipe(**{**REPEATABLE.model_dump(), "precision": precision})
    whole = small.train(tmp_path / "whole", methods, numerics)
    for steps in (3, 9):
        stopped = small.prepare(tmp_path / "stopped", methods, numerics)
        stopped.cohort.stop = tiny.stop_after(steps)
        assert set(trainer.train(stopped.cohort).values()) == {Outcome.INTERRUPTED}
    again = small.train(tmp_path / "stopped", methods, numerics)
    for method in methods:
        assert len(records.read(again.directory(method)).starts) == 3
        expected = whole.weights(method)
        different = [k for k, t in again.weights(method).items() if not torch.equal(t, expected[k])]
        assert not different, method
