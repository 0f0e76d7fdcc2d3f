"""Old names of torchvision's and timm's networks, translated by these libraries themselves.

Both load files that were written before they renamed a module: by hooks of the modules, by a loader
of the family, or by a filter. Each is asked here on the meta device, where nothing is computed.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import warnings
from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from .containers import State

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # heads of GoogLeNet and Inception that only train
COUNTER = "num_batches_tracked"
_VERSIONED = "mnasnet"  # refuses a state without a version; 2 is that of every published file


def translated(name: str, state: State, classes: int | None) -> State | None:
    """The state with the names that the library's network ``name`` has today.

    None if the library would not take it, or has nothing to translate.
    """
    library, _, short = name.partition("/")
    translate = {"torchvision": _torchvision, "timm": _timm}.get(library)
    if translate is None or classes is None:
        return None
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch: copying to the meta device does nothing
            return translate(short, dict(state), classes)
    except Exception:  # noqa: BLE001  (a library raises anything about a file that is not its own)
        return None


def _torchvision(name: str, state: dict[str, Any], classes: int) -> State | None:
    from ..torchvision_nets import library_net

    net = library_net(name, classes)
    loader = _loader_of(net)
    if loader is not None:
        loader(net, SimpleNamespace(get_state_dict=lambda **_: state), False)  # renames in place
    return _loaded(net, state)


def _loader_of(net: nn.Module) -> Any:
    """The family's own loader, as DenseNet has one: (net, weights, progress)."""
    return getattr(sys.modules[type(net).__module__], "_load_state_dict", None)


def _timm(name: str, state: dict[str, Any], classes: int) -> State | None:
    if importlib.util.find_spec("timm") is None:
        return None
    timm: Any = importlib.import_module("timm")
    net = timm.create_model(name, pretrained=False, num_classes=classes)
    family = sys.modules[timm.models.model_entrypoint(name).__module__]
    renamed = getattr(family, "checkpoint_filter_fn", None)
    if renamed is None:
        return None
    # DeiT-III's entry point asks for this, the others do not know it.
    options = {"adapt_layer_scale": True}
    known = inspect.signature(renamed).parameters
    return _loaded(net, renamed(state, net, **{k: v for k, v in options.items() if k in known}))


def _loaded(net: nn.Module, state: State) -> State | None:
    """The state as the network has it after loading; None if it does not load whole."""
    versioned: Any = OrderedDict(state)
    if type(net).__name__.lower() == _VERSIONED:
        versioned._metadata = {"": {"version": 2}}
    found = net.load_state_dict(versioned, strict=False, assign=True)
    missing = [key for key in found.missing_keys if not key.startswith(AUXILIARY)]
    if missing or found.unexpected_keys:
        return None
    absent = set(found.missing_keys)
    loaded = {key: value for key, value in net.state_dict().items() if key not in absent}
    # Batch counters that the file lacks were made here, without values: loading makes them again.
    return {k: v for k, v in loaded.items() if not (k.endswith(COUNTER) and v.is_meta)}
