"""Chains and ensembles, trained from one matrix and by hand in several: the same weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.plan.plan import Plan, prepare
from experiments.plan.workspace import Workspace
from experiments.rundir.layout import weights_of
from experiments.rundir.status import State, Status
from models.checkpoints.files import sha256
from tests.experiments import cli

SMALL: dict[str, Any] = {
    "dataset__train_size": 32,
    "dataset__image_size": 8,
    "recipe__epochs": 1,
    "predictions": "none",
    "trials": 1,
}
CHAIN, ENSEMBLE = "resnet20 -> resnet14 -> resnet8", "[resnet20, resnet14] -> resnet8"
# A network that is the ensemble by other means, from the files of its members.
BY_HAND = """
import math
import torch
import models
from models.outputs import Outputs


class Mean(models.Classifier):
    def __init__(self, num_classes):
        super().__init__()
        self.one = models.build("resnet20", num_classes)
        self.other = models.build("resnet14", num_classes)

    def outputs(self, x, preacts=False, blocks=False):
        logs = torch.stack([net(x).log_softmax(-1) for net in (self.one, self.other)])
        return Outputs(logs.logsumexp(0) - math.log(2))

    classifier = None
    preact_norms = ()

    def feature_modules(self):
        return torch.nn.ModuleList()


models.register("mean_by_hand", Mean)
"""


def write(folder: Path, **keys: Any) -> Path:
    folder.mkdir(exist_ok=True)
    return cli.write(folder, **{**SMALL, **keys})


def trained(matrix: Path) -> dict[tuple[str, str], Status]:
    """(pair, label) -> the first trial of each entry of a matrix, after `run`."""
    called = cli.command("run", matrix)
    assert called.code == 0, called.out + called.err
    return states(matrix)


def plan_of(matrix: Path, strict: bool = False) -> Plan:
    place = Workspace(matrix.parent / "runs", matrix.parent / "data", "cpu")
    return prepare(str(matrix), place, strict=strict)


def states(matrix: Path) -> dict[tuple[str, str], Status]:
    plan = plan_of(matrix)
    statuses = plan.statuses()
    return {(e.pair, e.label): statuses[e.spec.id] for e in plan.expansion.entries}


def file_of(matrix: Path, status: Status) -> Path:
    return weights_of(status.spec.directory(matrix.parent / "runs"))


def digest(matrix: Path, status: Status) -> str:
    assert status.state == State.DONE, status
    return sha256(file_of(matrix, status))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The matrix of a chain and an ensemble, everything trained."""
    from experiments.local import queue

    folder = tmp_path_factory.mktemp("chains")
    methods = ["vanilla", "kd", {"name": "at", "options": {"weight": 500.0}}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "run", cli.run_inline)
        matrix = write(folder, pairs=[CHAIN, ENSEMBLE], methods=methods)
        trained(matrix)
    return matrix


@pytest.fixture
def copied(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done.parent, tmp_path / "copy")
    return tmp_path / "copy" / done.name


pytestmark = pytest.mark.usefixtures("inline")


def given(matrix: Path, name: str, status: Status) -> dict[str, Any]:
    return {name: {"file": str(file_of(matrix, status))}}


def teacher(matrix: Path, name: str) -> Status:
    statuses = plan_of(matrix).statuses().values()
    return next(s for s in statuses if s.spec.student == name and s.spec.teacher is None)


@pytest.mark.parametrize(("method", "label"), [("kd", "KD"), ("at", "AT")])
def test_a_chain_ends_as_two_matrices_do(done, tmp_path, method, label):
    entry = {"name": method, "options": {"weight": 500.0}} if method == "at" else method
    one = write(
        tmp_path / "one",
        pairs=["resnet20 -> resnet14"],
        methods=[entry],
        teachers=given(done, "resnet20", teacher(done, "resnet20")),
    )
    assistant = trained(one)["resnet20 -> resnet14", label]
    two = write(
        tmp_path / "two",
        pairs=["resnet14 -> resnet8"],
        methods=[entry],
        teachers=given(one, "resnet14", assistant),
    )
    by_hand = digest(two, trained(two)["resnet14 -> resnet8", label])
    assert digest(done, states(done)[CHAIN, label]) == by_hand


def test_an_ensemble_ends_as_a_network_that_averages_by_hand(done, tmp_path, own_registry):
    import torch
    from safetensors.torch import load_file, save_file

    members = {"one": teacher(done, "resnet20"), "other": None}
    small = write(tmp_path / "small", pairs=["resnet14 -> resnet8"], methods=["kd"])
    trained(small)  # the same teacher, trained once more
    files = {
        "one": file_of(done, members["one"]),
        "other": file_of(small, teacher(small, "resnet14")),
    }
    state: dict[str, torch.Tensor] = {
        f"{name}.{key}": value
        for name, path in files.items()
        for key, value in load_file(path).items()
    }
    matrix = write(
        tmp_path / "hand",
        pairs=["mean_by_hand -> resnet8"],
        methods=["kd"],
        plugins=["by_hand.py"],
        teachers={"mean_by_hand": {"file": "mean.safetensors"}},
    )
    (tmp_path / "hand" / "by_hand.py").write_text(BY_HAND)
    (tmp_path / "hand" / "data").mkdir()
    save_file(state, tmp_path / "hand" / "data" / "mean.safetensors")
    by_hand = trained(matrix)["mean_by_hand -> resnet8", "KD"]
    assert digest(done, states(done)[ENSEMBLE, "KD"]) == digest(matrix, by_hand)
