"""Published checkpoint formats, nested as the programs that write them do."""

from __future__ import annotations

import re
from argparse import Namespace
from collections import OrderedDict

import pytest
import torch
from torch import nn

import models
from models.checkpoints import matching
from models.checkpoints.files import load_checkpoint, save_weights
from models.checkpoints.formats import read_checkpoint
from models.checkpoints.matching import Fit, fits, nearest
from models.checkpoints.signatures import parameters
from tests.models.helpers import built, equal_states


def optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9).state_dict()


class Distiller(nn.Module):
    """As in mdistiller and OpenMMLab: both networks and the modules between them."""

    def __init__(self, student, teacher=None):
        super().__init__()
        self.student, self.conv_reg = student, nn.Conv2d(4, 8, 1)
        if teacher is not None:
            self.teacher = teacher


def distiller(model):
    return nn.DataParallel(Distiller(model, built("resnet14", seed=9))).state_dict()


def backbone(model, prefix=""):
    """mmcls' names of a ResNet."""
    return OrderedDict(
        (f"{prefix}head.{k}" if k.startswith("fc.") else f"{prefix}backbone.{k}", v)
        for k, v in model.state_dict().items()
    )


REPDISTILLER = "RepDistiller's or SimKD's"
FORMATS = {
    "RepDistiller teacher": (
        REPDISTILLER,
        lambda model: {
            "epoch": 240,
            "model": model.state_dict(),
            "accuracy": torch.tensor([72.5]),
            "optimizer": optimizer(model),
        },
    ),
    "RepDistiller last": (
        REPDISTILLER,
        lambda model: {
            "opt": Namespace(model="resnet8", lr=0.05, trial="0", milestones=[150, 180]),
            "model": model.state_dict(),
            "optimizer": optimizer(model),
        },
    ),
    "SimKD student": (
        REPDISTILLER,
        lambda model: {"epoch": 3, "model": model.state_dict(), "best_acc": torch.tensor(70.0)},
    ),
    "mdistiller student": ("mdistiller's student", lambda model: {"model": model.state_dict()}),
    "mdistiller distiller": (
        "mdistiller's, a whole distiller",
        lambda model: {
            "epoch": 240,
            "model": distiller(model),
            "optimizer": optimizer(model),
            "best_acc": 70.5,
        },
    ),
    "ReviewKD": (
        "a whole distiller",
        lambda model: {
            **{f"student.{k}": v for k, v in model.state_dict().items()},
            "abfs.0.conv1.0.weight": torch.zeros(2, 2, 1, 1),
        },
    ),
    "OpenMMLab distiller": (
        "OpenMMLab's, a whole distiller",
        lambda model: {
            "meta": {"epoch": 240, "experiment_name": "kd"},
            "state_dict": {
                **backbone(model, "student."),
                **backbone(built("resnet14"), "teacher."),
                "distill_losses.loss.connector.weight": torch.zeros(3, 3),
            },
        },
    ),
    "OpenMMLab classifier": (
        "OpenMMLab's",
        lambda model: {"meta": {"epoch": 240}, "state_dict": backbone(model)},
    ),
    "a distiller of zoo names": (
        "OpenMMLab's, a whole distiller",
        lambda model: {"state_dict": Distiller(model, built("resnet14")).state_dict()},
    ),
    "pytorch-cifar": (
        "pytorch-cifar's",
        lambda model: {"net": nn.DataParallel(model).state_dict(), "acc": 93.0, "epoch": 199},
    ),
    "PyTorch's examples": (
        'a state dict under "state_dict"',
        lambda model: {"state_dict": nn.DataParallel(model).state_dict(), "arch": "x", "epoch": 3},
    ),
    "bare": ("a bare state dict", lambda model: model.state_dict()),
    "plain dict": ("a bare state dict", lambda model: dict(model.state_dict())),
    "DataParallel": ("mdistiller's student", lambda m: {"model": nn.DataParallel(m).state_dict()}),
    "compiled": (
        "a bare state dict",
        lambda model: {f"_orig_mod.{k}": v for k, v in model.state_dict().items()},
    ),
    "compiled DataParallel": (
        "a bare state dict",
        lambda model: {f"module._orig_mod.{k}": v for k, v in model.state_dict().items()},
    ),
}


