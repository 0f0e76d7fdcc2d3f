"""Golden fixtures: inputs, values and gradients that the methods' reference code produced.

The files golden/METHOD.npz hold numbers only (no pickles). Per case: ``in`` (inputs), ``out`` and
``out64`` (terms in float32 and float64), ``grad`` and ``grad64`` (by input), ``pgrad`` (float32, by
parameter of the reference), ``aux`` (side results) and ``params`` (JSON: hyper-parameters, what the
gradient belongs to, tolerances). A test reads like this:

    case = golden.load("at", "c0")
    inputs = golden.inputs(case, torch.float64)
    student, teacher = golden.outputs(inputs, "s"), golden.outputs(inputs, "t")
    method = golden.build(case, "at", student, teacher, torch.float64, weight=1.0)
    value = method(student, teacher, golden.batch(inputs))["at"]
    golden.check_value(case, "total", value)
    value.backward()
    golden.check_gradients(case, inputs)

Every ``check_…`` returns the largest relative error it saw.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import distillers
from datasets import Batch, Info
from distillers import Distiller
from models import Outputs

FOLDER = Path(__file__).with_suffix("")
DTYPES = (torch.float64, torch.float32)
# Relative tolerance of float32 values where cancellation makes the references themselves noisy.
NOISY = {"pkt": 1e-3, "kdsvd": 1e-4, "ctkd": 2e-5, "rkd": 2e-5, "sp": 2e-5, "lskd": 2e-5}


@dataclass(frozen=True)
class Case:
    """One case of a fixture file; ``groups`` maps in, out, out64, grad, … to arrays by name."""

    method: str
    name: str
    params: Mapping[str, Any]
    groups: Mapping[str, Mapping[str, np.ndarray]]

    @property
    def hparams(self) -> Mapping[str, Any]:
        return self.params["hparams"]

    def tensor(self, group: str, item: str, dtype: torch.dtype | None = None) -> Tensor:
        """A copy of one array; integers keep their type whatever ``dtype`` is."""
        value = torch.tensor(self.groups[group][item])
        return value.to(dtype) if dtype is not None and value.is_floating_point() else value


def names(method: str) -> list[str]:
    """The case names of a fixture file, for parametrising."""
    with np.load(FOLDER / f"{method}.npz") as file:
        return json.loads(str(file["cases"]))


def load(method: str, name: str) -> Case:
    """One case of golden/METHOD.npz."""
    with np.load(FOLDER / f"{method}.npz") as file:
        groups: dict[str, dict[str, np.ndarray]] = {}
        for key in file.files:
            if key.startswith(f"{name}/") and key.count("/") >= 2:
                _, group, item = key.split("/", 2)
                groups.setdefault(group, {})[item] = file[key]
        return Case(method, name, json.loads(str(file[f"{name}/params"])), groups)


# ---- from a case to a method and its arguments ---------------------------------------------------


def inputs(case: Case, dtype: torch.dtype) -> dict[str, Tensor]:
    """All inputs by name, floats in ``dtype``; those with a stored gradient ask for theirs."""
    tensors = {item: case.tensor("in", item, dtype) for item in case.groups["in"]}
    for item in case.groups.get("grad", {}):
        if item in tensors:
            tensors[item].requires_grad_()
    return tensors


def outputs(inputs: Mapping[str, Tensor], side: str, suffix: str = "", **fields: Any) -> Outputs:
    """What a network would have returned; ``side`` is "s" or "t", ``suffix`` e.g. "_step2".

    Reads {side}_logits, _embedding, _feat0…, _preact0…; ``fields`` sets or overrides any. Fixtures
    leave out the stem, which most methods skip: here it is zeros in the first map's shape.
    """

    def listed(kind: str) -> tuple[Tensor, ...] | None:
        maps = []
        while (key := f"{side}_{kind}{len(maps)}{suffix}") in inputs:
            maps.append(inputs[key])
        return (torch.zeros_like(maps[0]), *maps) if maps else None

    found = {
        "logits": inputs.get(f"{side}_logits{suffix}"),
        "embedding": inputs.get(f"{side}_embedding{suffix}"),
        "features": listed("feat"),
        "preacts": listed("preact"),
    } | fields
    if found["logits"] is None:
        found["logits"] = _placeholder(found)
    return Outputs(**found)


def _placeholder(found: Mapping[str, Any]) -> Tensor:
    """Logits for fixtures without: zeros (B, 10) in the dtype of whatever there is."""
    queue = [value for value in found.values() if value is not None]
    while isinstance(queue[0], tuple):
        queue = list(queue[0])
    return queue[0].new_zeros(len(queue[0]), 10)


def batch(inputs: Mapping[str, Tensor], suffix: str = "", epoch: int = 1, step: int = 0) -> Batch:
    """The batch of a case; labels and indices default to zeros and 0, 1, 2, …"""
    size = len(next(iter(inputs.values())))
    return Batch(
        images=torch.zeros(size, 3, 8, 8),
        labels=inputs.get(f"labels{suffix}", torch.zeros(size, dtype=torch.long)),
        indices=inputs.get(f"indices{suffix}", torch.arange(size)),
        epoch=epoch,
        step=step,
    )


class StandIn(nn.Module):
    """A network that only remembers what it put out: enough for a method to read shapes from."""

    def __init__(
        self,
        outputs: Outputs,
        classifier: nn.Linear | None = None,
        preact_norms: tuple[nn.Module | None, ...] = (),
        feature_modules: tuple[nn.Module, ...] = (),
    ) -> None:
        super().__init__()
        self.name = "stand-in"
        self.classifier, self.preact_norms = classifier, preact_norms
        self._outputs, self._feature_modules = outputs, feature_modules

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        return self._outputs.map(lambda value: value[: len(x)].detach().to(x.dtype))

    def feature_modules(self) -> nn.ModuleList:
        return nn.ModuleList(self._feature_modules)


def info(student: Outputs, train_size: int | None = None, **changes: Any) -> Info:
    """Info whose batch size and class count are those of ``student``; all training labels are 0."""
    size = len(student.logits) if train_size is None else train_size
    values: dict[str, Any] = {
        "name": "golden",
        "num_classes": student.logits.shape[1],
        "image_size": 8,
        "class_names": tuple(f"class {c}" for c in range(student.logits.shape[1])),
        "train_size": size,
        "train_labels": torch.zeros(size, dtype=torch.long),
        "batch_size": len(student.logits),
    }
    return Info(**values | changes)


def build(
    case: Case,
    method: str,
    student: Outputs | nn.Module,
    teacher: Outputs | nn.Module,
    dtype: torch.dtype,
    data: Info | None = None,
    **options: Any,
) -> Distiller:
    """``method``, filled by the rule, in training mode, without cross-entropy unless asked for.

    ``student`` and ``teacher`` are Outputs (a StandIn is made of them) or networks (then ``data``
    must be given; otherwise it defaults to ``info(student)``).
    """
    if data is None:
        assert isinstance(student, Outputs), "a network as student needs data=golden.info(…)"
        data = info(student)
    networks = [StandIn(n) if isinstance(n, Outputs) else n for n in (student, teacher)]
    built = distillers.build(method, *networks, data, **{"ce": 0.0} | options)
    fill(built, case.hparams.get("fill_scale", 1.0))
    return built.to(dtype).train()


def fill(module: nn.Module, scale: float = 1.0, exceptions: Collection[str] = ()) -> None:
    """The fixtures' rule in place: p[k] = scale · 0.05 sin(0.7 k + 0.3 (numel mod 11)), in float32.

    A BatchNorm's weight is 1 + that; ``exceptions`` (names in ``module``) stay as they are.
    """
    for prefix, part in module.named_modules():
        for name, parameter in part.named_parameters(recurse=False):
            if f"{prefix}.{name}".lstrip(".") in exceptions:
                continue
            count = parameter.numel()
            values = scale * 0.05 * np.sin(0.7 * np.arange(count) + 0.3 * (count % 11))
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and name == "weight":
                values = values + 1.0
            rounded = torch.from_numpy(values.astype(np.float32))
            with torch.no_grad():
                parameter.copy_(rounded.reshape(parameter.shape))


# ---- comparison ----------------------------------------------------------------------------------


def check_value(case: Case, term: str, value: Tensor) -> float:
    """Compare a scalar with the reference's, in the precision of ``value``."""
    double = value.dtype == torch.float64
    reference = case.tensor("out64" if double else "out", term).reshape(())
    rtol = 1e-8 if double else NOISY.get(case.method, 1e-5)
    return _close(
        f"{case.name} {term}", value, reference, atol=1e-12 if double else 1e-8, rtol=rtol
    )


