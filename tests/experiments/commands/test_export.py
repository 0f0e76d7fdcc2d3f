"""`benchmark.py export`: what others get of a finished run is what the run ended with."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
from experiments.rundir.export import ENDINGS
from experiments.rundir.layout import HEAD
from models.checkpoints.formats import read_checkpoint
from results import records
from tests.experiments import cli


@pytest.fixture
def run(done, monkeypatch, tmp_path):
    """A finished run's spec and directory; relative paths start at an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (spec, _) = done.specs("kd")
    return spec, spec.directory(done.runs)


def export(done, run, *more):
    return cli.call("export", str(run), "--runs", str(done.runs), *more)


def forget_weights(directory):
    """As in records of former versions: the result does not name its weights."""
    record = json.loads((directory / "result.json").read_text())
    del record["weights"]
    (directory / "result.json").write_text(json.dumps(record))


def test_repdistillers_format(done, run, tmp_path):
    spec, directory = run
    last = records.read(directory).accuracy.last
    said = export(done, spec.id)
    name = f"resnet8-fake-kd-0-{spec.id}.pth"
    assert (said.code, said.err) == (0, "")
    assert said.out == f"wrote {name}\nresnet8 on fake, kd: {last.top1:.2f} %\n"
    content = torch.load(tmp_path / "here" / name, weights_only=True)
    assert {k: v for k, v in content.items() if k != "model"} == {
        "epoch": 2,
        "accuracy": last.top1,
    }
    weights = load_file(directory / "weights.safetensors")
    assert content["model"].keys() == weights.keys()
    assert all(content["model"][key].equal(weights[key]) for key in weights)
    models.load_checkpoint(models.build("resnet8", 4), name)


@pytest.mark.parametrize(
    "by", [lambda s, d: s.id[:6], lambda s, d: d, lambda s, d: d.name], ids=["start", "path", "in"]
)
def test_ours_says_what_it_is(done, run, monkeypatch, by):
    spec, directory = run
    monkeypatch.chdir(directory.parent)
    said = export(done, by(spec, directory), "--format", "ours", "--output", "w.safetensors")
    assert said.code == 0, said.err
    about = read_checkpoint(directory.parent / "w.safetensors").metadata
    assert about.model_dump(exclude_none=True) == {
        "format": 1,
        "architecture": "resnet8",
        "num_classes": 4,
        "dataset": "fake",
        "accuracy": records.read(directory).accuracy.last.top1,
        "source": f"kd, run {spec.id}",
    }


def test_runs_of_former_versions_have_weights_without_words(done, run):
    spec, directory = run
    save_file(load_file(directory / "weights.safetensors"), directory / "weights.safetensors")
    forget_weights(directory)
    assert export(done, spec.id, "--output", "w.pth").code == 0
    models.load_checkpoint(models.build("resnet8", 4), "w.pth")


@pytest.mark.parametrize("kind", ["repdistiller", "ours"])
def test_a_method_that_predicts_with_modules_of_its_own(done, run, kind):
    """As SimKD does: they go along, and the accuracy is not the student's own."""
    spec, directory = run
    head = {"projector.0.weight": torch.randn(3, 2, 1, 1), "head.bias": torch.arange(4.0)}
    save_file(head, directory / HEAD)
    output = "student" + ENDINGS[kind]
    said = export(done, spec.id, "--format", kind, "--output", output)
    assert said.code == 0, said.err
    assert "with the method's own modules (10 numbers, " in said.out
    assert "note: kd predicts with them, not with the student's own classifier" in said.out
    top1 = records.read(directory).accuracy.last.top1
    if kind == "ours":
        assert "wrote student.method.safetensors\n" in said.out
        kept = load_file("student.method.safetensors")
        assert read_checkpoint(output).metadata.accuracy is None
    else:
        content = torch.load(output, weights_only=True)
        assert "accuracy" not in content
        assert (content["method"]["name"], content["method"]["accuracy"]) == ("kd", top1)
        kept = content["method"]["state"]
    assert all(kept[key].equal(head[key]) for key in head)
    assert kept.keys() == head.keys()


def test_double_precision_stays(done, run):
    spec, directory = run
    path = directory / "weights.safetensors"
    doubled = {k: v.double() if v.is_floating_point() else v for k, v in load_file(path).items()}
    save_file(doubled, path)
    forget_weights(directory)
    export(done, spec.id, "--format", "ours", "--output", "w.safetensors")
    assert load_file("w.safetensors")["fc.weight"].dtype is torch.float64


# ---- refused -------------------------------------------------------------------------------------


def refused(said, text):
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert text in said.err


def test_a_run_that_is_not_finished(done, run):
    spec, directory = run
    (directory / "result.json").unlink()
    refused(export(done, spec.id), f"{directory} has no result yet: it is not finished")


def test_no_such_run(done, run):
    refused(export(done, "zzz"), "export zzz: no such run in")


def test_weights_that_are_not_the_runs(done, run):
    spec, directory = run
    other = done.specs("kd")[1].directory(done.runs) / "weights.safetensors"
    (directory / "weights.safetensors").write_bytes(other.read_bytes())
    refused(export(done, spec.id), "is not what its result.json names")


@pytest.mark.parametrize("kind", ["repdistiller", "ours"])
def test_nothing_is_overwritten(done, run, tmp_path, kind):
    spec, directory = run
    save_file({"x": torch.ones(1)}, directory / HEAD)
    taken = tmp_path / "here" / ("w.method.safetensors" if kind == "ours" else "w.pth")
    taken.write_text("precious")
    said = export(done, spec.id, "--format", kind, "--output", "w" + ENDINGS[kind])
    refused(said, f"{taken.name}: exists already and is not overwritten")
    assert taken.read_text() == "precious"
    assert [path.name for path in taken.parent.iterdir()] == [taken.name]


def test_no_place(done, run):
    refused(export(done, run[0].id, "--output", "nowhere/w.pth"), "nowhere/w.pth: no directory ")


@pytest.mark.parametrize(("kind", "output"), [("ours", "w.pth"), ("repdistiller", "w.safetensors")])
def test_endings_that_programs_would_take_for_the_other_format(done, run, kind, output):
    said = export(done, run[0].id, "--format", kind, "--output", output)
    refused(said, f"--output {output}: .safetensors is the ending of --format ours, and only of it")
