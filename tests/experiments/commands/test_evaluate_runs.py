"""`benchmark.py evaluate RUN`: what an older run lacks is restored; two runs are compared."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

import datasets
from experiments.matrix.run_spec import RunSpec
from results import measures, predictions, records
from results.predictions import FILE, MEASURES
from tests.experiments import cli, sending

pytestmark = pytest.mark.usefixtures("inline")
SMALL = {"pairs": ["resnet14 -> resnet8"], "trials": 1}


def evaluate(done, *arguments):
    places = ("--runs", str(done.runs), "--data", str(done.folder / "data"))
    return cli.call("evaluate", *map(str, arguments), *places)


def contents(runs) -> dict:
    """Every file of predictions or measures with its bytes."""
    found = [*runs.rglob("*.safetensors"), *runs.rglob(MEASURES)]
    return {path: path.read_bytes() for path in found if path.name != "weights.safetensors"}


def forget(runs) -> None:
    """As runs of earlier versions are."""
    for path in contents(runs):
        if path.name != "method.safetensors":
            path.unlink()


def trained(tmp_path, **changes) -> sending.Place:
    place = sending.Place(tmp_path).write(**{**SMALL, **changes})
    assert place.call("run", "--workers", "1").code == 0
    return place


# ---- one run -------------------------------------------------------------------------------------


def test_deleted_files_come_back_byte_for_byte(done):
    (spec, _), before = done.specs("kd"), contents(done.runs)
    directory = spec.directory(done.runs)
    others = {
        path for path in before if path.parent not in (directory, done.directory(done.teacher))
    }
    forget(done.runs)
    said = evaluate(done, spec.id)
    assert said.code == 0
    after = contents(done.runs)
    assert after == {path: before[path] for path in before.keys() - others}
    written = {line.removeprefix("wrote ") for line in said.out.splitlines() if "wrote" in line}
    assert written == {str(path) for path in after}


@pytest.mark.parametrize(
    "changes",
    [
        {"methods": ["simkd"]},
        {"methods": ["kd"], "recipe__ema_decay": 0.8},
        {"methods": ["kd"], "dataset__validation": 16},
        {"methods": ["kd"], "recipe__precision": "bf16", "recipe__channels_last": True},
        {"methods": ["kd"], "predictions": "compact"},
    ],
    ids=["head", "average", "hold-out", "bf16", "compact"],
)
def test_whatever_the_run(tmp_path, changes):
    place = trained(tmp_path, **changes)
    before = contents(place.runs)
    forget(place.runs)
    said = evaluate(place, "--matrix", place.matrix)
    assert (said.code, contents(place.runs)) == (0, before)
    assert said.out.endswith("2 finished runs: 2 filled in, 0 had everything, 0 failed\n")


def test_what_is_printed_are_the_measures(done):
    (spec, _) = done.specs("kd")
    found = predictions.read_measures(spec.directory(done.runs))
    before = cli.listing(done.runs)
    said = evaluate(done, spec.directory(done.runs))
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"run      {spec.id}: resnet14 -> resnet8, kd, trial 0",
        "data     fake, test part, n = 32",
        f"top-1    {found.top1:.2f} %",
        f"top-5    {found.top5:.2f} %",
        f"NLL      {found.nll:.4f} nats",
        f"ECE      {found.ece:.2f} % (15 bins of equal width)",
        f"ECE      {found.ece_adaptive:.2f} % (15 bins of equal mass)",
        f"Brier    {found.brier:.4f} (sum over classes)",
        f"agrees   {found.agreement:.2f} % of images like resnet14",
        f"KL       {found.kl:.4f} nats, KL(resnet14 || student)",
    ]
    assert cli.listing(done.runs) == before  # nothing was lacking


def test_measures_alone_come_from_the_predictions(done, monkeypatch):
    (spec, _) = done.specs("kd")
    path = spec.directory(done.runs) / MEASURES
    before = path.read_bytes()
    path.unlink()
    monkeypatch.setattr("experiments.train.networks.evaluate", None)  # no network runs
    assert evaluate(done, spec.id).out.endswith(f"wrote {path.with_name(FILE)}\nwrote {path}\n")
    assert path.read_bytes() == before


def test_another_accuracy_than_the_results_is_refused(done):
    (spec, _) = done.specs("kd")
    path = spec.directory(done.runs) / records.RESULT
    content = json.loads(path.read_text())
    content["accuracy"]["last"]["top1"] += 3.125 if content["accuracy"]["last"]["top1"] < 50 else -3
    path.write_text(json.dumps(content))
    forget(done.runs)
    said = evaluate(done, spec.id)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert re.search(r"top-1 [\d.]+ % here, [\d.]+ % in its result: other code, data", said.err)
    assert contents(done.runs) == {}


def test_other_weights_and_other_data_are_refused(done):
    one, other = (spec.directory(done.runs) for spec in done.specs("kd"))
    forget(done.runs)
    shutil.copy(other / "weights.safetensors", one)
    assert "weights.safetensors: is not what its result.json names" in evaluate(done, one).err
    said = evaluate(done, other, "--option", "test_size=48")
    assert said.code == 2 and "was trained on other data than" in said.err


def test_a_teacher_that_is_not_here_is_said(done):
    (spec, _) = done.specs("kd")
    forget(done.runs)
    shutil.rmtree(done.directory(done.teacher))
    said = evaluate(done, spec.id)
    assert said.code == 0 and "agrees" not in said.out
    assert f"note: agreement with teacher resnet14 unknown: its run {done.teacher.id}" in said.err
    assert predictions.read_measures(spec.directory(done.runs)).agreement is None


def test_files_of_an_earlier_training_do_not_count(done):
    """The run was trained again by a version that stores no predictions."""
    one, other = (spec.directory(done.runs) for spec in done.specs("kd"))
    before = contents(one)
    for name in (FILE, MEASURES):
        shutil.copy(other / name, one / name)
    table = done.call("table", "--measures", "nll", "--trials", "0").out
    assert re.search(r"\| KD +\| +– \|", table)
    assert evaluate(done, one).code == 0
    assert contents(one) == before


# ---- given teachers ------------------------------------------------------------------------------


def test_a_given_teachers_file_is_named_by_the_matrix(done, tmp_path):
    (tmp_path / "given" / "data").mkdir(parents=True)
    weights = done.directory(done.teacher) / "weights.safetensors"
    shutil.copy(weights, tmp_path / "given" / "data" / "t.safetensors")
    place = trained(
        tmp_path / "given", methods=["kd"], teachers={"resnet14": {"file": "t.safetensors"}}
    )
    before = contents(place.runs)
    assert any(path.parent.name == "teachers" for path in before)
    forget(place.runs)
    (directory,) = (place.runs / "fake" / "resnet14--resnet8" / "kd").iterdir()
    said = evaluate(place, directory)
    assert said.code == 0 and "is named in a matrix: pass --matrix" in said.err
    said = evaluate(place, directory, "--matrix", place.matrix)  # fills in what was unknown
    assert (said.code, said.err) == (0, "")
    assert contents(place.runs) == before


# ---- many runs -----------------------------------------------------------------------------------


def test_all_runs_of_a_matrix(done):
    before = contents(done.runs)
    forget(done.runs)
    said = evaluate(done, "--matrix", done.matrix)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-1] == ("7 finished runs: 7 filled in, 0 had everything, 0 failed")
    assert len(said.out.splitlines()) == 8
    assert contents(done.runs) == before
    again = evaluate(done, "--matrix", done.matrix)
    assert again.out == "7 finished runs: 0 filled in, 7 had everything, 0 failed\n"


def test_one_that_fails_does_not_stop_the_others(done):
    forget(done.runs)
    (done.specs("kd")[0].directory(done.runs) / "weights.safetensors").write_bytes(b"half")
    said = evaluate(done, "--matrix", done.matrix)
    assert said.code == 1 and said.err.count("error: ") == 1
    assert said.out.endswith("7 finished runs: 6 filled in, 0 had everything, 1 failed\n")


def test_a_matrix_that_wants_none_stores_none(done):
    forget(done.runs)
    place = done.write(predictions="none")
    assert evaluate(place, "--matrix", place.matrix).code == 0
    assert {path.name for path in contents(done.runs)} == {MEASURES}


def test_the_probes_of_a_matrix_too(tmp_path):
    other = {"name": "fake", "num_classes": 3, "image_size": 16, "train_size": 48, "test_size": 24}
    short = {"epochs": 2, "milestones": [1], "batch_size": 16}
    block = {"datasets": [{**other, "seed": 1}], "recipe": short}
    place = trained(tmp_path, transfer=block, methods=["vanilla"])
    assert place.call("run", "--transfer", "fake").code == 0
    before = contents(place.runs)
    assert len(before) == 2 * 2  # of the student and of its probe
    forget(place.runs)
    said = evaluate(place, "--matrix", place.matrix)
    assert (said.code, said.err) == (0, "")
    assert contents(place.runs) == before


# ---- two runs ------------------------------------------------------------------------------------


def test_one_run_against_another(done):
    one, other = (done.specs(method)[0] for method in ("kd", "vanilla"))
    found = [predictions.read(spec.directory(done.runs) / FILE) for spec in (one, other)]
    right = [each.images.correct for each in found]
    expected = measures.mcnemar(*right)
    said = evaluate(done, one.id, "--against", other.id)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].endswith(f"resnet14 -> resnet8, kd, trial 0: {100 * right[0].mean():.2f} %")
    assert lines[1].startswith(f"against  {other.id}: resnet8, vanilla, trial 0: ")
    only = (int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()))
    assert f"{only[0]} right in the first run only, {only[1]} in the second only" in lines[2]
    assert lines[3] == f"McNemar  exact two-sided p = {expected.p:.3g}"
    assert lines[4].startswith("gained   ") and lines[5].startswith("lost     ")
    labels = found[0].images.labels
    change = 100 * (right[0][labels == 0].mean() - right[1][labels == 0].mean())
    if not np.isclose(change, 0):
        assert f"{change:+.1f}".replace("-", "−") in said.out


def test_two_runs_are_compared_without_their_data(done, monkeypatch):
    def gone(*_: object, **__: object) -> None:
        raise datasets.DataError("no data here")

    one, other = (done.specs(method)[0] for method in ("kd", "vanilla"))
    whole = evaluate(done, one.id, "--against", other.id)
    monkeypatch.setattr("experiments.train.finished.build_dataset", gone)
    said = evaluate(done, one.id, "--against", other.id)
    assert said.code == 0 and said.out.splitlines()[:4] == whole.out.splitlines()[:4]


def test_only_the_same_images_are_compared(done, tmp_path):
    (tmp_path / "other").mkdir()
    place = trained(tmp_path / "other", methods=["vanilla"], dataset__test_size=48)
    (theirs,) = (place.runs / "fake" / "none--resnet8" / "vanilla").iterdir()
    said = evaluate(done, done.specs("kd")[0].id, "--against", theirs)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "was tested on other images" in said.err


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a FILE, a RUN, or --matrix"),
        (["0123"], "evaluate 0123: no such run in"),
        (["{run}", "--model", "resnet8"], "--model: only for a file of weights"),
        (["none", "--dataset", "fake"], "only for a file of weights, which none is not"),
        (["{run}", "--batch-size", "5"], "--batch-size: only for a file of weights"),
        (["{weights}", "--against", "{run}"], "--against: only for runs"),
        (["{weights}", "{run}"], "expected one FILE, or runs only"),
        (["{run}", "{run}", "--against", "{run}"], "--against: expected one run"),
        (["{run}", "--option", "x"], "--option x: expected KEY=VALUE"),
    ],
)
def test_bad_input(done, arguments, message):
    (spec, _) = done.specs("kd")
    names = {"run": spec.id, "weights": spec.directory(done.runs) / "weights.safetensors"}
    said = evaluate(done, *(argument.format(**names) for argument in arguments))
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert message in said.err


def test_an_unfinished_run(done):
    (spec, _) = done.specs("kd")
    (spec.directory(done.runs) / records.RESULT).unlink()
    assert "has no result yet: it is not finished" in evaluate(done, spec.id).err


def test_a_method_that_is_not_known_here(done):
    (spec, _) = done.specs("kd")
    forget(done.runs)
    path = spec.directory(done.runs) / records.RESULT
    path.write_text(path.read_text().replace('"method": "kd"', '"method": "mine"'))
    said = evaluate(done, spec.id)
    assert (said.code, said.err.count("\n")) == (2, 1) and "unknown method 'mine'" in said.err


# ---- tables --------------------------------------------------------------------------------------


def test_a_table_of_measures(done):
    said = done.call("table", "--measures", "nll,agreement")
    assert said.code == 0
    assert "negative log-likelihood (nats); lower is better" in said.out
    found = [predictions.read_measures(s.directory(done.runs)).nll for s in done.specs("kd")]
    cell = f"{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}"
    assert re.search(rf"\| KD +\| +{cell} \|", said.out)
    assert re.search(r"\| Student alone +\| +n/a \|", said.out)
    main, _, _ = done.call("table").out.partition("### Differences")
    assert said.out.startswith(main)
    assert "SE, images" in said.out  # which images each run got right is known now, too
    forget(done.runs)
    assert re.search(r"\| KD +\| +– \|", done.call("table", "--measures", "nll").out)


def test_an_unknown_measure(done):
    said = done.call("table", "--measures", "nll,eec")
    assert said.code == 2
    assert said.err.startswith("error: --measures: unknown measure 'eec': did you mean ece")


def test_a_board_may_carry_them(done, tmp_path):
    lines = []
    for directory, record in records.scan(done.runs):
        found = predictions.read_measures(directory)
        whole = record.model_copy(update={"measures": found})
        lines.append(whole.model_dump_json(exclude_unset=True))
    board = tmp_path / "board.jsonl"
    board.write_text("\n".join(lines) + "\n")
    asked = ("table", str(done.matrix), "--measures", "ece,kl", "--data", str(done.folder / "data"))
    assert (
        cli.call(*asked, "--runs", str(board)).out == cli.call(*asked, "--runs", str(done.runs)).out
    )


def test_a_stored_spec_of_todays_code_is_read_back(done):
    (spec, _) = done.specs("kd")
    record = records.read(spec.directory(done.runs))
    assert RunSpec.model_validate(record.spec) == spec