def check(case: Case, term: str, value: Tensor, inputs: Mapping[str, Tensor]) -> None:
    """The value, and its gradients at all inputs."""
    check_value(case, term, value)
    value.backward()
    check_gradients(case, inputs)


def check_gradients(
    case: Case, inputs: Mapping[str, Tensor], group: str = "grad", only: Collection[str] = ()
) -> float:
    """Compare the ``.grad`` of inputs with the reference's: all that are stored, or ``only`` these.

    ``inputs`` may hold any tensors under the stored names (``{"W0_s": method.graph.weight}``).
    """
    items = [item for item in case.groups[group] if not only or item in only]
    assert items, (
        f"{case.method} {case.name} stores no gradient in {group} for {only or 'anything'}"
    )
    return max(_check_gradient(case, group, item, inputs[item]) for item in items)


def _check_gradient(case: Case, group: str, item: str, leaf: Tensor) -> float:
    assert leaf.grad is not None, f"{case.name}: no gradient reached {item}"
    reference = case.tensor(group, item)
    if leaf.dtype == torch.float64:
        double = case.groups.get(f"{group}64", {})
        reference = case.tensor(f"{group}64", item) if item in double else reference
        atol, rtol = 1e-8 * float(reference.abs().max()) + 1e-15, 0.0
    else:
        atol, rtol = _single_atol(case, f"{group}/{item}", reference), 1e-4
    return _close(f"{case.name} {group}/{item}", leaf.grad, reference, atol, rtol)


