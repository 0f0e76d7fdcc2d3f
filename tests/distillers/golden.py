"""Golden fixtures: inputs, values and gradients that the methods' reference code produced.

The files golden/FIXTURE.npz hold numbers only (no pickles). Per case: ``in`` (inputs), ``out`` and
``out64`` (terms in float32 and float64), ``grad`` and ``grad64`` (by input), ``pgrad`` (float32, by
parameter of the reference), ``aux`` (side results) and ``params`` (JSON: hyper-parameters, what the
gradient belongs to, tolerances).

This module reads fixtures, builds methods on networks that only return the stored outputs, and
compares. golden_rows.py says how each fixture is compared; test_golden.py does it. Every
``check_…`` also notes the largest relative error it saw in ``ERRORS``, by fixture and case.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
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
ERRORS: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)  # read by conftest.py


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
    """All inputs by name, floats in ``dtype``; those with a stored gradient require one."""
    tensors = {item: case.tensor("in", item, dtype) for item in case.groups["in"]}
    for item in case.groups.get("grad", {}):
        if item in tensors:
            tensors[item].requires_grad_()
    return tensors


def outputs(inputs: Mapping[str, Tensor], side: str, suffix: str = "", **fields: Any) -> Outputs:
    """What a network would have returned; ``side`` is "s" or "t", ``suffix`` e.g. "_step2".

    Reads {side}_logits, _embedding, _feat0…, _preact0…; ``fields`` sets or overrides any. Fixtures
    omit the stem, which most methods skip: here it is zeros in the first map's shape. Logits that a
    fixture omits are zeros (B, 10).
    """

    def stages(kind: str) -> tuple[Tensor, ...] | None:
        maps = []
        while (key := f"{side}_{kind}{len(maps)}{suffix}") in inputs:
            maps.append(inputs[key])
        return (torch.zeros_like(maps[0]), *maps) if maps else None

    values = {
        "logits": inputs.get(f"{side}_logits{suffix}"),
        "embedding": inputs.get(f"{side}_embedding{suffix}"),
        "features": stages("feat"),
        "preacts": stages("preact"),
    } | fields
    if values["logits"] is None:
        value = next(value for value in values.values() if value is not None)
        while isinstance(value, tuple):
            value = value[0]
        values["logits"] = value.new_zeros(len(value), 10)
    return Outputs(**values)


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
    """A network that returns the same outputs whatever it is given: methods read shapes from it."""

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
    method: str,
    student: Outputs | nn.Module,
    teacher: Outputs | nn.Module,
    dtype: torch.dtype,
    data: Info | None = None,
    fill_scale: float = 1.0,
    **options: Any,
) -> Distiller:
    """``method``, filled by the fixtures' rule, in training mode, without cross-entropy by default.

    ``student`` and ``teacher`` are Outputs (a StandIn is made of them) or networks (then ``data``
    must be given; otherwise it defaults to ``info(student)``).
    """
    if data is None:
        assert isinstance(student, Outputs), "a network as student needs data=golden.info(…)"
        data = info(student)
    networks = [StandIn(n) if isinstance(n, Outputs) else n for n in (student, teacher)]
    built = distillers.build(method, *networks, data, **{"ce": 0.0} | options)
    fill(built, fill_scale)
    return built.to(dtype).train()


def fill(module: nn.Module, scale: float = 1.0) -> None:
    """The fixtures' rule in place: p[k] = scale · 0.05 sin(0.7 k + 0.3 (numel mod 11)), in float32.

    A BatchNorm's weight is 1 + that.
    """
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            count = parameter.numel()
            values = scale * 0.05 * np.sin(0.7 * np.arange(count) + 0.3 * (count % 11))
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and name == "weight":
                values = values + 1.0
            rounded = torch.from_numpy(values.astype(np.float32))
            with torch.no_grad():
                parameter.copy_(rounded.reshape(parameter.shape))


# ---- comparison ----------------------------------------------------------------------------------


def check_value(case: Case, term: str, value: Tensor) -> None:
    """Compare a scalar with the reference's, in the precision of ``value``."""
    double = value.dtype == torch.float64
    reference = case.tensor("out64" if double else "out", term).reshape(())
    rtol = 1e-8 if double else NOISY.get(case.method, 1e-5)
    atol = 1e-12 if double else 1e-8
    error = _close(f"{case.name} {term}", value, reference, atol, rtol)
    _note(case, f"value {_precision(value)}", error)


def check_gradients(case: Case, inputs: Mapping[str, Tensor], group: str = "grad") -> None:
    """Compare the ``.grad`` of inputs with all that the reference's fixture stores in ``group``.

    ``inputs`` may hold any tensors under the stored names (``{"W0_s": method.graph.weight}``).
    """
    assert case.groups[group], f"{case.method} {case.name} stores no gradient in {group}"
    for item in case.groups[group]:
        error = _check_gradient(case, group, item, inputs[item])
        _note(case, f"gradient {_precision(inputs[item])}", error)


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


def check_parameter_gradients(case: Case, module: nn.Module, renamed: Mapping[str, str]) -> None:
    """Compare parameters' ``.grad``; ``renamed`` maps the reference's names to those in ``module``.

    The references' are float32. Where theirs is only rounding noise around zero, ours must be, too.
    """
    own = dict(module.named_parameters())
    _note(case, "parameters", 0.0)
    for theirs, ours in renamed.items():
        gradient = own[ours].grad
        assert gradient is not None, f"{case.name}: no gradient reached {ours}"
        if theirs in case.params.get("mathematically_zero_pgrad", ()):
            _close(f"{case.name} {ours}", gradient, torch.zeros_like(gradient), 1e-6, 0.0)
            continue
        reference = case.tensor("pgrad", theirs)
        atol = _single_atol(case, f"pgrad/{theirs}", reference)
        _note(case, "parameters", _close(f"{case.name} {ours}", gradient, reference, atol, 1e-4))


def _single_atol(case: Case, key: str, reference: Tensor) -> float:
    fallback = max(1e-5 * float(reference.abs().max()), 1e-8)
    return case.params.get("suggested_atol", {}).get(key, fallback)


def _close(what: str, value: Tensor, reference: Tensor, atol: float, rtol: float) -> float:
    """Assert |value − reference| ≤ atol + rtol |reference|; returns the error / max |reference|."""
    value, reference = value.detach().double(), reference.double()
    torch.testing.assert_close(value, reference, atol=atol, rtol=rtol, msg=lambda m: f"{what}: {m}")
    scale = float(reference.abs().max()) or 1.0
    return float((value - reference).abs().max()) / scale


def _note(case: Case, column: str, error: float) -> None:
    errors = ERRORS[case.method, case.name]
    errors[column] = max(errors.get(column, 0.0), error)


def _precision(tensor: Tensor) -> str:
    return "f64" if tensor.dtype == torch.float64 else "f32"
