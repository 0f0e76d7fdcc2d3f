"""How training scripts wrap a state dict: they are found, and it is said which were taken."""

from __future__ import annotations

from collections import Counter, OrderedDict
from pathlib import PosixPath

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

import models
from models.checkpoints.files import load_checkpoint
from models.checkpoints.formats import read_checkpoint
from models.checkpoints.identify import identify
from models.checkpoints.matching import Fit, fits, matches
from tests.models.helpers import built, equal_states, images, same

FIT = Fit("resnet8", 10)


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


WRAPPED = {
    "model_state_dict": lambda s: {"epoch": 3, "model_state_dict": s, "optimizer": {"state": {}}},
    "state": lambda s: {"state": s, "epoch": 1},
    "weights": lambda s: {"weights": s},
    "network": lambda s: {"network": s, "epoch": 7, "loss": torch.tensor(0.5)},
    "best": lambda s: {"best_model": s, "best_acc": 66.0},
    "nested": lambda s: {"checkpoint": {"state_dict": {"model": s}}},
    "deepspeed": lambda s: {"module": s, "ds_version": "0.14"},
    "list": lambda s: [s, {"epoch": 1}],
    "tuple": lambda s: (s, 71.2),
    "an optimizer before": lambda s: {"optimizer": {"state": {"a": torch.ones(9)}}, "params": s},
    "Lightning": lambda s: {
        "state_dict": {**prefixed("model.", s), "criterion.weight": torch.ones(10)},
        "pytorch-lightning_version": "2.1.0",
    },
    "DDP inside": lambda s: {"model": prefixed("model.module.", s)},
    "DDP outside": lambda s: prefixed("module.model.", s),
    "encoder": lambda s: prefixed("encoder.", s),
    "three prefixes": lambda s: prefixed("net.backbone.model.", s),
    "FSDP": lambda s: prefixed("_fsdp_wrapped_module.", s),
    "FSDP inside": lambda s: {k.replace(".", "._fsdp_wrapped_module.", 1): s[k] for k in s},
    "behind a normalisation": lambda s: {
        **prefixed("1.", s), "0.mean": torch.zeros(3), "0.std": torch.ones(3)
    },
    "a number among tensors": lambda s: {"model": {**s, "epoch": 3, "extra": None}},
    "arrays": lambda s: {name: value.numpy() for name, value in s.items()},
    "THOP": lambda s: {**s, "conv1.total_ops": torch.zeros(1), "total_params": torch.zeros(1)},
}  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_wrappers(tmp_path, wrap):
    theirs, ours, path = built(seed=1), built(), tmp_path / "w.pth"
    torch.save(wrap(theirs.state_dict()), path)
    load_checkpoint(ours, path)
    assert equal_states(ours, theirs)
    assert fits(read_checkpoint(path)) == [FIT]
    assert identify(read_checkpoint(path)) == FIT


BESIDE = {
    "np.float64": np.float64(71.5), "np.float32": np.float32(71.5), "np.int64": np.int64(3),
    "np.bool": np.bool_(True), "array": np.arange(3.0), "texts": np.array(["a", "b"]),
    "counter": Counter("ab"), "set": {1, 2},
    "ordered": OrderedDict(a=1), "path": PosixPath("x"), "dtype": torch.float32,
}  # fmt: skip


@pytest.mark.parametrize("protocol", ["zip", "legacy"])
@pytest.mark.parametrize("extra", BESIDE.values(), ids=BESIDE)
def test_plain_data_beside_the_weights(tmp_path, extra, protocol):
    content = {"model": built(seed=1).state_dict(), "best_acc": extra}
    torch.save(content, tmp_path / "w", _use_new_zipfile_serialization=protocol == "zip")
    assert fits(read_checkpoint(tmp_path / "w")) == [FIT]


def test_an_array_of_objects_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path / "mark").touch, ()

    objects = np.array([Evil()], dtype=object)
    torch.save({"model": built().state_dict(), "acc": objects}, tmp_path / "w")
    with pytest.raises(models.ModelError, match="could run code"):
        read_checkpoint(tmp_path / "w")
    assert not (tmp_path / "mark").exists()


# ---- several networks in a file ------------------------------------------------------------------


def averaged(model):
    return AveragedModel(model).state_dict()


RAW_AND_EMA = {
    "timm": lambda r, e: {"state_dict": r.state_dict(), "state_dict_ema": e.state_dict()},
    "DeiT": lambda r, e: {"model": r.state_dict(), "model_ema": e.state_dict()},
    "torchvision": lambda r, e: {"model": r.state_dict(), "model_ema": averaged(e)},
    "in one": lambda r, e: {
        "state_dict": {
            **prefixed("model.", r.state_dict()), **prefixed("ema_model.module.", e.state_dict())
        }
    },
}  # fmt: skip


