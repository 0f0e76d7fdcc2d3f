"""The import tool: what it prints about a file, what it measures, what it writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import models
from experiments.train.evaluation import Scores
from models.checkpoints.files import load_checkpoint, save_weights, sha256
from models.checkpoints.formats import read_checkpoint
from models.normalisation import NAMED
from tools import import_checkpoint

HALF = NAMED["half"]
TOOL = Path(import_checkpoint.__file__)
FAKE = ["--dataset", "fake", "--option", "image_size=16", "--option", "test_size=20"]


def built(name="resnet8", num_classes=10):
    torch.manual_seed(0)
    return models.build(name, num_classes)


@pytest.fixture
def call(capsys):
    """Runs the tool in this process: exit code, output lines, error text."""

    def run(*arguments):
        torch.set_num_threads(1)
        try:
            code = import_checkpoint.main([str(argument) for argument in arguments])
        except SystemExit as ending:
            code = ending.code
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out.splitlines(), err=said.err)

    return run


@pytest.fixture
def file(tmp_path):
    """RepDistiller's teacher file of a resnet8."""
    path = tmp_path / "ckpt_epoch_240.pth"
    torch.save(
        {"epoch": 240, "accuracy": torch.tensor([72.5]), "model": built().state_dict()}, path
    )
    return path


def test_inspection(call, file):
    said = call(file)
    assert said.code == 0
    assert said.out == [
        f"file     {file} (0.3 MB, sha256 {sha256(file)[:16]}…)",
        "format   RepDistiller's or SimKD's {\"model\": …}",
        "holds    56 tensors, 78,042 parameters",
        "also     epoch: 240",
        "also     accuracy: 72.5",
        "fits     resnet8 with 10 classes",
    ]


def test_the_parts_of_a_distiller(call, tmp_path):
    both = nn.ModuleDict({"student": built(), "teacher": built("resnet14"), "c": nn.Linear(2, 2)})
    torch.save({"model": nn.DataParallel(both).state_dict(), "best_acc": 70.0}, tmp_path / "best")
    said = call(tmp_path / "best")
    for line in (
        "format   mdistiller's, a whole distiller",
        "part     student (choose with --part)",
        "without  the prefixes module. student.",
        "also     best_acc: 70.0",
        "also     c.: 2 tensors",
        "fits     resnet8 with 10 classes",
    ):
        assert line in said.out
    assert (
        call(tmp_path / "best", "--part", "teacher").out[-1] == "fits     resnet14 with 10 classes"
    )


def test_measuring_and_converting(call, file, tmp_path):
    to = tmp_path / "teacher.safetensors"
    said = call(file, *FAKE, "--to", to)
    assert said.code == 0
    assert said.out[6] == "data     fake, test part, n = 20"
    accuracy = float(said.out[7].split()[1])
    assert said.out[7] == f"top-1    {accuracy:.2f} %"
    assert [line.split()[0] for line in said.out[8:]] == ["top-5", "loss", "wrote"]
    assert said.out[-1] == f"wrote    {to}: resnet8 with 10 classes"
    metadata = read_checkpoint(to).metadata
    assert (metadata.architecture, metadata.num_classes, metadata.dataset) == (
        "resnet8",
        10,
        "fake",
    )
    assert metadata.accuracy == pytest.approx(accuracy, abs=0.005)
    assert metadata.source == f"ckpt_epoch_240.pth, sha256 {sha256(file)}"
    ours = built(num_classes=10)
    load_checkpoint(ours, to)
    assert all(p.equal(q) for p, q in zip(ours.parameters(), built().parameters(), strict=True))


def test_the_data_set_that_a_file_names(call, tmp_path):
    save_weights(built(), tmp_path / "w", {"dataset": "fake", "accuracy": 12.5, "source": "home"})
    said = call(tmp_path / "w", "--data", tmp_path, "--option", "test_size=8")
    assert "says     resnet8 with 10 classes, on fake: 12.50 %, from home" in said.out
    assert "data     fake, test part, n = 8" in said.out


def test_metadata_is_kept_when_nothing_is_measured(call, tmp_path):
    facts = {"dataset": "cifar100", "accuracy": 12.5, "source": "home"}
    save_weights(built(), tmp_path / "w", facts)
    assert call(tmp_path / "w", "--to", tmp_path / "v.safetensors").code == 0
    assert sha256(tmp_path / "v.safetensors") == sha256(tmp_path / "w")