@pytest.mark.parametrize(("name", "content"), FORMATS.values(), ids=FORMATS)
def test_published_formats(tmp_path, name, content):
    theirs, ours, path = built(seed=1), built(), tmp_path / "ckpt_epoch_240.pth"
    torch.save(content(theirs), path)
    load_checkpoint(ours, path)
    assert equal_states(ours, theirs)
    found = read_checkpoint(path)
    assert found.format.startswith(name)
    assert fits(found) == [Fit("resnet8", 10)]
    assert parameters(found.state) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("versioned", [True, False])
def test_files_from_before_torch_0_4_1(tmp_path, versioned):
    """They have no batch counters, whether or not a later program added its version to them."""
    theirs, ours = built(seed=1), built()
    state = theirs.state_dict()
    old = OrderedDict((k, v) for k, v in state.items() if not k.endswith("num_batches_tracked"))
    if versioned:
        old._metadata = state._metadata
    torch.save(old, tmp_path / "w.pth")
    load_checkpoint(ours, tmp_path / "w.pth")
    assert equal_states(ours, theirs)


@pytest.mark.parametrize("kind", ["mdistiller distiller", "OpenMMLab distiller"])
def test_the_teacher_of_a_distiller(tmp_path, kind):
    torch.save(FORMATS[kind][1](built()), tmp_path / "epoch_240")
    teacher = built("resnet14", seed=5)
    load_checkpoint(teacher, tmp_path / "epoch_240", part="teacher")
    assert fits(read_checkpoint(tmp_path / "epoch_240", "teacher")) == [Fit("resnet14", 10)]
    said = r"epoch_240: its student: not the weights of resnet14: .* fit resnet8 with 10 classes$"
    with pytest.raises(models.ModelError, match=said):
        load_checkpoint(teacher, tmp_path / "epoch_240")


@pytest.mark.parametrize(
    ("content", "part", "said"),
    [
        (lambda: Distiller(built()).state_dict(), "teacher", "without 'teacher'.* 'student' only"),
        (lambda: built().state_dict(), "teacher", "no part 'teacher': it holds one network, not"),
        (
            lambda: built().state_dict(),
            "pupil",
            "part 'pupil': expected one of 'student', ",
        ),
    ],
)
def test_a_missing_part(tmp_path, content, part, said):
    torch.save(content(), tmp_path / "w.pth")
    with pytest.raises(models.ModelError, match=said):
        read_checkpoint(tmp_path / "w.pth", part)


def test_other_content_of_a_file(tmp_path):
    def extra(kind):
        torch.save(FORMATS[kind][1](built()), tmp_path / "w.pth")
        return read_checkpoint(tmp_path / "w.pth").extra

    assert extra("RepDistiller teacher") == {
        "epoch": 240,
        "accuracy": 72.5,
        "optimizer": "a dict of 2",
    }
    assert extra("RepDistiller last")["opt"].startswith("4 settings: model='resnet8', lr=0.05")
    assert extra("bare") == {}
    found = extra("mdistiller distiller")
    assert (found["best_acc"], found["conv_reg."]) == (70.5, "2 tensors")
    assert found["teacher."].endswith(" tensors")


def test_removed_prefixes(tmp_path):
    torch.save(FORMATS["mdistiller distiller"][1](built()), tmp_path / "w.pth")
    assert read_checkpoint(tmp_path / "w.pth").stripped == ("module.", "student.")
    torch.save(FORMATS["OpenMMLab classifier"][1](built()), tmp_path / "w.pth")
    assert read_checkpoint(tmp_path / "w.pth").stripped == ("backbone.", "head.")


def test_openmmlabs_resnet_for_cifar_loads_under_pytorch_cifars_names(tmp_path):
    theirs, ours = built("ResNet18", seed=1), built("ResNet18")
    state = {
        k.replace("shortcut", "downsample").replace("linear.", "fc."): v
        for k, v in theirs.state_dict().items()
    }
    named = {(f"head.{k}" if k.startswith("fc.") else f"backbone.{k}"): v for k, v in state.items()}
    torch.save({"state_dict": named}, tmp_path / "w.pth")
    load_checkpoint(ours, tmp_path / "w.pth")
    assert equal_states(ours, theirs)


