"""The throughput report: from hand-made times, and from one step of the smallest nets."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch

import datasets
from experiments.errors import InputError
from experiments.matrix.recipe import Recipe
from tools.reports import cost
from tools.reports.step_timing import (
    FORMATS,
    METHODS,
    Measured,
    Pair,
    Setting,
    measure,
    measure_pair,
)

STREAMS = ("plain", "balanced")
TINY = ["--data", "nowhere", "--images", "96", "--batch-size", "8", "--device", "cpu"]
ONCE = ["--warmup", "1", "--steps", "1", "--repeats", "1"]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    data = datasets.build("fake", train_size=32, test_size=4, image_size=16, batch_size=8)
    return Setting(
        data,
        torch.device("cpu"),
        Recipe(batch_size=8),
        warmup=1,
        steps=2,
        repeats=3,
        scratch=tmp_path_factory.mktemp("scratch"),
    )


@pytest.fixture
def measured():
    """Nine runs of batch 8; the median repeat is the second."""
    times = {"cohort": [0.8, 0.9, 1.1], "metrics": [0.001] * 3}
    times |= {f"alone {method}": [0.1, 0.2, 0.3] for method in METHODS}
    times |= {"bare students": [0.72, 0.72, 0.72], "bare teacher": [0.08, 0.08, 0.08]}
    times |= {f"{part} {name}": [0.01] * 3 for part in ("teacher", "batch") for name in STREAMS}
    times |= {f"step {method}": [0.09] * 3 for method in METHODS} | {"step crd": [0.12] * 3}
    formats = {f"{what} {name}": [0.2] for what in ("student", "teacher") for name in FORMATS}
    formats |= {"student contiguous": [0.3], "cohort channels_last": [0.9]}
    return Measured(Pair("resnet14", "resnet8"), formats, times, "channels_last")


def cells(text, label):
    """The cells of the table row that begins with ``label``."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {label} "))
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_rates_and_ratios_are_those_of_the_medians(setting, measured):
    text = cost.report([measured], setting, "tools/reports/cost.py")
    single, cohort, bare, gain, over, layout = cells(text, "resnet14 -> resnet8")
    assert (single, cohort) == ("40 (27–80)", "80 (65–90)")  # 72 images in 1.8 s and in 0.9 s
    assert bare == "90 (90–90)"
    assert (gain, over, layout) == ("2.00×", "1.125", "channels_last")


def test_the_parts_add_up_to_the_step(setting, measured):
    text = cost.report([measured], setting, "tools/reports/cost.py")
    assert cells(text, "kd") == ["90.00", "+0.00", "10.0%", "200.00"]
    assert cells(text, "crd") == ["120.00", "+30.00", "13.3%", "200.00"]
    assert cells(text, "teacher, once per stream") == ["20.00", "", "2.2%", ""]
    assert cells(text, "making the batches") == ["20.00", "", "2.2%", ""]
    assert cells(text, "rest of the loop") == ["20.00", "", "2.2%", ""]
    assert cells(text, "the cohort") == ["900.00", "", "100.0%", ""]
    assert "bare student's step takes 80.00 ms; vanilla's step through the harness +10.00" in text


def test_what_was_not_measured_is_a_dash(setting, measured):
    text = cost.report([measured], setting, "tools/reports/cost.py")
    assert cells(text, "resnet8, a bare training step") == ["300.00", "200.00", "1.50×"]
    assert cells(text, "the cohort's step") == ["–", "900.00", "–"]


def test_actions_take_turns(setting):
    calls = []
    actions = {name: lambda count, name=name: calls.append((name, count)) for name in "ab"}
    times = measure(actions, setting, setting.repeats)
    assert calls == [("a", 1), ("b", 1)] + 3 * [("a", 2), ("b", 2)]
    assert {name: len(t) for name, t in times.items()} == {"a": 3, "b": 3}


def test_a_run_that_leaves_its_cohort_is_an_error(setting, monkeypatch):
    """… since the others would look fast."""
    monkeypatch.setattr("experiments.train.learner.CHECK_EVERY", 1)
    diverging = dataclasses.replace(setting, recipe=Recipe(batch_size=8, lr=1e30), warmup=3)
    with pytest.raises(InputError, match="trial 0: Diverged: loss not finite"):
        measure_pair(Pair("resnet8", "resnet8"), diverging, ["contiguous"])


def test_one_step_of_the_smallest_nets(tmp_path, capsys):
    file = tmp_path / "new folder" / "cost.md"
    arguments = [*TINY, *ONCE, "--pairs", "resnet14 -> resnet8", "--output", str(file)]
    assert cost.main(arguments) == 0
    text = file.read_text()
    assert text in capsys.readouterr().out
    assert "## Cost of a step of 9 runs, fp32" in text
    total, bare_ms = cells(text, "the cohort")[0], r"bare student's step takes \d+\.\d\d ms"
    assert sum(float(cells(text, method)[0]) for method in METHODS) < 3 * float(total)
    assert re.search(bare_ms, text)
    for fact in ("1 threads", "batch size 8", "seeded noise", "torch", "commit", "1 repeats of 1"):
        assert fact in text
    assert "tools/reports/cost.py --data nowhere" in text
    assert all(float(cells(text, "the cohort's step")[i]) > 0 for i in (0, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "resnet56"], "--pairs 'resnet56': expected TEACHER->STUDENT"),
        (["--pairs", "resnet57->resnet8"], "resnet56"),
        (["--steps", "0"], "--steps 0: expected a number from 1"),
        (["--steps", "99"], "steps asked for, expected less than an epoch's 12"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    once = ONCE if "--steps" not in arguments else [*ONCE[:2], *ONCE[4:]]
    assert cost.main([*TINY, *once, *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ") and message in lines[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_one_line(capsys):
    assert cost.main(["--device", "cuda"]) == 2
    assert capsys.readouterr().err == (
        "error: --device cuda: this machine has no usable CUDA device; try cpu\n"
    )
