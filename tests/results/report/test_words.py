"""What a page says in sentences."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from results.report import run_facts, words
from results.report.board import Board
from tests.results.report import content as made

CONTENT = made.content()


def test_the_conclusions_are_counted() -> None:
    verdicts = CONTENT.board.verdicts
    assert words.answer(verdicts, ["KD"]) == (
        "4 of 4 methods are above Student alone. With 95 % confidence, the best is KD."
    )
    assert words.answer(verdicts, ["KD", "AT", "DKD"]).endswith("the best is KD, AT or DKD.")
    assert words.answer(verdicts, [str(i) for i in range(7)]).endswith(
        "7 cannot be told apart from the best."
    )
    assert words.answer(made.content(trials=1).board.verdicts, []) == ""


def test_what_is_left_is_the_time_of_the_missing_epochs() -> None:
    done, *others = (run for run in CONTENT.runs if run.record and run.pair == made.PAIRS[0])
    assert done.record and done.record.seconds == 3000
    half = replace(others[0], record=None, state="running", epoch=1, epochs=3)
    never = replace(half, state="n/a")
    assert words.left([done, half, never]) == "33 minutes"
    assert words.left([done, *[half] * 100]) == "2 days"
    assert words.left([done]) == words.left([half]) == ""


@pytest.mark.parametrize("label", [made.EVIL, "it's", "KD"])
def test_commands_can_be_pasted(label: str) -> None:
    line = words.command("python benchmark.py run x.yaml", pairs="a → b", methods=label, trials=0)
    flags = ["--pairs", "a -> b", "--methods", label, "--trials", "0"]
    assert shlex.split(line)[4:] == flags
    assert words.command("", methods=label) == ""


# ---- a run beside the baseline's -----------------------------------------------------------------


def test_a_run_is_compared_with_the_baseline_of_its_trial() -> None:
    board = Board(CONTENT)
    kd = next(run for run in CONTENT.runs if run.label == "KD" and run.trial == 2)
    beside = board.run(kd)["beside"]
    assert (beside["run"].label, beside["run"].trial, beside["run"].pair) == (
        "Student alone", 2, kd.pair,
    )  # fmt: skip
    assert beside["differences"] == []
    assert board.run(beside["run"])["beside"] is None
    failed = next(run for run in CONTENT.runs if run.state == "failed")
    assert board.run(failed)["beside"] is None


def test_what_differs_is_named_but_for_the_method() -> None:
    here = replace(CONTENT.runs[0], spec={"method": "kd", "recipe": {"lr": 0.1}, "trial": 0})
    there = replace(here, spec={"method": "at", "recipe": {"lr": 0.2, "tf32": True}}, starts=())
    known = [run_facts.conditions(run, dict(words.flat(run.spec))) for run in (here, there)]
    found = run_facts.differences(*known)
    assert found[0] == ("recipe.lr", "0.1", "0.2")
    names = [name for name, *_ in found]
    assert {"device", "code", "version of torch", "recipe.tf32"} <= set(names)
    assert not {"method", "trial"} & set(names)


def test_a_finished_run_is_repeated_elsewhere_and_a_missing_one_here() -> None:
    board = Board(replace(CONTENT, train="run m.yaml --runs here", again="run m.yaml --runs again"))
    done = next(run for run in CONTENT.runs if run.label == "DKD")
    failed = next(run for run in CONTENT.runs if run.state == "failed")
    teacher = next(run for run in CONTENT.runs if run.label == "Teacher")
    assert " --runs again --pairs " in board.run(done)["command"]
    assert " --runs here --pairs " in board.run(failed)["command"]
    assert board.run(teacher)["command"] == ""
