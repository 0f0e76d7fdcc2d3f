"""timm's classifiers as "timm/NAME", with fresh weights, where timm is installed.

timm is no requirement: without it only these names are refused. They are thousands, so they are not
listed. Vision transformers are those of Dosovitskiy et al., arXiv 2010.11929, and their kin.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .adopted import Adopted, skeleton
from .base import Factory, ModelError, register_prefix
from .outputs import Outputs
from .registry import near

PREFIX = "timm/"


@dataclass(frozen=True)
class Layout:
    """What is the same for all networks of one name.

    maps    how many maps ``forward_intermediates`` gives; 0: the net has patch tokens, or nothing
    stem    the name of the patch embedding whose output belongs before them, or ""
    tokens  the net is a plain transformer: patch tokens per layer behind its prefix tokens
    nhwc    its last map is (N, h, w, c)
    linear  logits == classifier(embedding) in eval mode
    pooled  classifier(mean of the last map over h, w) == logits in eval mode
    """

    maps: int
    stem: str
    tokens: bool
    nhwc: bool
    linear: bool
    pooled: bool


class TimmNet(Adopted):
    """A timm network, through the methods that timm's share.

    Features are ``forward_intermediates``: one map per reduction, mostly behind the last
    activation. Where the first is a stage already (patch embeddings: Swin, ConvNeXt), the embedding
    is computed once more and comes before it, so that features[1:] are the stages of every network.
    Transformers with a plain sequence of tokens (ViT, DeiT, …) have ``tokens`` (without class,
    distillation and register tokens) of every block, and ``cls`` where timm hands it out; their
    features and final map are None. There are no preacts, no blocks.

    The embedding is what the last linear layer reads; both are None where logits come from
    elsewhere (distilled DeiT averages two heads). The final map is None unless its mean over h, w
    is the embedding in eval mode, which is tried when the first network of a name is built.
    """

    def __init__(self, net: Any, name: str) -> None:
        if name not in LAYOUTS:
            LAYOUTS[name] = layout(net)
        self._layout = LAYOUTS[name]
        super().__init__(net, classifier_name(net) if self._layout.linear else "")
        self._token_options = token_options(net) if self._layout.tokens else {}

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        net, seen = self.net, self._layout
        features = tokens = cls = None
        if seen.tokens:
            x, layers = net.forward_intermediates(x, **self._token_options)
            tokens, cls = split(net, layers)
        elif seen.maps:
            stem = (as_map(self.at(seen.stem)(x), seen.nhwc),) if seen.stem else ()
            x, maps = net.forward_intermediates(x, output_fmt="NCHW")
            features = (*stem, *maps)
        else:
            x = net.forward_features(x)
        linear = self.classifier
        embedding = net.forward_head(x, pre_logits=True) if linear is not None else None
        return Outputs(
            logits=net.forward_head(x) if linear is None else linear(embedding),
            embedding=embedding,
            features=features,
            final_map=as_map(x, seen.nhwc) if seen.pooled else None,
            tokens=tokens,
            cls=cls,
        )

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        return (None,) * (self._layout.maps + bool(self._layout.stem))

    def feature_modules(self) -> nn.ModuleList:
        """Everything but the heads."""
        heads = self.net.default_cfg["classifier"]
        tops = {name.split(".")[0] for name in ((heads,) if isinstance(heads, str) else heads)}
        return nn.ModuleList([m for name, m in self.named_children() if name not in tops])


LAYOUTS: dict[str, Layout] = {}
TRACES = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def as_map(x: Tensor, nhwc: bool) -> Tensor:
    """(N, c, h, w), whichever of the two orders ``x`` has."""
    return x.permute(0, 3, 1, 2) if nhwc else x


def token_options(net: Any) -> dict[str, Any]:
    """How to ask for sequences of tokens: with the prefix tokens, where the net hands them out."""
    given = "return_prefix_tokens" in inspect.signature(net.forward_intermediates).parameters
    return {"output_fmt": "NLC"} | ({"return_prefix_tokens": True} if given else {})


def split(net: Any, layers: list[Any]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
    """Patch tokens per layer, and class tokens if there are any."""
    if isinstance(layers[0], Tensor):
        return tuple(layers), None
    patches, prefixes = zip(*layers, strict=True)
    if getattr(net, "cls_token", None) is None:  # register tokens only
        return patches, None
    return patches, tuple(prefix[:, 0] for prefix in prefixes)


def classifier_name(net: Any) -> str:
    """The dotted name of the one linear layer that makes the logits; "" where it is not one."""
    head = net.get_classifier()
    named = [name for name, module in net.named_modules() if module is head]
    return named[0] if isinstance(head, nn.Linear) and named else ""


# ---- the layout ----------------------------------------------------------------------------------


@torch.no_grad()
def layout(net: Any) -> Layout:
    """Shapes for one image on the meta device, and the head tried on random numbers."""
    shadow: Any = skeleton(net)
    images = torch.empty(1, *net.default_cfg["input_size"], device="meta")
    tokens = isinstance(getattr(net, "num_prefix_tokens", None), int)
    name, nhwc = classifier_name(net), getattr(net, "output_fmt", "NCHW") == "NHWC"
    maps: list[Tensor] = []
    if not hasattr(net, "forward_intermediates"):
        tokens, final = False, shadow.forward_features(images)
    elif tokens:
        final, _ = shadow.forward_intermediates(images, **token_options(net))
    else:
        final, maps = shadow.forward_intermediates(images, output_fmt="NCHW")
    stem = patch_embedding(shadow, images, maps, nhwc)
    head = _head(net, name, final.shape, nhwc) if isinstance(final, Tensor) else (False, False)
    return Layout(len(maps), stem, tokens, nhwc, *head)


def patch_embedding(net: nn.Module, images: Tensor, maps: Sequence[Tensor], nhwc: bool) -> str:
    """The module whose map the features lack: as large as the first of them, a quarter or less.

    A second pass must leave no trace, so it has no BatchNorm and no dropout.
    """
    if not maps or 4 * maps[0].shape[2] > images.shape[2]:
        return ""
    for name in ("stem", "patch_embed"):
        module = net._modules.get(name)
        if module is None or isinstance(module, nn.ModuleList):
            continue
        if any(isinstance(m, TRACES) for m in module.modules()):
            continue
        found = module(images)
        if isinstance(found, Tensor) and found.ndim == 4:
            return name if as_map(found, nhwc).shape[2:] == maps[0].shape[2:] else ""
    return ""


def _head(net: Any, name: str, shape: torch.Size, nhwc: bool) -> tuple[bool, bool]:
    """``linear`` and ``pooled`` of the layout; ``shape`` is that of one image's last map."""
    if not name:
        return False, False
    training = net.training
    net.eval()
    last: Any = net.get_submodule(name)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(last.weight)
    logits = net.forward_head(x)
    linear = torch.allclose(logits, last(net.forward_head(x, pre_logits=True)), 1e-3, 1e-5)
    final_map = as_map(x, nhwc)
    pooled = linear and final_map.ndim == 4 and final_map.shape[1] == last.in_features
    if pooled:
        pooled = torch.allclose(logits, last(final_map.mean((2, 3))), 1e-3, 1e-5)
    net.train(training)
    return linear, pooled


def resolve(name: str) -> Factory:
    """The constructor of "timm/NAME"; ModelError without timm, or with near matches."""
    if importlib.util.find_spec("timm") is None:
        raise ModelError(f"model {name!r}: timm is not installed; pip install timm")
    timm: Any = importlib.import_module("timm")
    short = name.removeprefix(PREFIX)
    if not timm.is_model(short):
        known = (PREFIX + known for known in timm.list_models())
        raise ModelError(f"unknown model {name!r}: {near(name, known)}")

    def factory(num_classes: int) -> TimmNet:
        return TimmNet(timm.create_model(short, pretrained=False, num_classes=num_classes), short)

    return factory


register_prefix(PREFIX, resolve)
