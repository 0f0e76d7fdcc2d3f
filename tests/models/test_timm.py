"""timm's classifiers under the contract, if timm is installed."""

from __future__ import annotations

import importlib.util
from copy import deepcopy

import pytest
import torch
from torch import nn

import models
from models import timm_nets
from tests.models.helpers import built, images, same

CLASSES = 7
NETS = {  # features, tokens per layer, final map
    "resnet18": (5, 0, True),
    "mobilenetv3_small_050": (5, 0, False),
    "regnetx_002": (5, 0, True),
    "swin_tiny_patch4_window7_224": (5, 0, True),
    "convnext_atto": (5, 0, False),
    "vit_tiny_patch16_224": (0, 196, False),
    "deit_tiny_patch16_224": (0, 196, False),
    "deit_tiny_distilled_patch16_224": (0, 196, False),
}
needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is optional and not installed"
)


@pytest.fixture(scope="module", params=NETS)
def model(request):
    return built(f"timm/{request.param}", CLASSES).eval()


@needs_timm
@torch.no_grad()
def test_outputs_hold_together(model):
    features, tokens, pooled = NETS[model.name.removeprefix("timm/")]
    out = model.outputs(images(224), preacts=True, blocks=True)
    same(out.logits, model.net(images(224)), rtol=1e-4)
    if "distilled" in model.name:
        assert model.classifier is out.embedding is None
    else:
        same(model.classifier(out.embedding), out.logits, rtol=1e-4)
    assert (out.final_map is not None) == pooled
    if pooled:
        same(model.classifier(out.final_map.mean((2, 3))), out.logits, rtol=1e-4)
    assert len(out.features or ()) == len(model.preact_norms) == features
    sides = [f.shape[2] for f in out.features or ()]
    assert sides == sorted(sides, reverse=True)
    assert {t.shape[1] for t in out.tokens or ()} == ({tokens} if tokens else set())
    assert len(out.cls or ()) == len(out.tokens or ())


@needs_timm
def test_gradients_flow_and_feature_modules_leave_out_the_heads(model):
    trained = deepcopy(model).train()
    trained.outputs(images(224)).logits.square().sum().backward()
    assert [n for n, p in trained.named_parameters() if p.grad is None] == []
    features = {id(p) for p in trained.feature_modules().parameters()}
    left = {n.split(".")[0] for n, p in trained.named_parameters() if id(p) not in features}
    assert left <= {"head", "head_dist", "fc", "classifier", "cls_token", "pos_embed", "dist_token"}
    assert left & {"head", "fc", "classifier"}


@needs_timm
@torch.no_grad()
def test_the_librarys_parameter_names(model):
    assert list(model.state_dict()) == list(model.net.state_dict())


@needs_timm
@torch.no_grad()
def test_bfloat16_and_channels_last(model):
    last = deepcopy(model).to(memory_format=torch.channels_last)
    x = images(224).contiguous(memory_format=torch.channels_last)
    same(last(x), model(images(224)), rtol=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(images(224)).isfinite().all()


@needs_timm
def test_an_unknown_name_gives_near_matches():
    with pytest.raises(models.ModelError, match=r"'timm/resnte50'.*timm/resnet50"):
        models.check("timm/resnte50")


def test_without_timm_its_names_are_refused(monkeypatch):
    monkeypatch.setattr(timm_nets.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(models.ModelError, match=r"'timm/resnet50': timm is not installed"):
        models.build("timm/resnet50", CLASSES)


def test_a_stem_with_a_batch_norm_is_not_run_twice():
    net = nn.Module()
    net.stem = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4))
    x, maps = torch.zeros(1, 3, 32, 32), [torch.zeros(1, 4, 8, 8)]
    assert timm_nets.patch_embedding(net, x, maps, nhwc=False) == "stem"
    assert timm_nets.patch_embedding(net, x, [torch.zeros(1, 4, 16, 16)], nhwc=False) == ""
    net.stem.append(nn.BatchNorm2d(4))
    assert timm_nets.patch_embedding(net, x, maps, nhwc=False) == ""
