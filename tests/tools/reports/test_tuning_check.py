"""Stages, moments and comparisons of tools/reports/tuning_check.py, and its test for leaks."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

import datasets
from experiments.matrix import schema
from experiments.matrix.expand import expand
from experiments.matrix.expansion import Candidate, Choice, Expansion, Facts
from experiments.matrix.schema import Matrix
from tools.reports import tuning_check, tuning_scale
from tools.tuning import (
    by_hand,
    interrupting,
    interrupting_jobs,
    leak,
    leak_numbers,
    shuffled_labels,
)
from tools.tuning.interrupting import Play, stages
from tools.tuning.outcome import Outcome, differences

CONTENT = {
    "dataset": "digits",
    "recipe": {"epochs": 4, "schedule": "cosine"},
    "pairs": ["resnet20 -> resnet14 -> resnet8", "[resnet20, resnet32] -> resnet8"],
    "methods": ["vanilla", "kd", {"name": "dkd", "label": "mine"}],
    "trials": 2,
}


@pytest.fixture
def play(tmp_path):
    source = tmp_path / "x.yaml"
    source.write_text(yaml.safe_dump(CONTENT))
    return Play(source, tmp_path / "runs", tmp_path / "data", random.Random(0))


def of_search():
    """An expansion with a search: another recipe's runs, as if they were configurations."""
    final = expand(Matrix.model_validate({**CONTENT, "pairs": ["resnet20 -> resnet8"]}), Facts())
    other = {
        **CONTENT,
        "pairs": ["resnet20 -> resnet8"],
        "dataset": {"name": "digits", "subset": 99},
    }
    search = expand(Matrix.model_validate(other), Facts())
    tried = [entry for entry in search.entries if entry.label == "KD"]
    candidates = tuple(Candidate(e.spec, e.pair, e.label, i) for i, e in enumerate(tried))
    choice = Choice("0" * 10, "KD", ("x",), ({}, {}), tuple((c.spec.id,) for c in candidates))
    return Expansion(final.entries, (*final.teachers, *search.teachers), candidates, (choice,))


# ---- stages and moments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expansion", "names"),
    [
        (expand(Matrix.model_validate(CONTENT), Facts()), ["teachers", "assistants", "students"]),
        (of_search(), ["teachers of the search", "search", "teachers", "final"]),
    ],
    ids=["chain", "tuned"],
)
def test_every_run_is_of_one_stage(expansion, names):
    found = stages(expansion)
    assert [stage.name for stage in found] == names
    runs = [run for stage in found for run in stage.runs]
    assert sorted(runs) == sorted(spec.id for spec in expansion.runs)
    assert sum(s.epochs for s in found) == sum(spec.recipe.epochs for spec in expansion.runs)
    before: set[str] = set()
    specs = {spec.id: spec for spec in expansion.runs}
    for stage in found:
        assert all(set(specs[run].needs) <= before for run in stage.runs)
        before |= stage.runs


def train(play, stage, epochs):
    run = sorted(stage.runs)[0]
    directory = play.runs / f"digits/a--b/kd/0-{run}"
    directory.mkdir(parents=True, exist_ok=True)
    rows = [f"main,{i},0.1" for i in range(1, epochs + 1)]
    (directory / "history.csv").write_text("\n".join(["stage,epoch,lr", *rows, ""]))


def test_a_moment_is_in_the_middle_of_its_stage(play, monkeypatch):
    monkeypatch.setattr(interrupting, "POLL", 0)
    monkeypatch.setattr(interrupting, "LATER", 0)
    first, last = play.stages[0], play.stages[-1]
    assert play.progress(first) == 0
    train(play, first, 4)
    assert play.progress(first) == 4 / first.epochs
    assert play.progress(last) == 0
    moments = {last.name: 0.3}
    looks = []

    def is_alive():
        looks.append(play.progress(last))
        train(play, last, len(looks))
        return True

    assert play.next(moments, is_alive) == last
    assert 0.3 <= play.progress(last) < 0.3 + 2 / last.epochs
    assert (moments, play.missed) == ({}, [])
    assert play.stage_of("made later") == "students"


def test_a_stage_that_has_ended_is_missed_and_the_next_is_waited_for(play, monkeypatch):
    monkeypatch.setattr(interrupting, "LATER", 0)
    first, second, last = play.stages
    assert all(0 < moment < 1 for moment in play.draw().values())
    train(play, first, first.epochs)
    train(play, second, second.epochs // 2)
    moments = {stage.name: 0.4 for stage in play.stages}
    assert play.next(moments, lambda: True) == second
    assert play.missed == ["teachers"]
    assert play.next(moments, lambda: False) is None
    assert play.missed == ["teachers", last.name]
    assert moments == {}


def test_every_process_of_a_play_is_killed_and_no_other(play):
    sleeper = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    mine = subprocess.Popen([sys.executable, "-S", "-c", sleeper], env=play.environ)
    other = subprocess.Popen(["sleep", "60"], env={**os.environ, interrupting.MARK: "another"})
    try:
        while (
            len(list(interrupting.dev_cluster.processes({f"{interrupting.MARK}={play.mark}"}))) < 2
        ):
            assert mine.poll() is None
        assert interrupting.kill_all(play.mark) >= 2
        assert mine.wait(10) == -9
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_the_stages_of_a_job_are_those_of_its_runs(play):
    folder = play.runs / ".slurm/kd-x-1"
    folder.mkdir(parents=True)
    ids = [min(play.stages[1].runs), "a choice"]
    (folder / "task-3.json").write_text(json.dumps({"ids": ids}))
    cluster = interrupting_jobs.DevCluster(play.runs, 1)
    task = interrupting_jobs.Task("7", "3", "8", "RUNNING", "kd-x-1", "n1", "")
    assert interrupting_jobs.OnCluster(play, cluster)._stages(task) == {"assistants", "students"}


# ---- comparisons ---------------------------------------------------------------------------------

ONE = Outcome({"a": {"top1": 1.0}, "b": {"top1": 2.0}}, [{"chosen": 3}])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (ONE, []),
        (replace(ONE, runs={"a": {"top1": 1.0}}), ["1 run lost: b"]),
        (replace(ONE, runs={**ONE.runs, "c": {}}), ["1 run not expected: c"]),
        (replace(ONE, runs={**ONE.runs, "b": {"top1": 2.0000001}}), ["1 run different: b"]),
        (replace(ONE, choices=[{"chosen": 2}]), ["other choices"]),
    ],
)
def test_differences(other, said):
    assert differences(ONE, other) == said


