"""timm's classifiers as "timm/NAME", with fresh weights, if timm is installed.

timm is optional: without it only these names are refused. There are more than a thousand, so they
are not listed. Vision transformers follow Dosovitskiy et al., arXiv 2010.11929.
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

from .base import Factory, ModelError, register_prefix
from .outputs import Outputs
from .registry import near
from .wrapped import WrappedClassifier, skeleton

PREFIX = "timm/"


@dataclass(frozen=True)
class Layout:
    """What all networks of one name have in common.

    maps    number of maps that ``forward_intermediates`` returns; 0 if it returns tokens or nothing
    stem    name of the patch embedding whose output precedes these maps, or ""
    tokens  whether the net is a plain transformer, with prefix tokens and patch tokens per layer
    nhwc    whether its last map is (N, h, w, c)
    linear  whether logits == classifier(embedding) in eval mode
    pooled  whether classifier(mean of the last map over h, w) == logits in eval mode
    """

    maps: int
    stem: str
    tokens: bool
    nhwc: bool
    linear: bool
    pooled: bool


class TimmNet(WrappedClassifier):
    """A timm network, run through the methods that all of timm's networks share.

    Features are the maps of ``forward_intermediates``: one per reduction, usually after the last
    activation. If the first map is already a stage's output (networks with patch embeddings: Swin,
    ConvNeXt), the patch embedding is computed once more and precedes it, so that features[1:] are
    the stages of every network. Transformers with a plain sequence of tokens (ViT, DeiT, …) have
    the ``tokens`` of every block (without class, distillation and register tokens), and ``cls`` if
    timm returns it; their features and final map are None. Preacts and blocks are always None.

    The embedding is the last linear layer's input; both are None if the logits are computed
    differently (distilled DeiT averages two heads). The final map is None unless its mean over h, w
    is the embedding in eval mode, which is tested when the first network of a name is built.
    """

    def __init__(self, net: Any, name: str) -> None:
        if name not in LAYOUTS:
            LAYOUTS[name] = find_layout(net)
        self._layout = LAYOUTS[name]
        super().__init__(net, classifier_name(net) if self._layout.linear else "")
        self._token_options = token_options(net) if self._layout.tokens else {}

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        net, layout = self.net, self._layout
        features = tokens = cls = None
        if layout.tokens:
            x, layers = net.forward_intermediates(x, **self._token_options)
            tokens, cls = split(net, layers)
        elif layout.maps:
            stem = (as_map(self.at(layout.stem)(x), layout.nhwc),) if layout.stem else ()
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
            final_map=as_map(x, layout.nhwc) if layout.pooled else None,
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


LAYOUTS: dict[str, Layout] = {}  # by name, filled when the first network of a name is built
# Modules that change state, or random numbers, every time they run.
STATEFUL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


def as_map(x: Tensor, nhwc: bool) -> Tensor:
    """``x`` as (N, c, h, w)."""
    return x.permute(0, 3, 1, 2) if nhwc else x


def token_options(net: Any) -> dict[str, Any]:
    """Arguments of ``forward_intermediates`` for tokens, with prefix tokens if possible."""
    parameters = inspect.signature(net.forward_intermediates).parameters
    has_prefix = "return_prefix_tokens" in parameters
    return {"output_fmt": "NLC"} | ({"return_prefix_tokens": True} if has_prefix else {})


def split(net: Any, layers: list[Any]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...] | None]:
    """Patch tokens per layer, and class tokens per layer if the net has them."""
    if isinstance(layers[0], Tensor):
        return tuple(layers), None
    patches, prefixes = zip(*layers, strict=True)
    if getattr(net, "cls_token", None) is None:  # register tokens only
        return patches, None
    return patches, tuple(prefix[:, 0] for prefix in prefixes)  # the class token comes first


def classifier_name(net: Any) -> str:
    """The dotted name of the linear layer that computes the logits; "" if it is not just one."""
    head = net.get_classifier()
    named = [name for name, module in net.named_modules() if module is head]
    return named[0] if isinstance(head, nn.Linear) and named else ""


# ---- the layout ----------------------------------------------------------------------------------


@torch.no_grad()
def find_layout(net: Any) -> Layout:
    """Run one image on the meta device for the shapes, and the head on random numbers."""
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
    """The name of the module that makes the patch embedding, if ``maps`` do not include it.

    Its map is as large as the first of ``maps``, at most a quarter of the image. It is run a second
    time, so a module with a BatchNorm or dropout, on which that would have an effect, is left out.
    """
    if not maps or 4 * maps[0].shape[2] > images.shape[2]:
        return ""
    for name in ("stem", "patch_embed"):
        module = net._modules.get(name)
        if module is None or isinstance(module, nn.ModuleList):
            continue
        if any(isinstance(m, STATEFUL) for m in module.modules()):
            continue
        embedding = module(images)
        if isinstance(embedding, Tensor) and embedding.ndim == 4:
            return name if as_map(embedding, nhwc).shape[2:] == maps[0].shape[2:] else ""
    return ""


def _head(net: Any, name: str, shape: torch.Size, nhwc: bool) -> tuple[bool, bool]:
    """``linear`` and ``pooled`` of the layout; ``shape`` is that of the last map of one image."""
    if not name:
        return False, False
    training = net.training
    net.eval()  # the head's dropout would make the two sides differ
    last: Any = net.get_submodule(name)
    # Its own generator: the network's weights are drawn from the global one, which must not change.
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
    """The constructor of "timm/NAME".

    Raises ModelError if timm is not installed, and with near matches for an unknown name.
    """
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
