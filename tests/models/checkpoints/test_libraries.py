"""Whatever torchvision or timm itself loads gives the same logits here: names of old files, too."""

from __future__ import annotations

import os
import re

import pytest
import torch
from torch import nn

from models import torchvision_nets
from models.checkpoints.files import load_checkpoint, save_weights
from models.checkpoints.formats import read_checkpoint
from models.checkpoints.identify import identify
from models.checkpoints.matching import Fit
from tests.models.helpers import built, images, same

CLASSES = 7
RENAMED = ("densenet121", "googlenet", "inception_v3", "mnasnet0_5", "shufflenet_v2_x0_5")
RENAMED += ("squeezenet1_1", "vit_b_32", "mobilenet_v3_small", "swin_t")
TESTED = torchvision_nets.NAMES if os.environ.get("KD_ALL_MODELS") else RENAMED
SIZES = {"inception_v3": 96, "maxvit_t": 224}
DENSE = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])\.")


def as_published(name, net):
    """The state dict as the library's first files had it."""
    state = net.state_dict()
    if name.startswith("vit"):  # before torchvision 0.12
        return {
            k.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): v
            for k, v in state.items()
        }
    if name.startswith("densenet"):  # of 2017
        return {DENSE.sub(r"\1.\2.", k): v for k, v in state.items() if "num_batches" not in k}
    return state


@pytest.mark.parametrize("name", TESTED)
@torch.no_grad()
def test_torchvision(name, tmp_path):
    torch.manual_seed(0)
    theirs = torchvision_nets.library_net(name, CLASSES).eval()
    for layer in theirs.modules():  # ViT's head begins at zero, which would hide errors
        if isinstance(layer, nn.Linear) and layer.out_features == CLASSES:
            nn.init.normal_(layer.weight, std=0.05)
    torch.save(as_published(name, theirs), tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    assert identify(found, f"torchvision/{name}") == Fit(f"torchvision/{name}", CLASSES)
    ours = built(f"torchvision/{name}", CLASSES, seed=1).eval()
    load_checkpoint(ours, tmp_path / "w.pth")
    if hasattr(theirs, "transform_input"):
        theirs.transform_input = True  # as `weights=…` sets it
    x = images(224 if name.startswith("vit") else SIZES.get(name, 64), n=1)
    same(ours(x), theirs(x), rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_transformed_input_travels(name, tmp_path):
    """A bare file cannot say it, ours can; a network trained here has none."""
    torch.manual_seed(0)
    theirs = torchvision_nets.library_net(name, CLASSES).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    x = images(96, n=1)
    ours, again = (built(f"torchvision/{name}", CLASSES, seed=s).eval() for s in (1, 2))
    assert not ours.transform_input
    load_checkpoint(ours, tmp_path / "w.pth")
    assert ours.transform_input
    save_weights(ours, tmp_path / "ours.safetensors")
    load_checkpoint(again, tmp_path / "ours.safetensors")
    same(again(x), ours(x))
    stays = read_checkpoint(tmp_path / "w.pth", transform_input=False)
    from models.checkpoints.files import load

    load(again, stays)
    same(again(x), theirs(x), rtol=1e-4)
    save_weights(again, tmp_path / "own.safetensors")
    load_checkpoint(again, tmp_path / "own.safetensors")
    assert not again.transform_input


def test_files_without_auxiliary_heads(tmp_path):
    state = torchvision_nets.library_net("googlenet", CLASSES).state_dict()
    kept = {key: value for key, value in state.items() if not key.startswith("aux")}
    torch.save(kept, tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    assert identify(found, "torchvision/googlenet") == Fit("torchvision/googlenet", CLASSES)
    load_checkpoint(built("torchvision/googlenet", CLASSES), tmp_path / "w.pth")


def test_old_names_are_recognised_without_being_told(tmp_path):
    net = torchvision_nets.library_net("densenet121", CLASSES)
    torch.save(as_published("densenet121", net), tmp_path / "w.pth")
    assert identify(read_checkpoint(tmp_path / "w.pth")) == Fit("torchvision/densenet121", CLASSES)


# ---- timm ----------------------------------------------------------------------------------------


def deit3(name):
    return name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")


def swin(name):
    name = name.replace("head.fc.", "head.")
    return re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name)


def convnext(name):
    name = name.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm.")
    name = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
    name = re.sub(r"stages\.(\d)\.blocks\.", r"stages.\1.", name.replace("head.fc.", "head."))
    return (
        name.replace("conv_dw", "dwconv")
        .replace("mlp.fc1", "pwconv1")
        .replace("mlp.fc2", "pwconv2")
    )


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("deit3_small_patch16_224", deit3),
        ("swin_tiny_patch4_window7_224", swin),
        ("convnext_atto", convnext),
    ],
)
def test_the_originals_of_timm(name, old, tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, num_classes=CLASSES).eval()
    torch.save({"model": {old(k): v for k, v in theirs.state_dict().items()}}, tmp_path / "w.pth")
    ours = built(f"timm/{name}", CLASSES, seed=1).eval()
    found = read_checkpoint(tmp_path / "w.pth")
    assert identify(found, f"timm/{name}") == Fit(f"timm/{name}", CLASSES)
    load_checkpoint(ours, tmp_path / "w.pth")
    same(ours(images(224, n=1)), theirs(images(224, n=1)), rtol=1e-4)
