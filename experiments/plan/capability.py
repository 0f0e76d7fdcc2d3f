"""Which methods can serve which pairs: found out by building them, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

import distillers
import models
from datasets import Info
from experiments.errors import InputError
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import RunSpec
from models import Outputs

Kind = tuple[str, str, str, Recipe]


def kind(spec: RunSpec) -> Kind:
    """What runs have in common whose methods can all serve their pair, or none can.

    The recipe, too: a method may refuse its optimiser.
    """
    return spec.pair, spec.method, repr(spec.options), spec.recipe


class Capabilities:
    """Why methods cannot serve pairs, on one data set; what is of one `kind` is built once.

    A method reads shapes of its networks when it is built, not numbers. So a network runs once for
    all methods, and what a method allocates, perhaps a bank over the training set, has no memory
    behind it. A method that cannot be built this way is built as a run builds it.
    """

    def __init__(self, info: Info) -> None:
        self.info = info
        self._networks: dict[str, models.Classifier] = {}
        self._shapes: dict[str, _Shapes] = {}
        self._known: dict[Kind, str | None] = {}

    def reasons(self, specs: Iterable[RunSpec]) -> dict[str, str]:
        """Run id -> why it cannot be; runs that can be are left out.

        Raises InputError where a method cannot be built at all (a wrong option, a plugin's fault).
        """
        with torch.random.fork_rng(devices=[]):
            found = {spec.id: self._reason(spec) for spec in specs}
        return {run: reason for run, reason in found.items() if reason is not None}

    def _reason(self, spec: RunSpec) -> str | None:
        key = kind(spec)
        if key not in self._known:
            self._known[key] = self._ask(spec)
        return self._known[key]

    def _ask(self, spec: RunSpec) -> str | None:
        try:
            return self._refusal(spec, self._shapes_of, "meta")
        except Exception:  # noqa: BLE001  (the real ones fail as well, or shapes were not enough)
            return self._refusal_of_real(spec)

    def _refusal_of_real(self, spec: RunSpec) -> str | None:
        try:
            return self._refusal(spec, self._network, "cpu")
        except Exception as error:
            kind = "" if isinstance(error, distillers.MethodError) else f"{type(error).__name__}: "
            raise InputError(f"{spec.pair}, {spec.method}: {kind}{error}") from error

    def _refusal(
        self, spec: RunSpec, network: Callable[[str], nn.Module], device: str
    ) -> str | None:
        teacher = network(spec.teacher.name) if spec.teacher else None
        student = network(spec.student)
        try:
            with torch.device(device):
                method = distillers.build(spec.method, student, teacher, self.info, **spec.options)
                method.optimizer([nn.Parameter(torch.zeros(1))], spec.recipe)
        except distillers.Unsupported as error:
            return str(error)
        return None

    def _network(self, name: str) -> models.Classifier:
        if name not in self._networks:
            self._networks[name] = models.build(name, self.info.num_classes)
        return self._networks[name]

    def _shapes_of(self, name: str) -> _Shapes:
        if name not in self._shapes:
            self._shapes[name] = _Shapes(self._network(name))
        return self._shapes[name]


class _Shapes(nn.Module):
    """Stands in for a network: what methods read of one, its outputs remembered without numbers.

    (A forward pass takes up to 0.1 s on one core, and every method of a pair looks at both.)
    """

    def __init__(self, network: models.Classifier) -> None:
        super().__init__()
        self.name, self.num_classes = network.name, network.num_classes
        self._network = [network]  # in a list: its parameters are not this module's
        self._known: dict[tuple[torch.Size, bool, bool], Outputs] = {}

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        """As a network's in eval mode, on the meta device; of ``x`` only the shape matters."""
        key = (x.shape, preacts, blocks)
        if key not in self._known:
            network = self._network[0].eval()
            with torch.device("cpu"), torch.no_grad():
                outputs = network.outputs(torch.zeros(x.shape), preacts=preacts, blocks=blocks)
            self._known[key] = outputs.map(lambda tensor: tensor.to("meta"))
        return self._known[key]

    @property
    def classifier(self) -> nn.Linear | None:
        return self._network[0].classifier

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        return self._network[0].preact_norms

    def feature_modules(self) -> nn.ModuleList:
        return self._network[0].feature_modules()
