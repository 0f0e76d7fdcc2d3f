"""Find out which methods can serve which pairs by building them, before anything is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

import distillers
import models
from datasets import Info
from experiments.errors import InputError
from experiments.matrix.run_spec import RunSpec
from experiments.plan.kinds import Kind, kind
from experiments.train import one_sample
from models import Outputs


class Capabilities:
    """Why methods cannot serve pairs. Each `kind` is built once.

    While it is built, a method reads the shapes of its networks' outputs, not their values. So each
    network runs once for all methods, and what a method allocates (perhaps a bank over the training
    set) is on the meta device and takes no memory. A method that cannot be built this way is built
    on the CPU, as a run builds it.
    """

    def __init__(self, info: Callable[[RunSpec], Info]) -> None:
        """``info``: what a run's method is told of its data; it may raise InputError."""
        self.info = info
        self._networks: dict[tuple[str, int], models.Classifier] = {}
        self._shapes: dict[tuple[str, int], _Shapes] = {}
        self._known: dict[Kind, str | None] = {}

    def reasons(self, specs: Iterable[RunSpec]) -> dict[str, str]:
        """Run id -> why it cannot be trained; runs that can be are left out.

        Raises InputError if a method cannot be built at all (a wrong option, a bug in a plugin).
        """
        with torch.random.fork_rng(devices=[]), _one_thread():
            reasons = {spec.id: self._reason(spec) for spec in specs}
        return {run: reason for run, reason in reasons.items() if reason is not None}

    def _reason(self, spec: RunSpec) -> str | None:
        key = kind(spec)
        if key not in self._known:
            info = self.info(spec)  # its errors are not the method's
            try:
                self._known[key] = self._refusal(spec, self._shapes_of, "meta")
            except Exception:  # noqa: BLE001  (real networks fail as well, or shapes do not suffice)
                self._known[key] = self._refusal_of_real(spec)
            self._known[key] = self._known[key] or one_sample.refusal(spec, info)
        return self._known[key]

    def _refusal_of_real(self, spec: RunSpec) -> str | None:
        try:
            return self._refusal(spec, self._network, "cpu")
        except Exception as error:
            why = distillers.explain(error)
            raise InputError(f"{spec.pair}, {spec.method}: {why}") from error

    def _refusal(
        self, spec: RunSpec, network: Callable[[str, int], nn.Module], device: str
    ) -> str | None:
        info = self.info(spec)
        teacher = network(spec.teacher.name, info.num_classes) if spec.teacher else None
        student = network(spec.student, info.num_classes)
        try:
            with torch.device(device):
                method = distillers.build(spec.method, student, teacher, info, **spec.options)
                # The recipe's own optimizer refuses nothing, and making one imports the compiler.
                if type(method).optimizer is not distillers.Distiller.optimizer:
                    method.optimizer([nn.Parameter(torch.zeros(1))], spec.recipe)
        except distillers.Unsupported as error:
            return str(error)
        return None

    def _network(self, name: str, classes: int) -> models.Classifier:
        if (name, classes) not in self._networks:
            self._networks[name, classes] = models.build(name, classes)
        return self._networks[name, classes]

    def _shapes_of(self, name: str, classes: int) -> _Shapes:
        if (name, classes) not in self._shapes:
            self._shapes[name, classes] = _Shapes(self._network(name, classes))
        return self._shapes[name, classes]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other cost ten times as much while others use the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Shapes(nn.Module):
    """Stands in for a network: offers what methods read of one, its outputs as shapes only.

    A forward pass takes up to 0.1 s on one core, and every method of a pair probes both networks.
    """

    def __init__(self, network: models.Classifier) -> None:
        super().__init__()
        self.name, self.num_classes = network.name, network.num_classes
        self._network = [network]  # in a list, so that its parameters do not become this module's
        self._known: dict[tuple[torch.Size, bool, bool], Outputs] = {}

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        """A network's outputs in eval mode, on the meta device; only the shape of ``x`` matters."""
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
