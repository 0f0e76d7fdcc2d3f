"""Published weights on real data: zoo, loader, normalisation and import tool together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.checkpoints.formats import read_checkpoint
from models.checkpoints.matching import Fit, fits
from tools import import_checkpoint

DATA = Path(__file__).resolve().parents[2] / "data"

# top-1 % on CIFAR-100's test set, measured independently with RepDistiller's normalisation
MEASURED = {"resnet20": 66.09, "resnet32": 68.10, "resnet56": 71.59}


@pytest.fixture(params=MEASURED)
def name(request):
    if not (DATA / "weights" / f"{request.param}.pth").is_file():
        pytest.skip(f"no {request.param}.pth in {DATA / 'weights'}: see the README on teachers")
    return request.param


def test_identity(name):
    file = DATA / "weights" / f"{name}.pth"
    assert fits(read_checkpoint(file)) == [Fit(name, 100)]


@pytest.mark.slow
def test_accuracy(name, tmp_path, capsys):
    if not (DATA / "cifar-100-python").is_dir():
        pytest.skip(f"no CIFAR-100 in {DATA}: see the README on how to get it")
    file, ours = DATA / "weights" / f"{name}.pth", tmp_path / "ours.safetensors"
    call = [str(file), "--dataset", "cifar100", "--data", str(DATA), "--to", str(ours)]
    assert import_checkpoint.main(call) == 0
    printed = capsys.readouterr().out
    assert f"fits     {name} with 100 classes\n" in printed
    top1, top5 = (
        float(re.search(rf"^{key} +(\S+) %$", printed, re.MULTILINE)[1])
        for key in ("top-1", "top-5")
    )
    assert top1 == pytest.approx(MEASURED[name], abs=0.02)
    assert top5 > top1 + 15
    metadata = read_checkpoint(ours).metadata
    assert (metadata.architecture, metadata.num_classes) == (name, 100)
    assert metadata.dataset == "cifar100"
    assert metadata.accuracy == pytest.approx(top1, abs=0.005)
