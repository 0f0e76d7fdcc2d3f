"""What our own files say of themselves, and that it is checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import models
from models.checkpoints.files import load_checkpoint, save_weights, sha256
from models.checkpoints.formats import read_checkpoint
from models.checkpoints.matching import fits
from models.checkpoints.metadata import KEY, About

ROOT = Path(__file__).resolve().parents[3]
FACTS = {
    "dataset": "cifar100",
    "normalisation": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]},
    "accuracy": 72.5,
    "source": "a test",
}


def built(name="resnet8", num_classes=10):
    torch.manual_seed(0)
    return models.build(name, num_classes)


def rewrite(path, **changes):
    """The file with other words about the same weights."""
    said = {"format": 1, "architecture": "resnet8", "num_classes": 10, **changes}
    said = {key: value for key, value in said.items() if value is not ...}
    save_file(load_file(path), path, {KEY: json.dumps(said)})


def test_a_saved_network_says_what_it_is(tmp_path):
    save_weights(built("resnet14", 7), tmp_path / "w")
    found = read_checkpoint(tmp_path / "w")
    assert found.format == "ours (safetensors)"
    assert found.about == About(architecture="resnet14", num_classes=7)
    assert str(found.about) == "resnet14 with 7 classes"


def test_what_is_known_goes_along(tmp_path):
    save_weights(built(), tmp_path / "w", FACTS)
    about = read_checkpoint(tmp_path / "w").about
    assert about.model_dump() == {
        "format": 1,
        "architecture": "resnet8",
        "num_classes": 10,
        **FACTS,
    }
    load_checkpoint(built(), tmp_path / "w")


def test_a_method_and_a_network_of_nobody_are_tensors_without_a_story(tmp_path):
    save_weights(nn.Linear(2, 3), tmp_path / "w")
    assert read_checkpoint(tmp_path / "w").about is None


def test_equal_files_in_every_process(tmp_path):
    """safetensors orders several metadata by a hash that differs from process to process."""
    code = f"""if True:
        import torch, models
        from models.checkpoints.files import save_weights
        torch.manual_seed(0)
        save_weights(models.build("resnet8", 10), "{tmp_path}/other", {FACTS!r})"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    save_weights(built(), tmp_path / "own", FACTS)
    assert sha256(tmp_path / "own") == sha256(tmp_path / "other")


def test_files_of_former_versions_say_nothing_and_load(tmp_path):
    save_file(built().state_dict(), tmp_path / "weights.safetensors")
    load_checkpoint(built(), tmp_path / "weights.safetensors")
    found = read_checkpoint(tmp_path / "weights.safetensors")
    assert found.about is None
    assert [str(fit) for fit in fits(found)] == ["resnet8 with 10 classes"]


def test_other_peoples_metadata_are_not_ours(tmp_path):
    save_file(built().state_dict(), tmp_path / "w", {"format": "pt"})
    load_checkpoint(built(), tmp_path / "w")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "format = 2: input should be 1"),
        ({"architecture": ...}, "architecture: field required"),
        ({"architecture": 5}, "architecture = 5: "),
        ({"num_classes": 0}, "num_classes = 0: input should be greater"),
        ({"num_classes": "10"}, "num_classes = '10': "),
        ({"accuracy": 101}, "accuracy = 101: "),
        ({"accuracy": float("nan")}, "accuracy = nan: "),
        ({"normalisation": {"mean": [0.5]}}, r"normalisation\.mean = \[0\.5\]: "),
        ({"colour": "blue"}, "colour = 'blue': extra"),
    ],
)
def test_words_that_make_no_sense(tmp_path, changes, said):
    save_weights(built(), tmp_path / "w")
    rewrite(tmp_path / "w", **changes)
    with pytest.raises(
        models.ModelError, match=f"w: metadata that make no sense: {said}"
    ) as caught:
        load_checkpoint(built(), tmp_path / "w")
    assert "\n" not in str(caught.value)


def test_metadata_that_are_no_json(tmp_path):
    save_file(built().state_dict(), tmp_path / "w", {KEY: "resnet8"})
    with pytest.raises(
        models.ModelError, match="metadata that make no sense: metadata = 'resnet8'"
    ):
        load_checkpoint(built(), tmp_path / "w")


def test_words_and_weights_must_agree(tmp_path):
    save_weights(built(), tmp_path / "w")
    rewrite(tmp_path / "w", architecture="resnet14")
    with pytest.raises(
        models.ModelError,
        match="not the weights of resnet8: the file says that it is resnet14 with 10 classes; they",
    ):
        load_checkpoint(built(), tmp_path / "w")
    with pytest.raises(models.ModelError, match="not the weights of resnet14: the file lacks"):
        load_checkpoint(built("resnet14"), tmp_path / "w")
    rewrite(tmp_path / "w", num_classes=100)
    with pytest.raises(models.ModelError, match=r"says that it has 100 classes, but has 10$"):
        load_checkpoint(built(), tmp_path / "w")
