"""What a plan, a result and a table say of a teacher that is not what it seems."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import datasets
import models
from experiments.plan import teacher_notes
from models.checkpoints.files import save_weights
from models.checkpoints.formats import read_checkpoint
from results import records
from tests.experiments import cli

CLASSES, SIDE = 6, 16


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    """An .npz of one colour per class, and good.safetensors, a teacher that knows them."""
    folder = tmp_path_factory.mktemp("colours")
    draw = np.random.default_rng(3)
    colour = draw.integers(40, 215, (CLASSES, 1, 1, 3))
    arrays = {}
    for part, each in (("train", 16), ("test", 20)):
        labels = np.arange(CLASSES).repeat(each)
        noisy = colour[labels] + draw.integers(-25, 25, (len(labels), SIDE, SIDE, 3))
        arrays |= {f"x_{part}": noisy.astype(np.uint8), f"y_{part}": labels}
    np.savez(folder / "set.npz", **arrays)
    save_weights(_teacher(folder), folder / "good.safetensors")
    return folder


def _teacher(folder: Path) -> models.Classifier:
    """Untrained, but with the linear classifier of the nearest class mean of its embeddings."""
    data = datasets.build("arrays", root=folder, file="set.npz")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = models.build("resnet14", CLASSES).eval()
        batches = list(data.test_batches())
        found = torch.cat([network.outputs(batch.images).embedding for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
        means = torch.stack([found[labels == c].mean(0) for c in range(CLASSES)])
        scale = 20 / torch.cdist(means, means).square().mean()
        network.classifier.weight.copy_(2 * scale * means)
        network.classifier.bias.copy_(-scale * means.square().sum(1))
    return network


def matrix(tmp_path: Path, colours: Path, order: list[int] | None = None, **entry) -> Path:
    """A matrix whose teacher has its classes in this order; `cli.command` runs it."""
    network = models.build("resnet14", CLASSES)
    models.load_checkpoint(network, colours / "good.safetensors")
    order = order or list(range(CLASSES))
    with torch.no_grad():
        for tensor in (network.classifier.weight, network.classifier.bias):
            tensor.copy_(tensor[order].clone())
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "set.npz").write_bytes((colours / "set.npz").read_bytes())
    save_weights(network, tmp_path / "data" / "t.safetensors", entry.pop("facts", {}))
    cli.write(
        tmp_path,
        methods=["vanilla", "kd"],
        trials=1,
        recipe__epochs=1,
        teachers={"resnet14": {"file": "t.safetensors", **entry}},
    )
    text = (tmp_path / "matrix.yaml").read_text()
    start = text.index("recipe:")
    path = tmp_path / "matrix.yaml"
    path.write_text("dataset: {name: arrays, file: set.npz}\n" + text[start:])
    return path


def about_teachers(called: cli.Called) -> list[str]:
    assert called.code == 0, called.err
    return [line for line in called.out.splitlines() if line.startswith(("warning:", "note:"))]


def plan(path: Path) -> list[str]:
    return about_teachers(cli.command("plan", path, "--no-timing"))


SHIFTED = [*range(1, CLASSES), 0]
WARNING = (
    "teacher resnet14 may not be what it seems: 0.00 %, where chance is 16.67 % (6 classes), loss "
)


def test_a_good_teacher_is_not_mentioned_anywhere(tmp_path, colours, inline):
    path = matrix(tmp_path, colours)
    assert plan(path) == []
    assert about_teachers(cli.command("run", path, "--workers", "1")) == []
    found = records.scan(tmp_path / "runs")
    assert len(found) == 2
    assert [record.warnings for _, record in found] == [(), ()]
    assert "Warning: teacher" not in cli.command("table", path).out


def test_which_weights_of_the_file_teach_is_said(tmp_path, colours, inline):
    path = matrix(tmp_path, colours)
    weights = tmp_path / "data" / "t.safetensors"
    raw = read_checkpoint(weights).state
    weights.unlink()
    torch.save({"model": raw, "model_ema": raw}, weights.with_suffix(".pth"))
    path.write_text(path.read_text().replace("t.safetensors", "t.pth"))
    (said,) = plan(path)
    assert said.startswith("note: teacher resnet14: these are the raw weights; averaged ones (EMA)")
    assert "--part ema (in a matrix: tools/import_checkpoint.py with that flag and --to" in said


def test_another_order_of_classes_is_said_before_and_after(tmp_path, colours, inline):
    path = matrix(tmp_path, colours, SHIFTED)
    (said,) = plan(path)
    assert said.startswith(f"warning: {WARNING}")
    assert said.endswith("as if its classes were in another order: 100.00 % after reordering")
    ran = cli.command("run", path, "--workers", "1")
    assert said in about_teachers(ran)
    by_method = {record.spec["method"]: record for _, record in records.scan(tmp_path / "runs")}
    assert by_method["kd"].warnings == (said.removeprefix("warning: "),)
    assert by_method["vanilla"].warnings == ()
    table = cli.command("table", path).out
    assert table.count("Warning: teacher resnet14 may not be what it seems: 0.00 %") == 1
    alone, pair = by_method["vanilla"].top1, "resnet14 → resnet8"
    assert alone > 15  # noise of 120 images above 0 %
    below = f"{pair}: the teacher (0.00 %) is worse than the student alone ({alone:.2f} %)"
    assert f"Warning: {below}" in table
    kd = next(d for d, record in records.scan(tmp_path / "runs") if record.spec["method"] == "kd")
    (kd / "result.json").unlink()  # the student alone is done, the distillation is not
    again = plan(path)
    assert again == [said, "warning: " + below.replace("→", "->")]


def test_a_stated_accuracy_that_is_met_is_meant(tmp_path, colours, inline):
    swapped = [0, *range(2, CLASSES), 1]
    path = matrix(tmp_path, colours, swapped, expected_accuracy=16.67)
    assert plan(path) == []
    assert about_teachers(cli.command("run", path, "--workers", "1")) == []
    warned = [record.warnings for _, record in records.scan(tmp_path / "runs")]
    assert warned == [(), ()]


def test_pixels_that_the_file_states_are_said(tmp_path, colours):
    own = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    path = matrix(tmp_path, colours, facts={"normalisation": own, "dataset": "cifar10"})
    lines = plan(path)
    assert lines[0].startswith(
        "note: teacher resnet14 was trained on pixels with mean 0.5 0.5 0.5, std 0.5 0.5 0.5 (the "
        "data set's: mean "
    )
    assert lines[1] == (
        "warning: teacher resnet14: its file says that it was trained on cifar10, not on arrays"
    )


def test_pixels_stated_twice_and_differently(tmp_path, colours):
    own = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    path = matrix(tmp_path, colours, facts={"normalisation": own}, normalisation="imagenet")
    called = cli.command("plan", path, "--no-timing")
    assert called.code == 2 and called.err.count("\n") == 1
    assert "matrix.yaml: teachers.resnet14.file: " in called.err
    assert "std 0.5 0.5 0.5, but mean 0.485 0.456 0.406, std 0.229 " in called.err


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"normalisation": "pytorch-cifr"}, "unknown normalisation 'pytorch-cifr': did you mean"),
        ({"mean": [0.5] * 3}, "teachers.resnet14: std is missing: expected mean and std, or neith"),
        ({"std": [0.5] * 3, "normalisation": "half"}, "normalisation and mean, std: expected one"),
        ({"mean": [0.5] * 3, "std": [0.5, 0, 0.5]}, "std = [0.5, 0, 0.5]: expected numbers above"),
        ({"normalization": "half"}, "teachers.resnet14.normalization: unknown key: did you mean n"),
    ],
)
def test_entries_that_state_no_normalisation(tmp_path, entry, said):
    path = cli.write(tmp_path, teachers={"resnet14": {"file": "t.pth", **entry}})
    called = cli.command("plan", path)
    assert called.code == 2 and called.err.count("\n") == 1 and said in called.err


def test_a_long_test_is_left_to_training(tmp_path, colours, monkeypatch):
    monkeypatch.setattr(teacher_notes, "LONGEST", -1.0)
    (said,) = plan(matrix(tmp_path, colours, SHIFTED))
    assert said.startswith("note: teacher resnet14 is tested when training starts (it takes about ")


def test_a_teacher_trained_here_is_judged_by_its_result(done):
    """That of the tests' matrix learned noise; its students are put aside to be open runs."""
    for method in ("kd", "fitnet"):
        for spec in done.specs(method):
            (spec.directory(done.runs) / "result.json").unlink()
    lines = plan(done.matrix)
    assert lines[0].startswith("warning: teacher resnet14 has learned little: ")


def test_an_assistant_is_named_with_the_method_that_trained_it(tmp_path, inline):
    path = cli.write(tmp_path, pairs=["resnet20 -> resnet14 -> resnet8"], methods=["kd"], trials=1)
    assert cli.command("run", path, "--workers", "1").code == 0
    (student,) = (tmp_path / "runs").glob("*/*--resnet8/*/*/result.json")
    student.unlink()
    said = [line.partition(" has learned little")[0] for line in plan(path) if "learned" in line]
    assert said == ["warning: teacher resnet14 (assistant by kd)"]
