"""Loading and saving weight files, and the errors for files that cannot be loaded."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pickle
import re
import sys
import types
from argparse import Namespace
from collections import deque
from decimal import Decimal

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import models
from models.checkpoints.files import load_checkpoint, save_weights, sha256
from tests.models.helpers import built, equal_states


def refused(model, path, pattern):
    """Loading fails with one line that begins with the path, and leaves the model unchanged."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(models.ModelError, match=pattern) as caught:
        load_checkpoint(model, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


# ---- files that load (for the formats see test_formats.py) ---------------------------------------


def test_torchs_old_file_format(tmp_path):
    theirs, ours = built(seed=1), built()
    old = {"_use_new_zipfile_serialization": False}
    torch.save({"model": theirs.state_dict()}, tmp_path / "student_best", **old)
    load_checkpoint(ours, str(tmp_path / "student_best"))
    assert equal_states(ours, theirs)


@pytest.mark.parametrize("name", ["resnet8x4", "wrn_16_2", "vgg8", "MobileNetV2"])
def test_what_is_saved_is_loaded(tmp_path, name):
    theirs, ours = built(name, seed=1), built(name)
    images = torch.randn(4, 3, 16, 16)
    theirs.train()(images)  # statistics and counters are part of the state
    save_weights(theirs.to(memory_format=torch.channels_last), tmp_path / "weights.safetensors")
    load_checkpoint(ours, tmp_path / "weights.safetensors")
    assert equal_states(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_safetensors_are_recognised_by_their_content(tmp_path):
    theirs, ours = built(seed=1), built()
    save_weights(theirs, tmp_path / "weights")
    load_checkpoint(ours, tmp_path / "weights")
    assert equal_states(ours, theirs)


# ---- files that do not load ----------------------------------------------------------------------


def test_a_missing_file(tmp_path):
    refused(built(), tmp_path / "ckpt_epoch_240.pth", "does not exist")
    refused(built(), tmp_path, "is not a file")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file(tmp_path, suffix, share):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"model": built().state_dict()}, path)
    else:
        save_weights(built(), path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(built(), path, r"truncated, corrupt or not a checkpoint \(|this is (empty|cut off)")


@pytest.mark.parametrize("content", [b"a plain text", b"\0" * 99])
def test_something_else(tmp_path, content):
    (tmp_path / "download.pth").write_bytes(content)
    refused(built(), tmp_path / "download.pth", "corrupt|text, not weights: 'a plain text'")


class Malicious:
    """Creates a directory if it is unpickled without protection."""

    def __init__(self, victim):
        self.victim = str(victim)

    def __reduce__(self):
        return os.mkdir, (self.victim,)


@pytest.mark.parametrize("writer", ["torch", "torch, old format", *range(6)])
def test_a_file_that_would_run_code_is_refused(tmp_path, writer):
    path, content = tmp_path / "evil.pth", {"model": Malicious(tmp_path / "owned")}
    if isinstance(writer, int):
        path.write_bytes(pickle.dumps(content, protocol=writer))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "torch")
    refused(built(), path, "refused, because .*(names posix.mkdir|a bare pickle|a pickle of)")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("what", "named"),
    [
        (deque([1]), r"collections\.deque"),
        (nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear \(a whole pickled network\)"),
        (Decimal(1), r"decimal\.\S+"),
    ],
)
def test_more_than_tensors_is_refused_by_name(tmp_path, what, named):
    path = tmp_path / "resnet8_best.pth"
    torch.save({"best_acc": what, "model": built().state_dict()}, path)
    advice = r"re-save only its state dict: torch\.save\(model\.state_dict\(\), FILE\)$"
    refused(
        built(), path, f"refused, because reading it could run code: it names {named}; .*{advice}"
    )


def test_the_training_state_of_openmmlab_is_refused_with_a_remedy(tmp_path):
    module = types.ModuleType("mmengine.logging")
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": "mmengine.logging"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mmengine", types.ModuleType("mmengine"))
        patch.setitem(sys.modules, "mmengine.logging", module)
        content = {"state_dict": built().state_dict(), "message_hub": module.HistoryBuffer()}
        torch.save(content, tmp_path / "epoch_240.pth")
    refused(built(), tmp_path / "epoch_240.pth", r"mmengine\S+ \(OpenMMLab's .*publish_model\.py")


class Bag(Namespace):
    """As harmless as its base class, but not on the list of safe classes."""


@pytest.mark.parametrize("hide", [lambda evil: Namespace(lr=evil), lambda evil: Bag(lr=1)])
def test_a_stored_command_line_runs_no_code(tmp_path, hide):
    """argparse.Namespace is read (see test_formats), but not objects in it, nor subclasses."""
    content = {"opt": hide(Malicious(tmp_path / "owned")), "model": built().state_dict()}
    torch.save(content, tmp_path / "resnet8_last.pth")
    refused(built(), tmp_path / "resnet8_last.pth", "refused, because .*it names ")
    assert not (tmp_path / "owned").exists()