def check_parameter_gradients(case: Case, module: nn.Module, renamed: Mapping[str, str]) -> float:
    """Compare parameters' ``.grad``; ``renamed`` maps the reference's names to those in ``module``.

    The references' are float32. Where theirs is only rounding noise around zero, ours must be, too.
    """
    own = dict(module.named_parameters())
    worst = 0.0
    for theirs, ours in renamed.items():
        gradient = own[ours].grad
        assert gradient is not None, f"{case.name}: no gradient reached {ours}"
        if theirs in case.params.get("mathematically_zero_pgrad", ()):
            _close(f"{case.name} {ours}", gradient, torch.zeros_like(gradient), 1e-6, 0.0)
            continue
        reference = case.tensor("pgrad", theirs)
        atol = _single_atol(case, f"pgrad/{theirs}", reference)
        worst = max(worst, _close(f"{case.name} {ours}", gradient, reference, atol, 1e-4))
    return worst


def _single_atol(case: Case, key: str, reference: Tensor) -> float:
    fallback = max(1e-5 * float(reference.abs().max()), 1e-8)
    return case.params.get("suggested_atol", {}).get(key, fallback)


def _close(what: str, value: Tensor, reference: Tensor, atol: float, rtol: float) -> float:
    """Assert |value − reference| ≤ atol + rtol |reference|; returns the error / max |reference|."""
    value, reference = value.detach().double(), reference.double()
    torch.testing.assert_close(value, reference, atol=atol, rtol=rtol, msg=lambda m: f"{what}: {m}")
    scale = float(reference.abs().max()) or 1.0
    return float((value - reference).abs().max()) / scale
