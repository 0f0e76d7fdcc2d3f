"""`table --pivot` and `--ladder`: what they take from a matrix, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.commands.pivot import families_of
from experiments.plan.plan import prepare
from experiments.plan.workspace import Workspace
from results.pivot import Family, Value
from tests.experiments import cli

SWEEP = {"name": "kd", "label": "T={kd_temperature}", "sweep": {"kd_temperature": [4, 1]}}
ABLATION = {
    "name": "fitnet",
    "ablate": {"weight": [0.0], "recipe.epochs": [2, 3]},
    "pairs": {"resnet20 -> resnet8": {"weight": 7.0}},
}
PAIRS = ["resnet14 -> resnet8", "resnet20 -> resnet8"]


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    return cli.write(tmp_path, methods=["vanilla", SWEEP, ABLATION], pairs=PAIRS)


def families(matrix: Path) -> tuple[Family, ...]:
    here = matrix.parent
    plan = prepare(str(matrix), Workspace(here / "runs", here / "data", "cpu"), strict=False)
    return families_of(plan)


def numbers(family: Family, key: str) -> dict[str, Any]:
    return {row: values[key] for row, values in family.variants.items()}


def test_rows_have_their_own_values_and_the_entrys(matrix: Path) -> None:
    sweep, ablation = families(matrix)
    assert sweep.own == {"kd_temperature": Value("4", 4.0)}
    assert numbers(sweep, "kd_temperature") == {"T=4": Value("4", 4.0), "T=1": Value("1", 1.0)}
    assert numbers(ablation, "recipe.epochs") == {
        "FitNet": Value("2", 2.0),
        "FitNet (weight 0)": Value("2", 2.0),
        "FitNet (recipe.epochs 3)": Value("3", 3.0),
    }


def test_an_own_value_that_differs_between_pairs_is_no_number(matrix: Path) -> None:
    ablation = families(matrix)[1]
    assert ablation.own["weight"] == Value("own")
    assert numbers(ablation, "weight")["FitNet"] == Value("own")
    assert numbers(ablation, "weight")["FitNet (weight 0)"] == Value("0", 0.0)


def test_before_anything_is_trained_a_table_has_dashes(matrix: Path) -> None:
    outcome = cli.command("table", matrix, "--pivot", "weight")
    assert outcome.code == 0, outcome.err
    assert "| weight own |" in outcome.out
    assert "no results of this matrix" in outcome.err
    ladder = cli.command("table", matrix, "--ladder")
    assert "resnet8 by its teachers" in ladder.out
    assert "| resnet14  |" in ladder.out


def test_a_filter_chooses_what_is_pivoted(matrix: Path) -> None:
    outcome = cli.command("table", matrix, "--methods", "T=*", "--pivot", "weight")
    assert "--pivot weight: no sweep: or ablate: varies it" in outcome.err
    assert cli.command("table", matrix, "--methods", "FitNet*", "--pivot", "weight").code == 0


def test_files_are_written_and_checked(matrix: Path) -> None:
    file = matrix.parent / "curve.json"
    flags = ("--pivot", "kd_temperature")
    assert cli.command("table", matrix, *flags, "--output", str(file)).code == 0
    (made,) = json.loads(file.read_text())["pivots"]
    assert (made["family"], made["own"]) == ("T=kd_temperature", ["4"])
    assert cli.command("table", matrix, *flags, "--check", str(file)).code == 0
    file.write_text("{}\n")
    assert cli.command("table", matrix, *flags, "--check", str(file)).code == 1


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--pivot", "kd_temperatur"], "varies it: did you mean kd_temperature?"),
        (["--pivot", "kd_temperature", "weight"], "no sweep: or ablate: varies both of them"),
        (["--pivot", "weight", "weight"], "expected two different options"),
        (["--pivot", "a", "b", "c"], "expected one option, or two"),
        (["--pivot", "weight", "--ladder"], "--pivot: not with --ladder"),
        (["--ladder", "--best"], "--best: not with --ladder"),
        (["--pivot", "weight", "--sort", "average"], "--sort: not with --pivot"),
        (["--pivot", "weight", "--baseline", "kd"], "--baseline: not with --pivot"),
        (["--ladder", "--pairs", "resnet14*"], "--ladder: no student here has two teachers"),
    ],
)
def test_what_cannot_be_is_one_line(matrix: Path, flags: list[str], told: str) -> None:
    outcome = cli.command("table", matrix, *flags)
    assert outcome.code == 2
    assert told in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_without_a_sweep_there_is_nothing_to_pivot(tmp_path: Path) -> None:
    outcome = cli.command("table", cli.write(tmp_path), "--pivot", "kd_temperature")
    assert outcome.code == 2
    assert "no row of this matrix is of a sweep: or ablate:" in outcome.err
