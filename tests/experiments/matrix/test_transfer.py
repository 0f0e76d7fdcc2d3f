"""Probes of a matrix's students on other data, by the commands that are for its own runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import models
from experiments.local import queue as local_queue
from experiments.matrix.schema import Matrix
from experiments.plan.plan import prepare
from experiments.plan.workspace import Workspace
from experiments.rundir.status import State
from results import records
from tests.experiments import cli

OTHER = {"name": "fake", "num_classes": 3, "image_size": 16, "train_size": 48, "test_size": 24}
SHORT = {"epochs": 2, "milestones": [1], "batch_size": 16}
BLOCK: dict[str, Any] = {"datasets": [{**OTHER, "seed": 1}], "recipe": SHORT}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix whose own runs are done."""
    folder = tmp_path_factory.mktemp("trained")
    path = cli.write(folder, transfer=BLOCK, methods=["vanilla", "fitnet"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_queue, "run", cli.run_inline)
        assert cli.command("run", path).code == 0
    return path


@pytest.fixture
def probed(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(local_queue, "run", cli.run_inline)
    called = cli.command("run", trained, "--transfer", "fake")
    assert called.code == 0, called.err + called.out
    return trained


def plan(path: Path):
    place = Workspace(path.parent / "runs", path.parent / "data", "cpu")
    return prepare(str(path), place, strict=False, transfer_to="fake")


def test_the_students_are_probed_once_each(probed):
    statuses = plan(probed).statuses()
    assert [s.state for s in statuses.values()] == [State.DONE] * 4
    for status in statuses.values():
        spec = status.spec
        assert spec.source is not None
        assert status.record.source.run == spec.source.run
        assert status.record.teacher is None
        where = f"fake/fake--resnet8/{spec.source.method}/{spec.trial}-{spec.id}"
        assert spec.directory(probed.parent / "runs").match(where)
    again = cli.command("run", probed, "--transfer", "fake")
    assert again.code == 0
    assert "4 done" in again.out


def test_only_the_new_layer_was_trained(probed):
    found = plan(probed)
    for spec in found.expansion.runs:
        assert spec.source is not None
        before = load_file(found.sources[spec.source.run])
        after = load_file(spec.directory(found.workspace.runs) / "weights.safetensors")
        for name, tensor in before.items():
            assert torch.equal(after[f"network.{name}"], tensor), name
        assert after["head.weight"].shape == (3, 64)
        assert after["head.bias"].abs().max() > 0


def test_the_table_has_the_methods_of_the_students(probed):
    called = cli.command("table", probed, "--transfer", "fake", "--format", "json")
    assert called.code == 0, called.err
    content = json.loads(called.out)
    text = cli.command("table", probed, "--transfer", "fake").out
    assert "Linear probes of frozen students" in text
    assert "Student alone" in text
    assert "FitNet" in text
    assert {row["n"] for row in content["rows"]} == {2}


def test_status_and_plan_are_about_the_probes(probed):
    assert "4 runs: 4 done" in cli.command("status", probed, "--transfer", "fake").out
    assert "4 runs: 4 done" in cli.command("plan", probed, "--transfer", "fake").out


def test_a_student_that_is_not_there_is_waited_for(tmp_path, monkeypatch):
    path = cli.write(tmp_path, transfer=BLOCK, methods=["vanilla"], trials=1)
    monkeypatch.setattr(local_queue, "run", cli.run_inline)
    called = cli.command("run", path, "--transfer", "fake")
    assert called.code == 1
    assert "its student (resnet8, vanilla, trial 0): to do" in called.out
    assert not (tmp_path / "runs").exists()


def test_a_student_trained_again_makes_its_probe_stale(probed, tmp_path):
    found = plan(probed)
    status = next(iter(found.statuses().values()))
    trained = next(s for s in found.origin.expansion.runs if s.id == status.spec.source.run)
    directory = trained.directory(found.workspace.runs)
    text = (directory / records.RESULT).read_text()
    content = json.loads(text)
    content["weights"]["sha256"] = "0" * 64
    try:
        (directory / records.RESULT).write_text(json.dumps(content))
        state = found.statuses()[status.spec.id]
        assert (state.state, state.detail) == (
            State.STALE,
            "its student has been trained again since",
        )
    finally:
        (directory / records.RESULT).write_text(text)


@pytest.mark.parametrize(
    ("block", "flag", "message"),
    [
        (None, "fake", "transfer: no such block"),
        (BLOCK, "fakes", "transfer: no data set 'fakes': did you mean fake?"),
        ({"datasets": ["stl"]}, "stl", "unknown data set 'stl'"),
        ({"datasets": [{"name": "fake", "sed": 1}]}, "fake", "did you mean seed"),
        ({**BLOCK, "bn_mode": "tain"}, "fake", "transfer.bn_mode"),
        ({**BLOCK, "recipe": {"epoch": 2}}, "fake", "epoch"),
        ({**BLOCK, "recipe": {"epochs": 20}}, "fake", "milestones"),
        ({"datasets": ["fake", "fake"]}, "fake", "given 2 times"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_one_line(block, flag, message, tmp_path):
    path = cli.write(tmp_path, **({"transfer": block} if block else {}))
    called = cli.command("plan", path, "--transfer", flag)
    assert (called.code, called.out) == (2, "")
    assert message in called.err
    assert called.err.count("\n") == 1


def test_the_recipe_is_the_papers_and_the_numerics_the_matrix_s():
    matrix = Matrix.model_validate(cli.changed(transfer={"datasets": "digits"}, recipe__threads=2))
    assert matrix.transfer is not None
    recipe = matrix.transfer.recipe_on(matrix.recipe)
    assert (recipe.epochs, recipe.lr, recipe.milestones) == (120, 0.05, (30, 60, 90))
    assert recipe.lr_exceptions["Shuffle*"] == 0.01
    assert recipe.threads == 2


# ---- the network ---------------------------------------------------------------------------------

HEADS = ("resnet8", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV1", "ResNet18")


@pytest.mark.parametrize("name", HEADS)
def test_every_head_can_be_probed(name, tmp_path):
    torch.manual_seed(0)
    network = models.build(name, 7)
    models.checkpoints.files.save_weights(network, tmp_path / "w.safetensors")
    probe = models.LinearProbe(models.restored(name, tmp_path / "w.safetensors"), 3)
    images = torch.randn(4, 3, 32, 32)
    out = probe.train().outputs(images)
    expected = network.eval().outputs(images).embedding
    assert torch.allclose(out.embedding, expected, atol=1e-6)
    out.logits.sum().backward()
    trained = {n for n, p in probe.named_parameters() if p.requires_grad}
    assert trained == {"head.weight", "head.bias"}
    assert all(p.grad is None for p in probe.network.parameters())


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_norms_move_only_where_parity_is_asked_for(bn_mode):
    torch.manual_seed(0)
    probe = models.LinearProbe(models.build("resnet8", 7), 3, bn_mode)
    before = {n: b.clone() for n, b in probe.named_buffers()}
    probe.train()(torch.randn(4, 3, 32, 32))
    moved = any(not torch.equal(b, before[n]) for n, b in probe.named_buffers())
    assert moved == (bn_mode == "train")
    probe.eval()
    assert not any(module.training for module in probe.modules())