def test_a_row_of_the_report(play):
    play.moments.append("search: SIGKILL to 3 processes at 40 %")
    row = tuning_check.Row("x.yaml", "killed", play, ONE, ["1 run lost: b"], 90)
    assert row.cells == ["x.yaml", "killed", "2", "1", *play.moments, "–", "1 run lost: b", "1.5"]


def test_nothing_to_do_is_bad_input(capsys):
    assert tuning_check.main([]) == 2
    assert "expected matrices" in capsys.readouterr().err


def test_an_entry_is_trained_by_hand_as_it_is_written(play):
    matrix = schema.load(play.source)
    hand = by_hand.ByHand(play, matrix, matrix.pairs[0], play.runs)
    assert hand._method("mine") == {"name": "dkd", "label": "mine"}
    assert hand._method("KD") == "kd"
    assert not by_hand.Finding("x").is_good  # nothing compared is no proof
    assert by_hand.Finding("x", {"a -> b": 1}).is_good
    assert not by_hand.Finding("x", {"a -> b": 1}, ["c"]).is_good


# ---- leaks ---------------------------------------------------------------------------------------


def test_only_the_labels_of_the_test_part_are_shuffled(tmp_path):
    plain = datasets.build("digits", tmp_path)
    with shuffled_labels.shuffling():
        other = datasets.build("digits", tmp_path)
    again = datasets.build("digits", tmp_path)
    one, two, three = (
        torch.cat([batch.labels for batch in d.test_batches(batch_size=99)])
        for d in (plain, other, again)
    )
    assert torch.equal(one, three) and not torch.equal(one, two)
    assert torch.equal(one.bincount(), two.bincount())
    assert torch.equal(plain.info.train_labels, other.info.train_labels)


@pytest.mark.parametrize(
    ("number", "is_hit"),
    [
        ("97.22222222222223", True),
        ("97.2222", True),
        ("0.972222", True),
        ("0.9722", True),
        ("97.2223", False),
        ("97.2122", False),
        ("9.722222e-1", True),
    ],
)
def test_a_written_accuracy_is_found(number, is_hit):
    value = 100 * 350 / 360
    assert leak_numbers.NUMBER.findall(f"x={number},") == [number]
    assert leak_numbers.is_one_of(number, [value]) == is_hit


@pytest.mark.parametrize(
    ("value", "known", "telling"),
    [
        (100 * 350 / 360, (), True),
        (97.5, (), False),  # a number of many things
        (100.0, (), False),
        (100 * 350 / 360, (100 * 350 / 360,), False),
    ],
)
def test_accuracies_that_tell_nothing_are_left_out(value, known, telling):
    assert leak_numbers.is_telling(value, known) == telling


def test_a_leak_in_any_file_is_found(tmp_path):
    (tmp_path / "page.html").write_text("<td>97.22222</td> 1.5")
    (tmp_path / "board.csv").write_text("0.97222222,97.22\n")
    (tmp_path / "clean.txt").write_text("95.138888 in 12.3456 s")
    looked = leak_numbers.Looked()
    leak_numbers._hold(looked, [100 * 350 / 360], sorted(tmp_path.iterdir()), tmp_path)
    assert looked.found == ["board.csv: 0.97222222", "page.html: 97.22222"]
    assert looked.numbers == 4


def result(directory: Path, **more):
    directory.mkdir()
    content = {"accuracy": 1.0, "seconds": 2.0, "starts": [], "data": {"sha256": "x"}, **more}
    (directory / "result.json").write_text(json.dumps(content))
    (directory / "history.csv").write_text("stage,epoch\n")
    return leak.contents(directory)


def test_what_tells_of_the_machine_is_not_compared(tmp_path):
    one = result(tmp_path / "a")
    assert one == result(tmp_path / "b", seconds=3.0, data={"sha256": "y"})
    assert one != result(tmp_path / "c", accuracy=2.0)


@pytest.mark.parametrize(
    ("changes", "is_good"),
    [({}, True), ({"moved": 0}, False), ({"choices": 0}, False), ({"found": ["t.csv"]}, False)],
)
def test_without_a_control_nothing_is_proven(changes, is_good):
    finding = leak.Finding("x", runs=8, choices=2, tuned=4, moved=4)
    assert replace(finding, **changes).is_good == is_good


# ---- scale ---------------------------------------------------------------------------------------


def test_the_large_tuning_has_its_size():
    content = tuning_scale.matrix(20, 40)
    assert len(set(content["methods"])) == 20 and len(set(content["pairs"])) == 13
    assert content["tune"]["configs"] == 40


def test_all_choices_are_near_and_none_is_made():
    expansion = of_search()
    kinds = tuning_scale._kinds(expansion)
    first, last = (candidate.spec.id for candidate in expansion.candidates)
    assert (kinds[first], kinds[last]) == ("done", "untouched")
    assert {kinds[spec.id] for spec in expansion.teachers} == {"done"}
    assert {kinds[entry.spec.id] for entry in expansion.entries} == {"untouched"}
