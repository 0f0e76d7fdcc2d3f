"""A case of a golden fixture and our method built for it, as one row of golden_rows.py says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from datasets import Info
from distillers import Distiller
from models import Outputs
from tests.distillers import golden

Losses = Mapping[str, Tensor]


@dataclass(frozen=True)
class Ref:
    """Stands for a hyper-parameter of the reference, whose value differs between cases."""

    name: str


@dataclass(frozen=True)
class Row:
    """How a fixture is compared with our methods.

    methods      our methods and their options, in which ``Ref("T")`` is the reference's T
    terms        the reference's terms from our losses and its hyper-parameters. The gradient is
                 that of the fixture's ``grad_of``, which is the sum of our own terms if not given
    parameters   regular expressions that turn the reference's names of parameters into ours
    omitted      parameters of the reference that ours lacks or that ours does not train
    untrained    prefixes of our parameters that must get no gradient
    fixture      the file; by default of the row's name
    cases        by default all
    float32_only cases that the reference computes in float32 only
    outputs      (inputs, side, suffix) to what the networks return
    networks     what the method is built on, by default stand-ins that show outputs only
    prepare      called after building: banks, fixed sampling, parameters that break the fill rule
    after        called between the comparison of values and the backward pass: state, second steps
    initial      whether it is the loss of the initial stage
    gradients    whether gradients are compared
    epoch        of the batch, by default the reference's, or 1
    patch        (object, attribute, value) to replace while the row is compared
    """

    methods: Mapping[str, Mapping[str, Any]]
    terms: Callable[[Losses, SimpleNamespace], Losses] = lambda losses, h: {}
    parameters: Mapping[str, str] = field(default_factory=dict)
    omitted: str = "$^"
    untrained: tuple[str, ...] = ()
    fixture: str = ""
    cases: tuple[str, ...] = ()
    float32_only: tuple[str, ...] = ()
    outputs: Callable[..., Outputs] = golden.outputs
    networks: Callable[[Example], tuple[Any, Any]] = lambda example: (
        golden.StandIn(example.student),
        golden.StandIn(example.teacher),
    )
    prepare: Callable[[Example], None] = lambda example: None
    after: Callable[[Example], None] = lambda example: None
    initial: bool = False
    gradients: bool = True
    epoch: int = 0
    patch: tuple[Any, str, Any] | None = None


class Example:
    """One case of a fixture, in one precision, with the row's methods built for it.

    ``inputs`` replace the fixture's, ``data`` its `Info`, ``options`` those of the row.
    """

    def __init__(
        self,
        row: Row,
        case: golden.Case,
        dtype: torch.dtype,
        inputs: Mapping[str, Tensor] | None = None,
        data: Info | None = None,
        **options: Any,
    ) -> None:
        self.row, self.case, self.dtype = row, case, dtype
        self.h = SimpleNamespace(**case.hparams)
        self.inputs = dict(inputs or golden.inputs(case, dtype))
        if (
            "soft_labels" in self.inputs
        ):  # given beside the hard ones where the reference reads them
            self.inputs["labels"] = self.inputs.pop("soft_labels")
        self.step = ""  # the suffix of the step's inputs
        self.student, self.teacher = self.outputs("s"), self.outputs("t")
        if data is None:
            data = golden.info(self.student, case.hparams.get("n_data"))
        networks = row.networks(self)
        self.methods = [
            golden.build(
                method,
                *networks,
                dtype,
                data,
                case.hparams.get("fill_scale", 1.0),
                **{"weight": 1.0} | self._resolved(given) | options,
            )
            for method, given in row.methods.items()
        ]
        row.prepare(self)

    def _resolved(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: self.case.hparams.get(value.name) if isinstance(value, Ref) else value
            for name, value in options.items()
        }

    @property
    def method(self) -> Distiller:
        """The only one."""
        (method,) = self.methods
        return method

    def outputs(self, side: str) -> Outputs:
        return self.row.outputs(self.inputs, side, self.step)

    def losses(self, step: str = "", epoch: int = 0, **inputs: Tensor) -> dict[str, Tensor]:
        """All terms; ``inputs`` replace some of the example's from here on."""
        self.step, self.inputs = step, self.inputs | inputs
        return self.losses_of(self.outputs("s"), self.outputs("t"), epoch)

    def losses_of(self, student: Outputs, teacher: Outputs, epoch: int = 0) -> dict[str, Tensor]:
        """All terms on other outputs than those of the inputs."""
        epoch = epoch or self.row.epoch or self.case.hparams.get("epoch", 1)
        batch = golden.batch(self.inputs, self.step, epoch)
        terms: dict[str, Tensor] = {}
        for method in self.methods:
            if self.row.initial:
                shown = student if method.init_stage().uses_student else None
                terms |= method.initial(shown, teacher, batch)
            else:
                terms |= method(student, teacher, batch)
        return terms

    def loss(self, step: str = "", epoch: int = 0, **inputs: Tensor) -> Tensor:
        """The sum of the methods' own terms."""
        return own(self.losses(step, epoch, **inputs))

    def check_values(self) -> Tensor:
        """Compare all terms; returns the one that the stored gradients belong to."""
        losses = self.losses()
        assert {value.dtype for value in losses.values()} == {self.dtype}
        terms = dict(self.row.terms(losses, self.h))
        if self.row.gradients:
            terms.setdefault(self.case.params["grad_of"], own(losses))
        for term, value in terms.items():
            golden.check_value(self.case, term, value)
        return terms.get(self.case.params["grad_of"])

    def check_parameters(self) -> None:
        """Compare the gradients of all trainable parameters, of which none may be left over."""
        renamed = {}
        for theirs in self.case.groups.get("pgrad", ()):
            if not re.fullmatch(self.row.omitted, theirs):
                renamed[theirs] = self._ours(theirs)
        own = self.methods[0]
        golden.check_parameter_gradients(self.case, own, renamed)
        for name, parameter in own.named_parameters():
            if name.startswith(self.row.untrained):
                assert parameter.grad is None, name
            else:
                assert name in renamed.values() or not parameter.requires_grad, name

    def _ours(self, theirs: str) -> str:
        for pattern, ours in self.row.parameters.items():
            if re.match(pattern, theirs):
                return re.sub(pattern, ours, theirs, count=1)
        raise AssertionError(f"no row of parameters matches the reference's {theirs}")


def own(losses: Losses) -> Tensor:
    """The sum of all terms but the cross-entropy."""
    return torch.stack([value for term, value in losses.items() if term != "ce"]).sum()