def test_the_normalisation_of_a_data_set_is_written():
    normalisation = {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    scores = Scores("x", 10, 71.23456, 90.0, 1.0)
    facts = import_checkpoint.facts_of(scores, SimpleNamespace(normalisation=normalisation))
    assert facts == {"dataset": "x", "accuracy": 71.2346, "normalisation": normalisation}
    assert "normalisation" not in import_checkpoint.facts_of(scores, SimpleNamespace())
    facts = import_checkpoint.facts_of(scores, SimpleNamespace(normalisation=normalisation), HALF)
    assert facts["normalisation"] == HALF.model_dump()  # the network's own


def test_the_normalisation_of_a_file_is_kept_and_of_a_person_written(call, file, tmp_path):
    first, second, third = (tmp_path / f"{name}.safetensors" for name in "abc")
    given = ["--mean", "0.4", "0.4", "0.4", "--std", "0.5", "0.5", "0.5"]
    said = call(file, *FAKE, *given, "--to", first)
    pixels = "pixels   converted to mean 0.4 0.4 0.4, std 0.5 0.5 0.5 (the data set's: mean 0.5 "
    assert said.out[7].startswith(pixels)
    own = {"mean": (0.4, 0.4, 0.4), "std": (0.5, 0.5, 0.5)}
    assert read_checkpoint(first).metadata.normalisation.model_dump() == own
    again = call(first, *FAKE, "--to", second)  # the file says it now
    assert [line for line in again.out if line.startswith(("pixels", "top", "loss"))] == said.out[
        7:11
    ]
    assert read_checkpoint(second).metadata.normalisation.model_dump() == own
    assert call(file, *given, "--to", third).code == 0  # without measuring
    assert read_checkpoint(third).metadata.normalisation.model_dump() == own
    for arguments in ([], FAKE):
        refused = call(
            first, *arguments, "--normalisation", "half", "--to", tmp_path / "d.safetensors"
        )
        assert refused.code == 2 and "std 0.5 0.5 0.5 is given" in refused.err
    assert not (tmp_path / "d.safetensors").exists()


def test_the_accuracy_of_a_network_on_its_own_pixels(call, file, tmp_path):
    """The same weights for pixels that are twice as large: said, they score as before."""
    content = torch.load(file, weights_only=True)
    content["model"]["conv1.weight"] /= 2
    torch.save(content, tmp_path / "twice.pth")
    own = ["--mean", "0.5", "0.5", "0.5", "--std", "0.1", "0.1", "0.1"]  # fake has std 0.2
    score = [line for line in call(file, *FAKE).out if line.startswith("loss")]
    assert [line for line in call(tmp_path / "twice.pth", *FAKE).out if line[:4] == "loss"] != score
    converted = call(tmp_path / "twice.pth", *FAKE, *own).out
    assert [line for line in converted if line.startswith("loss")] == score


@pytest.fixture
def there(tmp_path):
    """Writes a file of ours that states an accuracy."""

    def write(accuracy, **facts):
        to = tmp_path / "there.safetensors"
        known = {"dataset": "fake", "accuracy": accuracy} | facts
        save_weights(built(), to, {k: v for k, v in known.items() if v is not None})
        return to

    return write


@pytest.mark.parametrize(
    ("accuracy", "facts", "said"),
    [
        (99.5, {}, "holds 99.50 % on fake, the new one has "),
        (None, {}, "holds an unknown accuracy, the new one has "),
        (0.0, {"dataset": "cifar100"}, "holds 0.00 % on cifar100, the new one has "),
    ],
)
def test_a_better_file_is_only_replaced_by_force(call, file, there, accuracy, facts, said):
    to = there(accuracy, **facts)
    before = sha256(to)
    plain = call(file, *FAKE, "--to", to)
    assert plain.code == 2 and "exists already and will not be overwritten" in plain.err
    assert accuracy is None or f"{accuracy:.2f} % on " in plain.err
    assert len(plain.out) == 6  # nothing was measured for it
    refused = call(file, *FAKE, "--to", to, "--replace")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert said in refused.err and "--force overwrites it anyway" in refused.err
    unmeasured = call(file, "--to", to, "--replace")
    assert unmeasured.code == 2 and "the new one has an unknown accuracy" in unmeasured.err
    assert sha256(to) == before
    assert call(file, *FAKE, "--to", to, "--force").code == 0
    assert sha256(to) != before


def test_a_worse_file_is_replaced_where_asked(call, file, there, tmp_path):
    to = there(0.01)
    assert call(file, *FAKE, "--to", to).code == 2
    assert call(file, *FAKE, "--to", to, "--replace").code == 0
    assert read_checkpoint(to).metadata.accuracy > 0.01
    (tmp_path / "link.safetensors").symlink_to(to)
    for flags in (["--replace"], ["--force"]):
        refused = call(file, *FAKE, "--to", tmp_path / "link.safetensors", *flags)
        assert refused.code == 2 and "is a symbolic link" in refused.err


def test_weights_of_no_known_network(call, tmp_path):
    state = built("resnet14").state_dict()
    state["extra.weight"] = state.pop("fc.bias")
    torch.save(state, tmp_path / "w.pth")
    said = call(tmp_path / "w.pth")
    assert said.code == 1
    assert said.out[-2:] == [
        "fits     no network of the zoo",
        "nearest  resnet14: the file lacks 'fc.bias' and the model has no 'extra.weight'",
    ]
    said = call(tmp_path / "w.pth", *FAKE)
    assert said.code == 1
    assert "they fit no model of the zoo; nearest is resnet14: the file lacks 'fc.bias'" in said.err


@pytest.fixture
def twin():
    before = dict(models.base.REGISTRY._entries)
    models.register("resnet8_twin", lambda num_classes: models.build("resnet8", num_classes))
    yield
    models.base.REGISTRY._entries = before


def test_several_networks_that_fit(call, file, twin, tmp_path):
    said = call(file)
    assert said.code == 1
    assert said.out[-2:] == [
        "fits     resnet8 with 10 classes",
        "fits     resnet8_twin with 10 classes",
    ]
    said = call(file, *FAKE)
    assert said.code == 1
    assert said.err.endswith("resnet8_twin with 10 classes: choose with --model\n")
    assert call(file, "--model", "resnet8_twin", "--to", tmp_path / "t.safetensors").code == 0
    assert read_checkpoint(tmp_path / "t.safetensors").metadata.architecture == "resnet8_twin"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data", "."], "does not say on which data it was trained; pass --dataset (arrays, "),
        ([*FAKE, "--option", "num_classes=7"], "resnet8 with 10 classes, but fake has 7"),
        (["--dataset", "cifar1000"], "unknown data set 'cifar1000': did you mean cifar100"),
        ([*FAKE, "--option", "x"], "--option x: expected KEY=VALUE"),
        ([*FAKE, "--option", "seed=["], "--option seed=[: invalid YAML: "),
        ([*FAKE, "--option", "colour=1"], "fake: unknown option 'colour'"),
        ([*FAKE, "--model", "resnet9"], "unknown model 'resnet9': did you mean resnet"),
        (["--model", "resnet9"], "unknown model 'resnet9': did you mean resnet"),
        (["--model", "resnet14"], "not the weights of resnet14: the file lacks 'layer1.1."),
        ([*FAKE, "--model", "resnet14"], "not the weights of resnet14: the file lacks 'layer1.1."),
        ([*FAKE, "--part", "teacher"], "has no part 'teacher'"),
        (["--to", "x.pth"], "--to x.pth: expected a name that ends in .safetensors"),
        (["--to", "nowhere/x.safetensors"], "--to nowhere/x.safetensors: no directory "),
        (["--to", "there.safetensors"], "--to there.safetensors: exists already"),
        (["--dateset", "fake"], "unrecognized arguments: --dateset fake: did you mean --dataset"),
    ],
)
def test_bad_input_is_one_line(call, file, tmp_path, monkeypatch, more, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.safetensors").write_text("")
    found = call(file, *more)
    assert (found.code, found.err.count("\n")) == (2, 1)
    assert found.err.startswith("error: ") and said in found.err


def test_a_network_that_is_not_the_one_the_file_names(call, tmp_path):
    save_weights(built(), tmp_path / "w")
    said = call(tmp_path / "w", *FAKE, "--model", "resnet14")
    assert said.code == 2
    assert said.err.endswith("w: says that it is resnet8 with 10 classes, not resnet14\n")


def test_a_broken_file(call, tmp_path):
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-1])
    said = call(tmp_path / "w.safetensors")
    assert (said.code, said.out) == (2, [])
    assert "truncated, corrupt or not a checkpoint" in said.err


def test_as_a_program_from_anywhere(tmp_path, file):
    done = subprocess.run(
        [sys.executable, TOOL, file.name], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.endswith("fits     resnet8 with 10 classes\n")