@pytest.mark.parametrize("content", RAW_AND_EMA.values(), ids=RAW_AND_EMA)
def test_raw_and_averaged_weights(tmp_path, content):
    raw, ema, path = built(seed=1), built(seed=2), tmp_path / "w.pth"
    torch.save(content(raw, ema), path)
    for part, theirs, note in (
        ("student", raw, "raw weights; averaged ones (EMA) are there, too: --part ema"),
        ("raw", raw, "--part ema"),
        ("ema", ema, "averaged weights (EMA); raw ones: --part raw"),
    ):
        ours = built()
        load_checkpoint(ours, path, part)
        assert equal_states(ours, theirs)
        assert any(note in said for said in read_checkpoint(path, part).notes)


def test_averaged_weights_alone(tmp_path):
    theirs, ours = built(seed=1), built()
    torch.save(averaged(theirs), tmp_path / "w.pth")
    load_checkpoint(ours, tmp_path / "w.pth")
    assert equal_states(ours, theirs)
    torch.save({"ema": theirs.state_dict()}, tmp_path / "w.pth")
    assert "averaged weights" in read_checkpoint(tmp_path / "w.pth").notes[0]


@pytest.mark.parametrize(
    "content",
    [
        lambda s, t: {"student": s, "teacher": t, "epoch": 3},
        lambda s, t: {"model_s": s, "model_t": t},
        lambda s, t: {"state_dict": {**prefixed("student_net.", s), **prefixed("teacher_net.", t)}},
    ],
)
def test_students_and_teachers(tmp_path, content):
    student, teacher = built(seed=1), built("resnet14", seed=2)
    torch.save(content(student.state_dict(), teacher.state_dict()), tmp_path / "w.pth")
    for part, name in (("student", "resnet8"), ("teacher", "resnet14")):
        found = read_checkpoint(tmp_path / "w.pth", part)
        assert fits(found) == [Fit(name, 10)] and found.part == part
        assert f"this is the {part}; also there" in found.notes[0]


# ---- names ---------------------------------------------------------------------------------------


def test_vgg_in_parallel(tmp_path):
    """The features on several devices, the classifier on one."""
    theirs, ours = built("vgg8", seed=1), built("vgg8")
    old = {
        k.replace("block", "features.module.block", 1): v for k, v in theirs.state_dict().items()
    }
    torch.save(old, tmp_path / "w.pth")
    assert fits(read_checkpoint(tmp_path / "w.pth")) == [Fit("vgg8", 10)]
    load_checkpoint(ours, tmp_path / "w.pth")
    assert equal_states(ours, theirs)


@torch.no_grad()
def test_a_torchvision_resnet_with_the_stem_for_small_images(tmp_path):
    from torchvision.models import resnet18

    theirs = resnet18(num_classes=10)
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = torch.nn.Identity()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    assert identify(read_checkpoint(tmp_path / "w.pth")) == Fit("ResNet18", 10)
    ours = built("ResNet18")
    load_checkpoint(ours, tmp_path / "w.pth")
    same(ours.eval()(images()), theirs.eval()(images()))


def test_names_are_changed_on_request(tmp_path):
    theirs = built(seed=1)
    old = {
        k.replace("layer", "stage").replace("fc.", "head."): v
        for k, v in theirs.state_dict().items()
    }
    torch.save(old, tmp_path / "w.pth")
    assert not fits(read_checkpoint(tmp_path / "w.pth"))
    pairs = [("stage", "layer"), ("head.", "fc.")]
    assert fits(read_checkpoint(tmp_path / "w.pth", renamed=pairs)) == [FIT]


def test_what_is_large_is_not_left_out(tmp_path):
    """A network within a larger one is not taken for it."""
    state = {**prefixed("encoder.", built().state_dict()), "decoder.weight": torch.ones(200, 999)}
    torch.save(state, tmp_path / "w.pth")
    assert not fits(read_checkpoint(tmp_path / "w.pth"))


def test_what_was_done_to_names_is_said(tmp_path):
    state = {**prefixed("net.", built().state_dict()), "criterion.weight": torch.ones(10)}
    torch.save(state, tmp_path / "w.pth")
    (match,) = matches(read_checkpoint(tmp_path / "w.pth"))
    assert match.notes == ("without the prefix 'net.'", "left out: 'criterion.weight'")


@pytest.mark.parametrize(
    ("dtype", "note"), [("half", "half precision (float16)"), ("double", "double precision")]
)
def test_other_precisions_are_said(tmp_path, dtype, note):
    torch.save(getattr(built(), dtype)().state_dict(), tmp_path / "w.pth")
    assert note in read_checkpoint(tmp_path / "w.pth").notes[0]
