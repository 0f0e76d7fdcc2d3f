"""What a run leaves of its last test is what was tested: the record's accuracy, bit for bit."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import datasets
from datasets import Data
from experiments.errors import InputError
from experiments.matrix import schema
from experiments.matrix.recipe import Recipe
from experiments.rundir import layout
from experiments.rundir.outcome import Outcome
from experiments.train import cohort as cohorts
from experiments.train import networks, predictions, trainer
from experiments.train.distributed import ProcessGroup
from experiments.worker.job import Job
from models.checkpoints.files import save_weights, sha256
from results import predictions as files
from results import records
from results.predictions import FILE, MEASURES, WANTED
from results.schema import Measures, Record
from tests.experiments import cli, tiny

EMA = Recipe(epochs=2, batch_size=16, schedule="cosine", ema_decay=0.8)
BF16 = Recipe(epochs=2, batch_size=16, schedule="cosine", precision="bf16")
FP64 = Recipe(epochs=2, batch_size=16, schedule="cosine", precision="fp64")


def trained(runs: Path, method: str, recipe: Recipe = tiny.RECIPE, wanted: str = "auto") -> Path:
    """The directory of a run after its training."""
    job = tiny.cohort(runs, (method,), recipe)
    job.predictions = wanted
    if recipe.precision == "fp64":
        job.teacher.module.double()
    assert set(trainer.train(job).values()) == {Outcome.DONE}
    return tiny.spec(method, recipe).directory(runs)


def left(directory: Path) -> tuple[Record, files.Predictions | None, Measures]:
    record, measures = records.read(directory), files.read_measures(directory)
    assert record is not None and measures is not None
    return record, files.read(directory / FILE), measures


@pytest.mark.parametrize(
    ("method", "recipe"),
    [("kd", tiny.RECIPE), ("vanilla", EMA), ("simkd", EMA), ("kd", BF16), ("vanilla", FP64)],
    ids=["kd", "average", "head and average", "bf16", "fp64"],
)
@pytest.mark.parametrize("wanted", ["full", "compact"])
def test_the_top1_of_the_file_is_the_records(tmp_path, method, recipe, wanted):
    record, found, measures = left(trained(tmp_path, method, recipe, wanted))
    assert found is not None and found.header.form == wanted
    correct = found.images.predicted == found.images.labels
    assert 100 * int(correct.sum()) / len(correct) == record.accuracy.last.top1 == measures.top1
    assert measures.top5 == pytest.approx(record.accuracy.last.top5, abs=2.6)  # of 40 images
    tolerance = 1e-2 if wanted == "full" else 1e-5
    assert measures.nll == pytest.approx(record.accuracy.last.loss, abs=tolerance)
    assert measures.run == found.header.run == record.run
    assert found.header.data == record.data.sha256
    if wanted == "full":
        assert np.array_equal(found.logits.argmax(1), found.images.predicted)


def test_images_are_in_the_order_of_the_test_set(tmp_path):
    _, found, _ = left(trained(tmp_path, "kd"))
    labels = torch.cat([batch.labels for batch in tiny.data().test_batches()])
    assert found.images.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("wanted", WANTED)
def test_what_is_wanted_is_stored(tmp_path, wanted):
    _, found, measures = left(trained(tmp_path, "vanilla", wanted=wanted))
    form = {"auto": "full", "none": None}.get(wanted, wanted)
    assert (found.header.form if found else None) == form
    assert (measures.predictions.form if measures.predictions else None) == form
    assert measures.nll > 0 and len(measures.per_class) == 10
    assert (measures.teacher, measures.agreement, measures.kl) == (None, None, None)


def test_a_large_test_set_is_stored_compactly(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_FULL", 2 * 40 * 10 - 1)
    assert left(trained(tmp_path, "vanilla"))[1].header.form == "compact"


def test_the_host_gets_logits_in_parts(tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole", "kd") / FILE
    monkeypatch.setattr(predictions, "HELD", 0)
    monkeypatch.setattr(datasets.MemoryData, "test_batches", _small_batches)
    found = files.read(trained(tmp_path / "parts", "kd") / FILE)
    # Other batch sizes may round otherwise.
    difference = found.logits.astype(float) - files.read(whole).logits.astype(float)
    assert np.abs(difference).max() < 0.01


def _small_batches(self: Data, split: str = "test", batch_size: int = 250):
    return self._test_batches(split, 7)


# ---- killed before the result --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "recipe"), [("kd", tiny.RECIPE), ("simkd", EMA)], ids=["kd", "simkd"]
)
def test_a_run_killed_before_its_result_ends_with_the_same_files(
    tmp_path, monkeypatch, method, recipe
):
    def refuse(*_: object) -> None:  # a full disk, which interrupts the run as a kill would
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    whole = trained(tmp_path / "whole", method, recipe)
    with monkeypatch.context() as patch:
        patch.setattr(cohorts.result, "finish", refuse)
        states = trainer.train(tiny.cohort(tmp_path / "killed", (method,), recipe))
        assert set(states.values()) == {Outcome.INTERRUPTED}
    directory = tiny.spec(method, recipe).directory(tmp_path / "killed")
    assert not (directory / FILE).exists()
    trained(tmp_path / "killed", method, recipe)
    for name in (FILE, MEASURES):
        assert (directory / name).read_bytes() == (whole / name).read_bytes()


# ---- several processes ---------------------------------------------------------------------------


class Rank(ProcessGroup):
    """One of two processes, whose parts meet in a list."""

    def __init__(self, rank: int, meeting: list) -> None:
        super().__init__(rank, 2)
        self.meeting = meeting

    def gather_arrays(self, arrays):
        self.meeting.append(dict(arrays))
        return self.meeting if self.is_main else []


@pytest.mark.parametrize("form", ["full", "compact"])
def test_the_parts_of_two_processes_are_put_in_order(form):
    network = tiny.teacher(tiny.data()).module
    meeting: list = []
    for rank in (1, 0):
        data = datasets.build("fake", batch_size=16, shard=(rank, 2), **tiny.OPTIONS)
        mine = predictions.Collector(form)
        networks.evaluate(network, data.test_batches(batch_size=7), tiny.RECIPE, collect=mine)
        rows = mine.gathered(Rank(rank, meeting))
        assert bool(rows) == (rank == 0)
    alone = predictions.Collector(form)
    batches = tiny.data().test_batches(batch_size=7)
    networks.evaluate(network, batches, tiny.RECIPE, collect=alone)
    expected = alone.gathered()
    assert rows.keys() == expected.keys()
    assert all(np.array_equal(rows[name], expected[name]) for name in rows)


# ---- teachers ------------------------------------------------------------------------------------


def test_a_given_teacher_predicts_once_per_data_set(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    source = tiny.data()
    file = tmp_path / "data" / "t.safetensors"
    with networks.seeded("teacher"):
        save_weights(networks.build("resnet14", 4, tiny.RECIPE, torch.device("cpu")), file)
    calls: list[str] = []
    real = predictions.networks.evaluate
    monkeypatch.setattr(
        predictions.networks,
        "evaluate",
        lambda m, *a, **k: calls.append(m.name) or real(m, *a, **k),
    )
    cli.write(tmp_path, teachers={"resnet14": {"file": "t.safetensors"}}, trials=2)
    monkeypatch.setattr("experiments.local.queue.run", cli.run_inline)
    matrix = tmp_path / "matrix.yaml"
    assert cli.command("run", matrix, "--cohort-size", "1").code == 0
    (made,) = (tmp_path / "runs" / "fake" / "teachers").iterdir()
    assert made.name.startswith(f"resnet14-{sha256(file)[:10]}-")
    assert calls.count("resnet14") == 2  # its accuracy, and these predictions
    teacher = files.read(made)
    assert teacher.header.run is None and source.info.name == teacher.header.dataset
    for result in sorted((tmp_path / "runs").glob("*/*/*/*/result.json")):
        record, found, measures = left(result.parent)
        if record.teacher is None:
            assert measures.agreement is None
            continue
        same = teacher.images.predicted == found.images.predicted
        assert measures.agreement == 100 * int(same.sum()) / len(same)
        assert measures.kl > 0
        assert (measures.teacher.name, measures.teacher.sha256) == ("resnet14", sha256(file))
    # Nothing that walks the runs takes the folder for a run.
    assert "6 done" in cli.command("status", matrix).out
    assert len(records.scan(tmp_path / "runs")) == 6
    with pytest.raises(InputError, match="no such run"):
        layout.find("logs", tmp_path / "runs", made.name)
    assert cli.command("clean", matrix, "--yes").out == "nothing to remove\n"
    assert made.exists()


def test_a_teacher_trained_here_has_its_own(finished):
    (teacher,) = (finished / "runs" / "fake" / "none--resnet14" / "vanilla").iterdir()
    assert not (finished / "runs" / "fake" / "teachers").exists()
    known = files.read(teacher / FILE)
    for directory in (finished / "runs" / "fake" / "resnet14--resnet8" / "kd").iterdir():
        record, found, measures = left(directory)
        assert measures.teacher.sha256 == record.teacher.sha256
        same = known.images.predicted == found.images.predicted
        assert measures.agreement == 100 * int(same.sum()) / len(same)


def test_the_predictions_of_other_data_are_not_used(tmp_path):
    job = tiny.cohort(tmp_path, ("kd",))
    directory = trained(tmp_path / "teacher", "vanilla")
    found = files.read(directory / FILE)
    other = replace(found, header=found.header.model_copy(update={"data": "0" * 64}))
    for name, content in (("same", found), ("other", other)):
        (tmp_path / name).write_bytes(files.encode(content))
    used = files.MeasuredTeacher(name="resnet14")
    assert predictions.taught_by(used, tmp_path / "same", job.data.fingerprint) is not None
    assert predictions.taught_by(used, tmp_path / "other", job.data.fingerprint) is None
    assert predictions.taught_by(used, tmp_path / "none", job.data.fingerprint) is None


# ---- the key -------------------------------------------------------------------------------------


def test_the_key_is_no_part_of_any_runs_identity():
    plain = [spec.id for spec in cli.expansion().runs]
    for wanted in WANTED:
        assert [spec.id for spec in cli.expansion(predictions=wanted).runs] == plain


def test_an_unknown_value_is_one_line(tmp_path):
    matrix = cli.write(tmp_path, predictions="ful")
    with pytest.raises(InputError, match=r"matrix.yaml: predictions: expected 'auto', 'full', "):
        schema.load(matrix)


def test_jobs_carry_it_and_those_of_earlier_code_are_readable(tmp_path):
    spec = tiny.spec("vanilla", tiny.RECIPE)
    job = Job((spec,), tmp_path, tmp_path, {}, None, (), predictions="compact")
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json").predictions == "compact"
    plain = json.loads((tmp_path / "job.json").read_text())
    del plain["predictions"]
    (tmp_path / "job.json").write_text(json.dumps(plain))
    assert Job.read(tmp_path / "job.json").predictions == "auto"


@pytest.mark.usefixtures("inline")
def test_a_matrix_without_predictions(tmp_path):
    matrix = cli.write(tmp_path, predictions="none", methods=["kd"], trials=1)
    assert yaml.safe_load(matrix.read_text())["predictions"] == "none"
    assert cli.command("run", matrix).code == 0
    assert not list((tmp_path / "runs").rglob(FILE))
    assert len(list((tmp_path / "runs").rglob(MEASURES))) == 2
    assert not (tmp_path / "runs" / "fake" / "teachers").exists()
