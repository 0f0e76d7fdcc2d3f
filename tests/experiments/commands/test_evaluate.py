"""`benchmark.py evaluate`: the same accuracy that training ended with, for any file."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

import models
from experiments.rundir.layout import HEAD
from models.checkpoints.files import save_weights
from results import records
from tests.experiments import cli

OPTIONS = [
    argument
    for key in ("num_classes", "image_size", "train_size", "test_size")
    for argument in ("--option", f"{key}={cli.MATRIX['dataset'][key]}")
]


def evaluate(file, *more):
    return cli.call("evaluate", str(file), *more)


def weights_of(done, method="kd"):
    return done.specs(method)[0].directory(done.runs) / "weights.safetensors"


def test_the_accuracy_of_a_finished_run(done):
    path = weights_of(done)
    last = records.read(path.parent).accuracy.last
    said = evaluate(path)  # its result.json says on which data
    assert said.code == 0
    assert said.err == ""  # it is quick
    assert said.out.splitlines() == [
        "network  resnet8 with 4 classes, from ours (safetensors)",
        "data     fake, test part, n = 32",
        f"top-1    {last.top1:.2f} %",
        f"top-5    {last.top5:.2f} %",
        f"loss     {last.loss:.4f}",
    ]


def test_other_data_than_the_runs(done):
    said = evaluate(weights_of(done), "--option", "test_size=8")
    assert "data     fake, test part, n = 8\n" in said.out
    assert "but digits has 10" in evaluate(weights_of(done), "--dataset", "digits").err


@pytest.mark.parametrize("size", ["1", "7", "1000"])
def test_whatever_the_batch_size(done, size):
    path = weights_of(done)
    whole = evaluate(path, "--dataset", "fake", *OPTIONS)
    assert evaluate(path, "--dataset", "fake", *OPTIONS, "--batch-size", size).out == whole.out


def test_a_foreign_file(done, tmp_path):
    """The same weights in RepDistiller's clothes; without the network's name it is found."""
    model = models.build("resnet8", 4)
    models.load_checkpoint(model, weights_of(done))
    torch.save({"model": torch.nn.DataParallel(model).state_dict()}, tmp_path / "student_best")
    ours = evaluate(weights_of(done), "--dataset", "fake", *OPTIONS)
    theirs = evaluate(tmp_path / "student_best", "--dataset", "fake", *OPTIONS)
    assert theirs.out.splitlines()[1:] == ours.out.splitlines()[1:]
    assert theirs.out.startswith("network  resnet8 with 4 classes, from mdistiller's student")


def test_own_modules_of_the_method_are_not_forgotten_silently(done):
    path = weights_of(done)
    shutil.copy(path, path.parent / HEAD)
    said = evaluate(path, "--dataset", "fake", *OPTIONS)
    assert said.code == 0
    assert re.match(r"note: kd predicts with modules of its own \(method\.safetensors", said.err)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "does not say on which data it was trained; pass --dataset"),
        (["--dataset", "fake"], "w: resnet8 with 4 classes, but fake has 10"),
        (
            ["--dataset", "fake", "--model", "resnet14"],
            "w: says that it is resnet8 .* not resnet14",
        ),
        (["--dataset", "fake", "--batch-size", "0"], "--batch-size: '0': expected a whole number"),
        (["--dataset", "cifar10", "--data", "nowhere"], "nowhere"),
    ],
)
def test_bad_input(tmp_path, more, said):
    save_weights(models.build("resnet8", 4), tmp_path / "w")
    found = evaluate(tmp_path / "w", *more)
    assert (found.code, found.out, found.err.count("\n")) == (2, "", 1)
    assert re.search(said, found.err)


def test_no_file(tmp_path):
    found = evaluate(tmp_path / "w.pth", "--dataset", "fake")
    assert (found.code, found.err) == (
        2,
        f"error: {tmp_path}/w.pth: this checkpoint does not exist\n",
    )


def test_networks_of_a_plugin(tmp_path, own_registry):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import models, torch\n"
        "def factory(num_classes):\n"
        "    net = models.build('resnet8', num_classes)\n"
        "    net.extra = torch.nn.Parameter(torch.ones(1))\n"
        "    return net\n"
        "models.register('mine', factory)\n"
    )
    state = {**models.build("resnet8", 10).state_dict(), "extra": torch.ones(1)}
    torch.save(state, tmp_path / "w.pth")
    more = ["--dataset", "fake", "--option", "image_size=16"]
    assert evaluate(tmp_path / "w.pth", *more).code == 1
    said = evaluate(tmp_path / "w.pth", *more, "--plugin", str(plugin))
    assert said.out.startswith("network  mine with 10 classes, from a bare state dict\n")


def test_pixels_that_are_not_the_data_sets(done):
    """Weights for pixels of half the deviation, once said, score as before."""
    path = weights_of(done)
    before = evaluate(path, "--dataset", "fake", *OPTIONS).out.splitlines()
    model = models.build("resnet8", 4)
    models.load_checkpoint(model, path)
    with torch.no_grad():
        model.conv1.weight.mul_(0.5)  # std 0.2 -> 0.1
    torch.save(model.state_dict(), path.with_name("w.pth"))
    given = ["--mean", "0.5", "0.5", "0.5", "--std", "0.1", "0.1", "0.1"]
    said = evaluate(path.with_name("w.pth"), "--dataset", "fake", *OPTIONS, *given)
    assert said.out.splitlines()[3:] == before[2:]
    assert said.out.splitlines()[2] == (
        "pixels   converted to mean 0.5 0.5 0.5, std 0.1 0.1 0.1 (the data set's: mean 0.5 0.5 "
        "0.5, std 0.2 0.2 0.2)"
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--normalisation", "imagnet"],
            "--normalisation: unknown normalisation 'imagnet': did",
        ),
        (["--mean", "0.5", "0.5", "0.5"], "--mean, --std: std is missing"),
        (["--mean", "1", "1", "1", "--std", "0", "1", "1"], "expected numbers above 0 and at most"),
        (["--mean", "nan", "1", "1", "--std", "1", "1", "1"], "expected numbers from 0 to 1"),
        (["--normalisation", "half", "--std", "1", "1", "1"], "expected either this, or --mean"),
        (["--mean", "1", "1", "--std", "1"], "expected 3 arguments"),
    ],
)
def test_pixels_said_wrongly(done, flags, said):
    called = evaluate(weights_of(done), *flags)
    assert called.code == 2 and called.err.count("\n") == 1 and said in called.err


def test_pixels_are_said_of_files_only(done):
    run = done.specs("kd")[0].directory(done.runs)
    called = evaluate(run, "--normalisation", "half")
    assert called.code == 2 and "--normalisation: only for a file of weights" in called.err
