"""The metadata of our own weight files: written, read, checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import nn

import models
from models.checkpoints.files import load_checkpoint, save_weights, sha256
from models.checkpoints.formats import read_checkpoint
from models.checkpoints.matching import fits
from models.checkpoints.metadata import KEY, Metadata
from tests.models.helpers import built

ROOT = Path(__file__).resolve().parents[3]
FACTS = {
    "dataset": "cifar100",
    "normalisation": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]},
    "accuracy": 72.5,
    "source": "a test",
}


def rewrite(path, **changes):
    """Change the metadata of a file, or drop it (...), keeping the weights."""
    metadata = {"format": 1, "architecture": "resnet8", "num_classes": 10, **changes}
    metadata = {key: value for key, value in metadata.items() if value is not ...}
    save_file(load_file(path), path, {KEY: json.dumps(metadata)})


def test_a_saved_network_names_itself(tmp_path):
    save_weights(built("resnet14", 7), tmp_path / "w")
    checkpoint = read_checkpoint(tmp_path / "w")
    assert checkpoint.format == "ours (safetensors)"
    assert checkpoint.metadata == Metadata(architecture="resnet14", num_classes=7)
    assert str(checkpoint.metadata) == "resnet14 with 7 classes"


def test_known_facts_are_stored(tmp_path):
    save_weights(built(), tmp_path / "w", FACTS)
    stored = read_checkpoint(tmp_path / "w").metadata.model_dump(mode="json", exclude_none=True)
    assert stored == {"format": 1, "architecture": "resnet8", "num_classes": 10, **FACTS}
    load_checkpoint(built(), tmp_path / "w")


def test_unregistered_modules_have_no_metadata(tmp_path):
    save_weights(nn.Linear(2, 3), tmp_path / "w")
    assert read_checkpoint(tmp_path / "w").metadata is None


def test_equal_files_in_every_process(tmp_path):
    """safetensors orders several entries by a hash that differs from process to process."""
    code = f"""if True:
        import torch, models
        from models.checkpoints.files import save_weights
        torch.manual_seed(0)
        save_weights(models.build("resnet8", 10), "{tmp_path}/other", {FACTS!r})"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    save_weights(built(), tmp_path / "own", FACTS)
    assert sha256(tmp_path / "own") == sha256(tmp_path / "other")


@pytest.mark.parametrize("header", [None, {"format": "pt"}], ids=["none", "not ours"])
def test_files_without_our_metadata_load(tmp_path, header):
    save_file(built().state_dict(), tmp_path / "w", header)
    load_checkpoint(built(), tmp_path / "w")
    checkpoint = read_checkpoint(tmp_path / "w")
    assert checkpoint.metadata is None
    assert [str(fit) for fit in fits(checkpoint)] == ["resnet8 with 10 classes"]


@pytest.mark.parametrize(
    ("changes", "message"),
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
def test_invalid_metadata(tmp_path, changes, message):
    save_weights(built(), tmp_path / "w")
    rewrite(tmp_path / "w", **changes)
    with pytest.raises(models.ModelError, match=f"w: invalid metadata: {message}") as caught:
        load_checkpoint(built(), tmp_path / "w")
    assert "\n" not in str(caught.value)


def test_metadata_that_is_not_json(tmp_path):
    save_file(built().state_dict(), tmp_path / "w", {KEY: "resnet8"})
    with pytest.raises(models.ModelError, match="invalid metadata: metadata = 'resnet8'"):
        load_checkpoint(built(), tmp_path / "w")


def test_metadata_and_weights_must_agree(tmp_path):
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
