"""A matrix of rows with recipes and data of their own: trained, shown, compared with the others."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from experiments.local import queue as local_queue
from experiments.plan.plan import Plan, prepare
from experiments.plan.workspace import Workspace
from results import records
from tests.experiments import cli
from tests.experiments.tiny import assert_same_weights

METHODS = [
    "vanilla",
    "kd",
    {"name": "kd", "label": "T={kd_temperature}", "sweep": {"kd_temperature": [1, 2]}},
    {"name": "kd", "label": "Part", "sweep": {"dataset.subset": [32], "recipe.epochs": [1, 2]}},
    {"name": "kd", "label": "Large", "dataset": {"image_size": 24}},
    {"name": "vanilla", "label": "Longer", "recipe": {"epochs": 3}},
]
PART = "Part (dataset.subset 32, recipe.epochs 1)"
NOTE = (
    "Another recipe or other data, so compared with no row: Part (dataset.subset 32, recipe.epochs "
    "1); Part (dataset.subset 32, recipe.epochs 2); Large (dataset.image_size 24); Longer "
    "(recipe.epochs 3)"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "data").mkdir()  # where what was found out is remembered
    cli.write(folder, methods=METHODS, trials=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_queue, "run", cli.run_inline)
        outcome = cli.command("run", folder / "matrix.yaml", "--workers", "1")
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def swept(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished runs, with the matrix."""
    shutil.copytree(trained, tmp_path / "swept")
    return tmp_path / "swept" / "matrix.yaml"


def planned(matrix: Path, looks: bool = False) -> Plan:
    here = matrix.parent
    workspace = Workspace(here / "runs", here / "data", "cpu")
    return prepare(str(matrix), workspace, strict=False, looks=looks)


