"""The tools that go through the whole zoo, on a net or two."""

from __future__ import annotations

import pytest
import torch

import models
from tests.models import golden
from tools.reports import compile_zoo, model_errors, torchvision_zoo


def test_a_compiled_network_gives_the_same_numbers(tmp_path, capsys):
    file = tmp_path / "table.md"
    arguments = ["--only", "resnet8", "resnet9*", "--backend", "eager", "--output", str(file)]
    assert compile_zoo.main(arguments) == 0
    (row,) = [line for line in file.read_text().splitlines() if "resnet8" in line]
    name, image, _, difference, failure = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, image, failure) == ("resnet8", "32", "")
    assert float(difference) < 1e-6


def test_train_mode_has_a_backward_pass_and_the_same_numbers():
    *_, difference, failure = compile_zoo.row("vgg8", "eager", train=True)
    assert failure == ""
    assert float(difference) < 1e-6  # the step's new BatchNorm statistics come afterwards


def test_a_graph_break_is_a_failure(monkeypatch, capsys):
    def outputs(x, preacts=False, blocks=False):
        torch._dynamo.graph_break()
        return models.Outputs(logits=x.mean((2, 3)))

    net = models.build("resnet8", 10)
    net.outputs = outputs
    monkeypatch.setattr(models, "build", lambda name, num_classes: net)
    assert compile_zoo.main(["--only", "resnet8", "--backend", "eager"]) == 1
    assert "Unsupported" in capsys.readouterr().out


def test_a_difference_is_seen():
    one = models.Outputs(torch.tensor([[1.0, 2.0]]), features=(torch.tensor([4.0]),))
    other = models.Outputs(torch.tensor([[1.0, 2.0]]), features=(torch.tensor([3.0]),))
    assert compile_zoo.difference(one, one) == 0
    assert compile_zoo.difference(other, one) == pytest.approx(0.25)


def test_no_such_network(capsys):
    assert compile_zoo.main(["--only", "resnet9*"]) == 2
    assert "resnet9*: no such network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "size"), [("vgg8", 32), ("torchvision/vgg11", 64), ("torchvision/vit_b_16", 224)]
)
def test_image_sizes(name, size):
    assert compile_zoo.image_size(name) == size


def test_errors_against_a_fixture():
    name, repository, count, *errors = model_errors.row(golden.FOLDER / "mdistiller__wrn_16_2.npz")
    assert (name, repository, count) == ("wrn_16_2", "mdistiller", "703,284")
    assert all(0 <= float(error) < 1e-5 for error in errors)
    assert float(errors[1]) < 1e-12


def test_an_error_is_seen(monkeypatch):
    monkeypatch.setattr(golden, "fill", _wrong_fill(golden.fill))
    monkeypatch.setattr(model_errors, "golden", golden)
    *_, float32, float64, embedding, taps = model_errors.row(
        golden.FOLDER / "RepDistiller__resnet8.npz"
    )
    assert min(map(float, (float32, float64, embedding, taps))) > 1e-3


def _wrong_fill(fill):
    def wrong(model):
        fill(model).conv1.weight.data.mul_(1.1)
        return model

    return wrong


def test_a_row_of_torchvisions_table():
    row = torchvision_zoo.row("resnet18")
    assert row[0] == "resnet18"
    assert row[2:6] == ["64@112 64@56 128@28 256@14 512@7", "512", "yes", "preacts, blocks 2 2 2 2"]
    assert float(row[6]) < 1e-5


def test_an_identity_that_does_not_hold_is_an_error():
    with pytest.raises(
        ValueError, match=r"pooled map does not lead to the logits: off by 5\.0e-01"
    ):
        torchvision_zoo.check("pooled map", torch.tensor([1.0]), torch.tensor([2.0]))
