"""torchvision's classifiers under the contract: one per family, all with KD_ALL_MODELS=1."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision.models
from torch import nn

import models
from experiments.train import networks
from models import torchvision_nets, torchvision_path, torchvision_vit
from tests.models.helpers import built, equal_states, images, same

CLASSES = 7
LISTED = [f"torchvision/{name}" for name in torchvision_nets.NAMES]
FAMILIES = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3",
    "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "resnet18",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11_bn",
    "vit_b_32",
)  # fmt: skip
TESTED = LISTED if os.environ.get("KD_ALL_MODELS") else [f"torchvision/{n}" for n in FAMILIES]
# These have several layers, or no linear layer, between the pooled map and the logits.
NO_FINAL_MAP = ("alexnet", "convnext", "maxvit", "mobilenet_v3", "squeezenet", "vgg", "vit")
AUXILIARY = ("aux1", "aux2", "AuxLogits")


def smallest(name, n=2):
    """Images about as small as the network accepts."""
    sizes = {"torchvision/inception_v3": 96, "torchvision/maxvit_t": 224}
    return images(224 if "/vit_" in name else sizes.get(name, 64), n=n)


@pytest.fixture(scope="module", params=TESTED)
def model(request):
    model = built(request.param, CLASSES).eval()
    if "/vit_" in request.param:  # torchvision initialises its head to zero, which would hide bugs
        nn.init.normal_(model.classifier.weight, std=0.05)
    return model


@torch.no_grad()
def test_outputs_hold_together(model):
    x = smallest(model.name, n=1)
    out = model.outputs(x, preacts=True, blocks=True)
    assert out.logits.shape == (len(x), CLASSES)
    same(out.logits, model.net(x))  # the library's own forward
    assert (model.classifier is None) == ("squeezenet" in model.name)
    if model.classifier is not None:
        same(model.classifier(out.embedding), out.logits)
    lacks = model.name.removeprefix("torchvision/").startswith(NO_FINAL_MAP)
    assert (out.final_map is None) == lacks
    if not lacks:
        same(model.classifier(out.final_map.mean((2, 3))), out.logits, rtol=1e-4)
    assert len(model.preact_norms) == len(out.features or ())


@torch.no_grad()
def test_features_are_maps_of_decreasing_size(model):
    out = model.outputs(smallest(model.name, n=1))
    if "/vit_" in model.name:
        assert out.features is None
        return
    sides = [x.shape[2] for x in out.features]
    assert sides == sorted(sides, reverse=True)
    assert 3 <= len(sides) <= 6
    assert all(x.ndim == 4 and x.shape[2] == x.shape[3] for x in out.features)


@torch.no_grad()
def test_no_later_layer_writes_into_a_feature(model):
    if not isinstance(model, torchvision_path.PathNet):
        return
    x, kept = smallest(model.name, n=1), []
    features = model.outputs(x).features
    for i, step in enumerate(model._trunk):
        x = model.take(step, x)
        if i in model._layout.taps:
            inside = model._layout.nhwc and step != "permute"
            kept.append((x.permute(0, 3, 1, 2) if inside else x).clone())
    assert all(a.equal(b) for a, b in zip(features, kept, strict=True))


def test_every_parameter_gets_a_gradient_in_train_mode(model):
    trained = deepcopy(model).train()
    x = smallest(model.name, n=1 if "maxvit" in model.name else 2)  # the second costs two seconds
    out = trained.outputs(x)
    assert out.logits.shape == (len(x), CLASSES)
    F.cross_entropy(out.logits, torch.tensor([3, 6])[: len(x)]).backward()
    without = {n.split(".")[0] for n, p in trained.named_parameters() if p.grad is None}
    assert without <= set(AUXILIARY)
    head = trained.classifier.weight if trained.classifier else trained.at("classifier.1").weight
    assert head.grad.any()
    assert next(model.parameters()).grad is None  # deepcopy copied the parameters


@torch.no_grad()
def test_channels_last_and_bfloat16(model):
    if "maxvit" in model.name and TESTED is not LISTED:
        pytest.skip("two seconds; KD_ALL_MODELS=1 runs it")
    x = smallest(model.name, n=1)
    exact = model(x)
    last = deepcopy(model).to(memory_format=torch.channels_last)
    same(last(x.contiguous(memory_format=torch.channels_last)), exact, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.outputs(x, preacts=True).logits
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).norm() < 0.2 * exact.norm()


def test_norms_and_modules_belong_to_the_network(model):
    own = set(model.modules())
    assert all(norm is None or norm in own for norm in model.preact_norms)
    trained = set(model.feature_modules().parameters())
    assert trained
    assert trained < set(model.parameters())
    if model.classifier is not None:
        assert model.classifier in own
        assert not trained & set(model.classifier.parameters())


@torch.no_grad()
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "googlenet", "mobilenet_v3_small"])
def test_the_librarys_weights_load_under_its_own_names(name):
    library = torchvision_nets.library_net(name, CLASSES).eval()
    model = built(f"torchvision/{name}", CLASSES).eval()
    assert list(model.state_dict()) == list(library.state_dict())
    model.load_state_dict(library.state_dict(), strict=True)
    x = smallest(name)
    same(model(x), library(x))
    for path, _ in library.named_parameters():  # names can be walked by attributes
        parent, _, name = path.rpartition(".")
        assert model.get_parameter(path) is model.get_submodule(parent)._parameters[name]


def test_a_checkpoint_round_trip(tmp_path):
    name, path = "torchvision/mobilenet_v3_small", tmp_path / "weights.pth"
    first, second = (built(name, CLASSES, seed) for seed in (0, 1))
    torch.save(first.state_dict(), path)
    models.load_checkpoint(second, path)
    assert equal_states(first, second)
    with pytest.raises(models.ModelError, match="file has 7 classes, model has 3"):
        models.load_checkpoint(built(name, 3), path)


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5"])
def test_the_generator_decides_the_weights(name):
    """Even if finding the layout comes first."""
    torchvision_path.LAYOUTS.pop(name, None)
    first, after = built(f"torchvision/{name}"), torch.rand(1)
    second, again = built(f"torchvision/{name}"), torch.rand(1)
    assert equal_states(first, second)
    assert after.equal(again)


@torch.no_grad()
def test_a_resnets_blocks_and_preacts():
    model = built("torchvision/resnet34").eval()
    plain = model.outputs(images(64, n=1))
    assert plain.preacts is plain.blocks is None
    out = model.outputs(images(64, n=1), preacts=True, blocks=True)
    assert [len(inside) for inside in out.blocks] == [3, 4, 6, 3]
    assert all(b[-1] is f for b, f in zip(out.blocks, out.features[1:], strict=True))
    assert out.preacts[0] is out.features[0]
    assert all(f.equal(p.relu()) for f, p in zip(out.features, out.preacts, strict=True))
    assert all(p.min() < 0 for p in out.preacts[1:])
    names = {module: name for name, module in model.named_modules()}
    found = [names.get(norm) for norm in model.preact_norms]
    assert found == [None, "layer1.2.bn2", "layer2.3.bn2", "layer3.5.bn2", "layer4.2.bn2"]
    assert "layer4.2.bn3" in {n for n, m in built("torchvision/resnet50").named_modules()}


def small_vit(**options):
    """A vision transformer for 32×32 images, with a head that does not start at zero."""
    shape = {"image_size": 32, "patch_size": 8, "hidden_dim": 16, "mlp_dim": 24}
    torch.manual_seed(0)
    net = torchvision.models.VisionTransformer(
        **shape, num_layers=3, num_heads=2, num_classes=CLASSES, **options
    )
    model = torchvision_vit.VisionTransformer(net).eval()
    nn.init.normal_(model.classifier.weight)
    return model


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"representation_size": 5}], ids=str)
def test_a_vits_tokens(options):
    model, seen = small_vit(**options), []
    for layer in model.at("encoder.layers").children():
        layer.register_forward_hook(lambda module, args, result: seen.append(result))
    out = model.outputs(images())
    assert {t.shape for t in out.tokens} == {(2, 16, 16)}
    for tokens, cls, result in zip(out.tokens, out.cls, seen, strict=True):
        assert tokens.equal(result[:, 1:])
        assert cls.equal(result[:, 0])
    if not options:
        same(out.embedding, model.at("encoder.ln")(out.cls[-1]))
    same(model.classifier(out.embedding), out.logits)
    same(model.net(images()), out.logits)
    with pytest.raises(models.ModelError, match="images of 64×48; expected 32×32"):
        model(torch.zeros(1, 3, 64, 48))


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vit"])
def test_compiles_into_one_graph(name):
    """One network per wrapper; `tools/reports/compile_zoo.py` compiles the whole zoo."""
    torch.compiler.reset()
    model, x = small_vit() if name == "vit" else built(f"torchvision/{name}").eval(), images()
    compiled = torch.compile(model.outputs, backend="eager", fullgraph=True)
    with torch.no_grad():
        same(compiled(x).logits, model(x))


def test_a_frozen_teacher_stays_in_eval_mode():
    model = networks.freeze(built("torchvision/googlenet"))
    model.train()
    x = images(64)
    assert not model.training
    assert model(x).equal(model(x))  # dropout would differ
    assert not model.net.training


@pytest.mark.parametrize(
    ("sides", "learned", "size", "expected"),
    [
        ([112, 112, 56, 28], [True, True, True, True], 224, (1, 2, 3)),  # the stem's last map
        ([56, 56, 28], [True, True, True], 224, (0, 1, 2)),  # a patch embedding and its stage
        ([56, 56, 28], [True, False, True], 224, (1, 2)),  # a convolution and its ReLU
        ([224, 112, 112, 56], [True, False, True, False], 224, (0, 2)),  # pooling alone: no stage
        ([149, 147, 73, 71, 35], [True] * 5, 299, (1, 3, 4)),  # unpadded convolutions
    ],
)
def test_taps(sides, learned, size, expected):
    assert torchvision_path.taps(sides, learned, size) == expected


def test_names_are_those_of_the_library():
    assert set(torchvision_nets.NAMES) <= set(torchvision.models.list_models(torchvision.models))
    assert set(LISTED) <= set(models.names())


def test_an_unknown_name_gives_near_matches():
    for call in (models.check, lambda name: models.build(name, 10)):
        with pytest.raises(
            models.ModelError, match=r"'torchvision/resnet43'.*torchvision/resnet34"
        ):
            call("torchvision/resnet43")
    models.check("torchvision/vit_b_16")


def test_an_unknown_kind_of_network_is_refused():
    with pytest.raises(models.ModelError, match=r"torchvision/new: unknown kind .* Sequential"):
        torchvision_path.PathNet(nn.Sequential(nn.Conv2d(3, 4, 1)), "new")


def test_names_cost_no_import_of_torchvision():
    code = "import models, sys; models.names(); sys.exit('torchvision' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
