"""Every registered method on the device: in each precision and memory format, as on the CPU."""

from __future__ import annotations

import math

import pytest
import torch

import models
from experiments.rundir.outcome import Outcome
from experiments.train import networks, trainer
from results import records
from tests.cuda import small

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

NUMERICS = [
    ("fp32", "contiguous"),
    ("bf16", "contiguous"),
    ("bf16", "channels_last"),
    ("fp16", "channels_last"),
]


@pytest.fixture(scope="module", params=NUMERICS, ids="-".join)
def trained(request, tmp_path_factory):
    """One cohort of all methods, trained to the end."""
    precision, layout = request.param
    numerics = small.recipe(precision=precision, channels_last=small.FORMATS[layout])
    made = small.prepare(tmp_path_factory.mktemp(precision), small.METHODS, numerics)
    before = {k: v.clone() for k, v in made.cohort.teacher.module.state_dict().items()}
    trainer.train(made.cohort)
    return made, before


@pytest.mark.parametrize("method", small.METHODS)
def test_a_run_goes_well(method, trained):
    small.skip_where_unsupported(method)
    made, _ = trained
    end = made.ends[method]
    assert end["state"] == Outcome.DONE, end["error"]
    record = records.read(made.directory(method))
    assert math.isfinite(record.accuracy.last.loss)
    assert record.starts[0].device == torch.cuda.get_device_name(small.DEVICE)
    assert record.peak_memory_bytes > 0


@pytest.mark.parametrize("method", small.METHODS)
def test_weights_are_float32_and_have_moved(method, trained):
    small.skip_where_unsupported(method)
    made, _ = trained
    spec = made.spec(method)
    with networks.seeded("student", spec.dataset.name, spec.student, spec.trial):
        start = dict(models.build(spec.student, 10).named_parameters())
    weights = made.weights(method)
    for name in start:
        assert weights[name].dtype == torch.float32, name
        assert weights[name].isfinite().all(), name
    assert not torch.equal(weights["conv1.weight"], start["conv1.weight"])


def test_the_teacher_is_as_before(trained):
    made, before = trained
    module = made.cohort.teacher.module
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in module.parameters())
    module.train()
    assert not any(m.training for m in module.modules())


@pytest.mark.parametrize("layout", small.FORMATS)
@pytest.mark.parametrize("method", small.METHODS)
def test_everything_is_on_the_device(method, layout, tmp_path):
    small.skip_where_unsupported(method)
    one = small.Stepper(tmp_path, method, small.recipe(channels_last=small.FORMATS[layout]))
    batch = one.step()
    learner = one.learner
    tensors = {"images": batch.images, "labels": batch.labels, "indices": batch.indices}
    for module in (learner.student, learner.distiller):
        tensors |= {**dict(module.named_parameters()), **dict(module.named_buffers())}
    elsewhere = {k: t.device for k, t in tensors.items() if t.device.type != small.DEVICE.type}
    assert not elsewhere
    if layout == "channels_last":
        last = torch.channels_last
        kernel = learner.student.get_parameter("layer1.0.conv1.weight")
        assert kernel.is_contiguous(memory_format=last)
        images = networks.formatted(batch, learner.recipe).images
        maps = learner.student.outputs(images).features
        assert all(feature.is_contiguous(memory_format=last) for feature in maps)


@pytest.mark.parametrize("method", small.METHODS)
def test_the_first_loss_is_that_of_the_cpu(method, tmp_path):
    """What is drawn is drawn on the CPU, so that only rounding differs."""
    small.skip_where_unsupported(method)
    devices = {"there": small.DEVICE, "here": torch.device("cpu")}
    runs = {k: small.Stepper(tmp_path / k, method, small.RECIPE, d) for k, d in devices.items()}
    for run in runs.values():
        run.step()
    there, here = (run.learner.meter.means() for run in runs.values())
    there.pop("train_top1"), here.pop("train_top1")  # a tie may fall either way
    assert there == pytest.approx(here, rel=2e-3, abs=1e-5)