def test_unknown_networks_of_openmmlab(tmp_path):
    state = {"backbone.conv1.conv.weight": torch.zeros(3, 3), "head.fc.weight": torch.zeros(2, 2)}
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    said = (
        r"no model of the zoo \(of OpenMMLab's networks only ResNet and ResNet_CIFAR are known\)$"
    )
    with pytest.raises(models.ModelError, match=said):
        load_checkpoint(built(), tmp_path / "w.pth")


def test_half_precision_files_load(tmp_path):
    torch.save({k: v.half() for k, v in built(seed=1).state_dict().items()}, tmp_path / "w.pth")
    ours = built()
    load_checkpoint(ours, tmp_path / "w.pth")
    assert {p.dtype for p in ours.parameters()} == {torch.float32}


# ---- which network fits --------------------------------------------------------------------------


def test_the_nearest_network_and_how_it_differs(tmp_path):
    state = built("resnet14").state_dict()
    del state["fc.bias"]
    torch.save(state, tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    assert fits(found) == []
    assert nearest(found) == ("resnet14", "the file lacks 'fc.bias'")


def test_without_common_tensors_no_network_is_near(tmp_path):
    torch.save({"a": torch.zeros(7)}, tmp_path / "w.pth")
    assert nearest(read_checkpoint(tmp_path / "w.pth")) is None


@pytest.fixture
def registry():
    """Registers networks for one test."""
    before = dict(models.base.REGISTRY._entries)
    yield models.register
    models.base.REGISTRY._entries = before


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_torchvisions_files_are_found_by_their_size_without_building_the_rest(
    tmp_path, registry, monkeypatch, name
):
    import torchvision

    looked_up = []

    def recording_find(name):
        looked_up.append(name)
        return models.base.REGISTRY.get(name)

    monkeypatch.setattr(matching, "find", recording_find)
    theirs = torchvision.models.get_model(name, num_classes=37)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    assert fits(read_checkpoint(tmp_path / "w.pth")) == [Fit(f"torchvision/{name}", 37)]
    assert [n for n in looked_up if "/" in n] == [f"torchvision/{name}"]
    ours = models.build(f"torchvision/{name}", 37)
    load_checkpoint(ours, tmp_path / "w.pth")
    assert equal_states(ours, theirs)


def test_the_error_names_torchvisions_networks_too(tmp_path):
    torch.save(models.build("torchvision/resnet18", 37).state_dict(), tmp_path / "w.pth")
    with pytest.raises(models.ModelError, match=r"they fit torchvision/resnet18 with 37 classes$"):
        load_checkpoint(built(), tmp_path / "w.pth")


def test_a_network_that_reads_its_own_weight_values_is_found(tmp_path, registry):
    def demanding(num_classes):
        net = built("resnet8", num_classes)
        net.extra = nn.Parameter(torch.linspace(0, 1, 5))
        assert net.extra.sum().item() > 0  # impossible on the meta device
        return net

    registry("demanding", demanding)
    registry("broken", lambda num_classes: 1 / 0)
    torch.save(demanding(7).state_dict(), tmp_path / "w.pth")
    assert fits(read_checkpoint(tmp_path / "w.pth")) == [Fit("demanding", 7)]


class Linear(models.Classifier):
    """In no catalogue."""

    outputs = preact_norms = feature_modules = classifier = None

    def __init__(self, num_classes):
        super().__init__()
        self.fc = nn.Linear(3, num_classes)


def test_a_name_in_the_file_is_tried_but_not_trusted(tmp_path, registry):
    registry("timm/anything", Linear)
    for arch, found in (("anything", [Fit("timm/anything", 7)]), ("other", [])):
        torch.save({"arch": arch, "state_dict": Linear(7).state_dict()}, tmp_path / "w.pth")
        assert fits(read_checkpoint(tmp_path / "w.pth")) == found
    torch.save({"arch": "anything", "state_dict": built().state_dict()}, tmp_path / "w.pth")
    assert fits(read_checkpoint(tmp_path / "w.pth")) == [Fit("resnet8", 10)]


def test_matching_draws_no_random_numbers(tmp_path):
    save_weights(built("resnet14"), tmp_path / "w")
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    with pytest.raises(models.ModelError, match=re.escape("they fit resnet14")):
        load_checkpoint(built(), tmp_path / "w")
    torch.manual_seed(3)
    fits(read_checkpoint(tmp_path / "w"))
    assert before.equal(torch.random.get_rng_state())