def row(text: str, label: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {label} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_run_has_its_own_recipe_and_data(trained: Path) -> None:
    found = {e.label: e.spec for e in planned(trained / "matrix.yaml").expansion.entries}
    data: dict[str | None, set[str]] = defaultdict(set)
    for label, spec in found.items():
        record = records.read(spec.directory(trained / "runs"))
        assert record is not None
        assert record.schedule.epochs == {PART: 1, "Longer": 3}.get(label, 2)
        data[record.data.sha256].add(label)
    assert sorted(map(len, data.values())) == [1, 2, 5]  # larger images, a part of them, all


def test_a_row_is_what_the_same_matrix_written_by_hand_trains(trained, tmp_path, inline) -> None:
    by_hand = cli.write(
        tmp_path,
        methods=["kd"],
        trials=1,
        dataset__subset=32,
        recipe__epochs=1,
        teachers={"resnet14": {"file": "teacher.safetensors"}},
    )
    plan = planned(trained / "matrix.yaml")
    (teacher,) = plan.expansion.teachers
    weights = teacher.directory(trained / "runs") / "weights.safetensors"
    (tmp_path / "data").mkdir()
    shutil.copy(weights, tmp_path / "data" / "teacher.safetensors")
    assert cli.command("run", by_hand, "--workers", "1").code == 0
    own = next(e.spec for e in plan.expansion.entries if e.label == PART)
    (other,) = planned(by_hand).expansion.entries
    from safetensors.torch import load_file

    places = (own.directory(trained / "runs"), other.spec.directory(tmp_path / "runs"))
    assert_same_weights(*(load_file(place / "weights.safetensors") for place in places))


def test_rows_of_another_protocol_are_named_and_not_compared(swept: Path) -> None:
    text = cli.command("table", swept, "--no-cost").out
    assert f"- {NOTE}" in text
    assert "- Exception: T=1: kd_temperature 1" in text
    assert "mixed data" not in text
    header = row(text, "Method")
    delta, verdict = header.index("Δ"), header.index("Verdict")
    for label in (PART, "Large", "Longer"):
        assert (row(text, label)[delta], row(text, label)[verdict]) == ("", "–")
    assert row(text, "T=1")[verdict] not in ("", "–")
    assert "for all 3 comparisons together" in text  # KD, and KD at two temperatures


def test_they_are_no_baseline(swept: Path) -> None:
    refused = cli.command("table", swept, "--baseline", "Longer")
    assert refused.code == 2
    assert "--baseline Longer: Longer has recipe.epochs 3: expected the table's own" in refused.err


def test_a_table_of_such_rows_alone_says_the_same(swept: Path) -> None:
    text = cli.command("table", swept, "--methods", "Part", "Longer", "--no-cost").out
    assert "Δ" not in text.splitlines()[2]
    assert row(text, "Longer")[1]


def test_looking_remembers_rows_and_families(swept: Path) -> None:
    first, again = planned(swept, looks=True), planned(swept, looks=True)
    assert again.code is not None  # it came from memory
    assert again.expansion == first.expansion
    assert again.expansion.entries[-1].family == ""
    assert {e.values for e in again.expansion.entries if e.family == "Part"} == {
        (("dataset.subset", 32), ("recipe.epochs", epochs)) for epochs in (1, 2)
    }
    outcome = cli.command("status", swept, "--methods", "Part")
    assert "5 runs: 5 done" in outcome.out


def test_a_reference_joins_the_rows_of_the_tables_own_protocol(swept: Path) -> None:
    mine = cli.write(swept.parent / "data", methods=["vanilla", "dkd", METHODS[3]], trials=2)
    runs = swept.parent / "runs"
    places = ("--runs", str(swept.parent / "mine"), "--data", str(swept.parent / "data"))
    text = cli.call("table", str(mine), *places, "--reference", str(runs), "--no-cost").out
    assert "Student alone (2)" in text  # taken from there
    assert "recipe.epochs 3, here 2" in text
    assert "dataset.subset 32, here none" in text


def test_measures_are_of_the_teacher_on_the_same_images(swept: Path) -> None:
    text = cli.command("table", swept, "--measures", "agreement", "--no-cost").out
    measured = text[
        text.index("### Agreement")
        if "### Agreement" in text
        else text.index("agreement with the teacher (%)") :
    ]
    for label in ("KD", PART, "Large"):
        assert row(measured, label)[1][0].isdigit(), measured


def test_evaluate_fills_in_what_a_row_on_other_data_lacks(swept: Path) -> None:
    plan = planned(swept)
    spec = next(e.spec for e in plan.expansion.entries if e.label == PART)
    place = spec.directory(plan.workspace.runs)
    before = (place / "measures.json").read_text()
    for name in ("measures.json", "predictions.safetensors"):
        (place / name).unlink()
    shutil.rmtree(plan.workspace.runs / "fake" / "teachers")
    here = ("--runs", str(plan.workspace.runs), "--data", str(plan.workspace.data))
    outcome = cli.call("evaluate", "--matrix", str(swept), *here, "--device", "cpu")
    assert "1 filled in" in outcome.out, outcome.err
    assert (place / "measures.json").read_text() == before


def test_plan_counts_the_steps_of_each_row(swept: Path) -> None:
    shutil.rmtree(swept.parent / "runs")
    text = cli.command("plan", swept, "--each", "--no-timing").out
    assert "17 runs" in text.splitlines()[0]
    assert text.count("Part (dataset.subset 32, recipe.epochs") == 4  # named, and their costs
    # Two steps an epoch, one of half the images; a teacher, then two trials.
    whole, part, longer = 5 * 2 * 2, (1 + 2) * 1, 3 * 2
    assert f"to do: {2 * 2 + 2 * (whole + part + longer)} steps" in text


def test_students_of_a_sweep_are_probed(swept: Path) -> None:
    target = {"name": "digits"}
    cli.write(swept.parent, methods=METHODS, trials=2, transfer={"datasets": [target]})
    text = cli.command("plan", swept, "--no-timing", "--transfer", "digits").out
    assert "16 runs: 16 to do" in text
    table = cli.command("table", swept, "--transfer", "digits").out
    assert f"- {NOTE}" in table


def test_a_pivot_has_the_numbers_of_the_table(swept: Path) -> None:
    table = cli.command("table", swept, "--no-cost").out
    text = cli.command("table", swept, "--pivot", "kd_temperature").out
    for value in (1, 2):
        assert row(text, f"kd_temperature {value}")[1] == row(table, f"T={value}")[1]
    assert "No row has the own values of T=kd_temperature: kd_temperature 4" in text
    curve = cli.command("table", swept, "--pivot", "recipe.epochs", "--format", "csv").out
    lines = [line.split(",") for line in curve.splitlines()[1:]]
    assert [line[4:7] for line in lines] == [["1", "False", "2"], ["2", "True", "2"]]
    assert cli.command("table", swept, "--pivot", "kd_temperature", "recipe.epochs").code == 2