def test_the_attributes_of_a_command_line_run_no_code(tmp_path):
    """torch would call an instance's own __setstate__, if it could be unpickled."""
    opt = Namespace(__setstate__=Malicious(tmp_path / "owned"), __reduce__=1)
    torch.save({"opt": opt, "model": built().state_dict()}, tmp_path / "resnet8_last.pth")
    refused(built(), tmp_path / "resnet8_last.pth", "refused")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("content", "holds"),
    [
        ({"epoch": 240, "accuracy": 72.5}, "a dict of 'epoch', 'accuracy'"),
        ({"model": {"lr": 0.1}}, "a dict of 'model'"),
        ({}, "a dict of nothing"),
        ([1, 2], "list"),
        (torch.ones(3), "Tensor"),
        ({0: torch.ones(3)}, "a dict of 0"),
    ],
)
def test_a_file_without_a_state_dict(tmp_path, content, holds):
    torch.save(content, tmp_path / "x.pth")
    refused(built(), tmp_path / "x.pth", f"no state dict: it holds {re.escape(holds)}; expected")


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8", "MobileNetV2"])
def test_another_number_of_classes(tmp_path, name):
    save_weights(built(name, num_classes=10), tmp_path / "w.safetensors")
    refused(
        built(name, num_classes=100),
        tmp_path / "w.safetensors",
        "file has 10 classes, model has 100$",
    )


def test_a_deeper_network_of_the_family(tmp_path):
    save_weights(built("resnet14"), tmp_path / "w.safetensors")
    refused(
        built("resnet8", num_classes=100),
        tmp_path / "w.safetensors",
        r"not the weights of resnet8: the model has no 'layer1\.1\.\S+', .* \(and \d+ more\); "
        "the file says that it is resnet14 with 10 classes; they fit resnet14 with 10 classes$",
    )


def test_a_wider_network_of_the_family(tmp_path):
    torch.save(built("MobileNetV2_1_0").state_dict(), tmp_path / "w.pth")
    refused(
        built("MobileNetV2"),
        tmp_path / "w.pth",
        r"MobileNetV2: 'conv1\.0\.weight' is \(32, 3, 3, 3\) in the file, "
        r"\(16, 3, 3, 3\) in the model; they fit MobileNetV2_1_0 with 10 classes$",
    )


def test_another_family(tmp_path):
    torch.save({"model": built("ShuffleV1", 100).state_dict()}, tmp_path / "w.pth")
    refused(
        built("vgg8"),
        tmp_path / "w.pth",
        r"the file lacks 'block0\.0\.weight', 'block0\.0\.bias', 'block0\.1\.weight' "
        r"\(and 29 more\) and the model has no 'conv1\.weight', .* \(and 244 more\); "
        "they fit ShuffleV1 with 100 classes$",
    )


def test_a_network_that_is_not_in_the_zoo(tmp_path):
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "w.pth")
    refused(built(), tmp_path / "w.pth", "they fit no model of the zoo")


def test_a_missing_weight_is_an_error(tmp_path):
    state = built().state_dict()
    del state["fc.bias"]
    torch.save(state, tmp_path / "w.pth")
    refused(built(), tmp_path / "w.pth", r"the file lacks 'fc\.bias'")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(tmp_path, value):
    model = built()
    model.layer2[0].bn1.running_var[3] = value
    save_weights(model, tmp_path / "w.safetensors")
    refused(built(), tmp_path / "w.safetensors", r"'layer2\.0\.bn1\.running_var' holds NaN or inf")


# ---- saving --------------------------------------------------------------------------------------


def test_a_crash_while_saving_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_weights(built(seed=1), path)
    before = path.read_bytes()

    def crash(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="No space") as caught:
        save_weights(built(seed=2), path)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("number", "refused"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_directories_are_synced_where_they_can_be(tmp_path, monkeypatch, number, refused):
    fsync = os.fsync

    def files_only(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    with pytest.raises(OSError) if refused else contextlib.nullcontext():
        save_weights(built(), tmp_path / "w.safetensors")
    load_checkpoint(built(seed=1), tmp_path / "w.safetensors")


def test_a_saved_file_depends_on_the_values_alone(tmp_path):
    """Equal weights give equal files, and therefore equal hashes, in any memory format."""
    a, b, c = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    save_weights(built(seed=1), a)
    save_weights(built(seed=1).to(memory_format=torch.channels_last), b)
    save_weights(built(seed=2), c)
    assert sha256(a) == sha256(b) != sha256(c)
    assert sha256(a) == hashlib.sha256(a.read_bytes()).hexdigest()
    assert set(load_file(a)) == set(built().state_dict())


def test_the_hash_of_a_missing_file(tmp_path):
    with pytest.raises(models.ModelError, match="does not exist"):
        sha256(tmp_path / "w.safetensors")
