"""A last batch of one image: left out by runs that cannot be trained on it, kept by all others."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import datasets
import distillers
import models
from distillers import Distiller, Needs, Unsupported, register
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, RunSpec, SourceSpec, TeacherSpec
from experiments.plan.capability import Capabilities
from experiments.train import one_sample, trainer
from experiments.train.cohort import Cohort
from experiments.train.one_sample import count, left_out, network_fails
from results import records
from tests.experiments import cli, tiny

OPTIONS = {"image_size": 16, "train_size": 17, "test_size": 10}
RECIPE = Recipe(epochs=2, batch_size=8, schedule="cosine")  # batches of 8, 8 and 1
STUDENT = "MobileNetV2"  # its last map is 1×1 at 16 pixels
NOTE = "(17 training images in batches of 8), on which MobileNetV2 cannot be trained"
# Without the large ones, which are made of the same blocks.
LARGE = re.compile("ResNet|vgg1|resnet110|resnet116|resnet32x4|resnet38x4|wrn_28_4")
ZOO = [name for name in models.names() if "/" not in name and not LARGE.match(name)]


def data(**settings):
    options = {**OPTIONS, "epochs": RECIPE.epochs, "batch_size": RECIPE.batch_size, **settings}
    return datasets.build("fake", **options)


def spec(method, student=STUDENT, **options) -> RunSpec:
    made = tiny.spec(method, RECIPE)
    dataset = DataSpec(name="fake", options=OPTIONS)
    changes = {"dataset": dataset, "student": student, "options": {**made.options, **options}}
    return made.model_copy(update=changes)


def cohort(runs: Path, *specs: RunSpec) -> Cohort:
    return Cohort(list(specs), runs, data(), tiny.teacher(data()), torch.device("cpu"))


def weights(runs: Path, run: RunSpec):
    return tiny.load_file(run.directory(runs) / tiny.WEIGHTS)


def single_values(network: nn.Module, side: int) -> bool:
    """Whether any batch norm reads one value per channel of one image, as eval mode shows it."""
    found = []
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_hook(
                lambda _m, x, _y: found.append(x[0].numel() == x[0].shape[1])
            )
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, side, side))
    return any(found)


@pytest.mark.parametrize("name", ZOO)
def test_networks_that_cannot_be_trained_on_one_image_are_found(name: str) -> None:
    assert network_fails(name, 10, 16) == single_values(models.build(name, 10), 16)


def test_a_larger_map_can_be_trained_on_one_image() -> None:
    assert network_fails(STUDENT, 10, 16) and not network_fails(STUDENT, 10, 64)


def test_what_batches_have_one_sample() -> None:
    info = data().info
    sizes = {(17, 8): (1, 3), (16, 8): (0, 2), (18, 8): (0, 3), (1, 8): (1, 1), (9, 8): (1, 2)}
    for (total, size), expected in sizes.items():
        assert count(replace(info, train_size=total, batch_size=size), None) == expected
    assert count(replace(info, batch_size=1), None) == (17, 17)
    assert (
        count(info, "balanced") == (0, 2) and count(replace(info, train_size=1), "balanced")[0] == 0
    )
    for settings in ({"subset": 9}, {"validation": 8}):
        assert count(data(**settings).info, None) == (1, 2)


# ---- training ------------------------------------------------------------------------------------

COMPANY = [spec("kd", "resnet8"), spec("vanilla"), spec("kd"), spec("mlkd"), spec("fitnet")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    states = trainer.train(cohort(runs, *COMPANY, spec("ft"), spec("gk_dfd")))
    assert set(states.values()) == {"done"}
    return runs


@pytest.mark.parametrize("run", COMPANY, ids=lambda run: f"{run.student} {run.method}")
def test_runs_that_cannot_be_trained_on_one_image_leave_it_out(trained: Path, run: RunSpec) -> None:
    record = records.read(run.directory(trained))
    assert record is not None
    alone = run.student == STUDENT
    assert [NOTE in text for text in record.warnings] == [True] * alone
    rows = list(csv.DictReader((run.directory(trained) / "history.csv").open()))
    steps = 2 if alone else 3
    rate = RECIPE.rate(1, steps - 1, steps, RECIPE.lr)  # of the last step that was taken
    assert float(rows[0]["lr"]) == pytest.approx(rate)


def test_initial_stages_leave_out_what_they_cannot_be_trained_on(trained: Path) -> None:
    ft = spec("ft")  # its initial stage trains on the teacher's maps of 4×4
    assert left_out(ft, data().info).batches == {"main": 1}
    record = records.read(ft.directory(trained))
    assert record is not None and NOTE in record.warnings[0]
    same = spec("ab").model_copy(update={"teacher": TeacherSpec(name=STUDENT, sha256="0" * 64)})
    assert left_out(same, data().info).batches == {"initial": 1, "main": 1}


def test_balanced_batches_are_full(trained: Path) -> None:
    record = records.read(spec("gk_dfd").directory(trained))
    assert record is not None and not record.warnings


def test_company_changes_no_numbers(trained: Path, tmp_path: Path) -> None:
    for run in (COMPANY[0], COMPANY[2]):
        trainer.train(cohort(tmp_path, run))
        tiny.assert_same_weights(weights(tmp_path, run), weights(trained, run))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_run_interrupted_around_the_batch_resumes_to_the_same_end(
    trained: Path, tmp_path: Path, steps: int
) -> None:
    run = COMPANY[2]
    first = cohort(tmp_path, run)
    first.stop = tiny.stop_after(steps)
    assert trainer.train(first) == {run.id: "interrupted"}
    assert trainer.train(cohort(tmp_path, run)) == {run.id: "done"}
    tiny.assert_same_weights(weights(tmp_path, run), weights(trained, run))
    record = records.read(run.directory(tmp_path))
    assert record is not None and [NOTE in text for text in record.warnings] == [True]


# ---- methods, probes, and sets of one image ------------------------------------------------------


def method(name: str, loss) -> str:
    needs = Needs(embedding=True)
    register(name, title=name)(type("Own", (Distiller,), {"needs": needs, "loss": loss}))
    return name


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.usefixtures("own_registry")
def test_a_method_that_cannot_be_trained_on_one_image_leaves_it_out() -> None:
    deviation = method("deviation", lambda self, s, t, batch: s.embedding.std(dim=0).mean())
    found = left_out(spec(deviation, "resnet8"), data().info)
    assert found.batches == {"main": 1} and "resnet8 with deviation cannot be" in found.note
    broken = method("broken", lambda self, s, t, batch: s.embedding.mean() / 0 * missing)  # noqa: F821
    assert not left_out(spec(broken, "resnet8"), data().info).batches  # its own error comes


def test_no_method_of_ours_needs_more_than_its_network() -> None:
    names = [n for n in distillers.names() if n not in ("vitkd", "mlkd", "reviewkd", "semckd")]
    info = data().info
    assert not [n for n in names if left_out(spec(n, "resnet8"), info).batches]


def test_probes_are_trained_on_one_image_unless_their_norms_are() -> None:
    for mode, expected in (("eval", {}), ("train", {"main": 1})):
        source = SourceSpec(run="0" * 10, dataset="fake", method="kd", bn_mode=mode)
        probe = spec("vanilla").model_copy(update={"source": source})
        assert left_out(probe, data().info).batches == expected


def test_a_set_of_one_image_is_not_applicable() -> None:
    info = data(train_size=1).info
    reasons = Capabilities(lambda spec: info).reasons([spec("kd"), spec("kd", "resnet8")])
    assert list(reasons) == [spec("kd").id]
    assert "every batch has one image (1 training images in batches of 8)" in reasons[spec("kd").id]
    with pytest.raises(Unsupported, match="expected at least two"):
        one_sample.left_out(spec("kd"), info)


def test_plan_says_so(tmp_path: Path) -> None:
    matrix = tmp_path / "m.yaml"
    matrix.write_text(
        "dataset: {name: fake, image_size: 16, train_size: 17, test_size: 4}\n"
        "recipe: {epochs: 2, batch_size: 8, milestones: []}\n"
        "pairs: [resnet14 -> MobileNetV2, resnet14 -> resnet8]\nmethods: [vanilla, kd]\n"
    )
    outcome = cli.command("plan", matrix, "--no-timing")
    assert outcome.code == 0
    warnings = [line for line in outcome.out.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2 and NOTE in warnings[1]
    assert warnings[0] == (
        "warning: fake: 6 of 10 classes have no test image (class4, class5, class6, class7, "
        "class8 and 1 more)"
    )
