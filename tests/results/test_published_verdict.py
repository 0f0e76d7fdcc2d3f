"""Published rows beside made-up cells: protocol first, then noise, and reasons where neither is."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from results import formats, published_rows, published_table
from results.cells import BLOCKED, FAILED, Cell, TeacherScores
from results.leaderboard import Leaderboard, leaderboard
from results.published_comparison import Compared, Comparison, compare
from results.published_verdict import TYPICAL, standard_error, verdict_of
from results.schema import Record
from tests.results.example import document
from tests.results.test_latex import STYLES, compiled, tex  # noqa: F401

PAIR = "resnet56 → resnet20"  # tian2020crd: KD 70.66 (n = 5, no std), teacher 72.34
NAMES = {"kd": "KD", "dkd": "DKD", "vanilla": "Student alone", "wttm": "WTTM", "irg": "IRG"}


def model(published: str, dataset: str) -> str | None:
    """Stands in for the zoo's aliases."""
    ours = {"resnet50": "ResNet50", "mobilenet_v2": "MobileNetV2"}
    return (
        None
        if published.startswith(("irg_", "mobilenet_v2_s1"))
        else ours.get(published, published)
    )


def record(top1: float, run: str, best: dict[str, Any] | None = None, **recipe: Any) -> Record:
    made = document(top1, run=run)
    standard = {"epochs": 240, "batch_size": 64, "lr": 0.05, "schedule": "step", "eval_every": 1}
    made["spec"]["recipe"] = {**standard, **recipe}
    made["accuracy"]["best"] = {"top1": top1 + 0.3, "epoch": 200, "split": "test", **(best or {})}
    return Record.model_validate(made)


def cells(
    method: str, scores: list[float | None], pair: str = PAIR, state: str = "", **recipe: Any
) -> list[Cell]:
    """One cell per trial; None is a trial that is not there."""
    teacher, _, student = pair.partition(" → ")
    taught = None if method == "vanilla" else {"name": teacher}
    spec = {"method": method, "student": student, "teacher": taught}
    made = []
    for trial, top1 in enumerate(scores):
        done = None if top1 is None else record(top1, f"{pair}{method}{trial}", **recipe)
        made.append(Cell(pair, NAMES[method], trial, done, state="" if done else state, spec=spec))
    return made


def board(made: list[Cell], teacher: float = 72.34) -> Leaderboard:
    teachers = {pair: TeacherScores("t", (teacher,)) for pair in {cell.pair for cell in made}}
    return leaderboard(made, teachers, dataset="cifar100")


def beside(made: list[Cell], source: str = "tian2020crd", **more: Any) -> Comparison:
    whole = board(made, more.pop("teacher", 72.34))
    return compare(source, "cifar100", whole.frame, whole.cells, model, **more)


def one(made: list[Cell], source: str = "tian2020crd", **more: Any) -> Compared:
    (cell,) = beside(made, source, **more).cells
    return cell


# ---- statistics ----------------------------------------------------------------------------------


def test_welch_is_scipys():
    ours, theirs = [70.1, 70.5, 70.9, 70.4], [70.9, 71.3, 71.0]
    stds = [float(stats.tstd(x)) for x in (theirs, ours)]
    error, critical = standard_error(stds[0], len(theirs), stds[1], len(ours))
    difference = sum(ours) / 4 - sum(theirs) / 3
    expected = stats.ttest_ind(ours, theirs, equal_var=False)
    assert difference / error == pytest.approx(expected.statistic, rel=1e-12)
    interval = expected.confidence_interval(0.95)
    assert difference - critical * error == pytest.approx(interval.low, rel=1e-10)


def test_what_is_not_measured_is_assumed():
    error, critical = standard_error(None, 5, float("nan"), 1)
    assert error == pytest.approx((TYPICAL**2 / 5 + TYPICAL**2) ** 0.5)
    assert critical == pytest.approx(1.959964, rel=1e-6)
    assert standard_error(0.2, None, 0.2, 4)[0] == pytest.approx((0.04 + 0.01) ** 0.5)


def test_two_runs_without_spread_that_differ_are_apart():
    error, critical = standard_error(0.0, 3, 0.0, 3)
    assert (
        verdict_of(0.1, error, critical) == "above"
        and verdict_of(0, error, critical)[:6] == "within"
    )


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [([70.6, 70.7, 70.8], "within noise"), ([71.6, 71.7], "above"), ([69.6, 69.7], "below")],
)
def test_a_verdict_within_one_protocol(scores, verdict):
    cell = one(cells("kd", scores))
    assert (cell.verdict, cell.reasons, cell.epoch) == (verdict, (), "last")
    assert cell.difference == pytest.approx(sum(scores) / len(scores) - 70.66)
    assert cell.assumed  # the paper prints no std


# ---- protocol ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ({"epochs": 100}, "longer schedule (theirs 240 epochs, ours 100)"),
        ({"epochs": 300}, "shorter schedule (theirs 240 epochs, ours 300)"),
        ({"batch_size": 128}, "other batch size (theirs 64, ours 128)"),
        ({"lr": 0.1}, "other learning rate (theirs 0.05, ours 0.1)"),
        ({"schedule": "cosine"}, "other schedule (theirs step, ours cosine)"),
    ],
)
def test_another_recipe_is_another_protocol(recipe, reason):
    cell = one(cells("kd", [70.66, 70.7], **recipe))
    assert (cell.verdict, cell.reasons) == ("another protocol", (reason,))
    assert cell.difference == pytest.approx(0.02)  # shown, not judged


def test_another_teacher_is_named_with_both_accuracies():
    cell = one(cells("kd", [70.6, 70.7]), teacher=71.59)
    assert cell.verdict == "another protocol"
    assert cell.reasons == ("other teacher (theirs 72.34, ours 71.59)",)
    assert one(cells("kd", [70.6, 70.7]), teacher=71.9).verdict == "within noise"
    assert one(cells("vanilla", [69.0, 69.1]), teacher=71.59).verdict == "within noise"


def test_a_subset_of_the_data_is_another_protocol():
    cell = one(cells("kd", [70.6, 70.7]), other_data=["subset of the training data (ours 9)"])
    assert cell.reasons == ("subset of the training data (ours 9)",)
    assert cell.verdict == "another protocol"


def test_a_small_student_is_held_to_its_own_learning_rate():
    pair = "vgg13 → MobileNetV2"
    made = cells("kd", [67.3, 67.4], pair, lr=0.01)
    assert one(made, teacher=74.64).verdict == "within noise"
    assert one(cells("kd", [67.3, 67.4], pair), teacher=74.64).reasons == (
        "other learning rate (theirs 0.01, ours 0.05)",
    )


def test_best_is_compared_with_best():
    cell = one(cells("dkd", [71.6, 71.7, 71.8]), "zhao2022dkd")  # 71.97; our best is 0.3 above
    assert (cell.epoch, cell.verdict) == ("best", "within noise")
    assert cell.difference == pytest.approx(72.0 - 71.97)


def test_a_best_epoch_that_was_picked_otherwise_is_another_protocol():
    held_out = one(cells("dkd", [71.6, 71.7], best={"split": "validation"}), "zhao2022dkd")
    assert held_out.verdict == "another protocol" and "best epoch" in held_out.reasons[0]
    rare = one(cells("dkd", [71.6, 71.7], eval_every=8), "zhao2022dkd")
    assert rare.reasons == ("best epoch (ours of every 8th)",)
    none = one(cells("dkd", [71.6, 71.7], best={"top1": None}), "zhao2022dkd")
    assert (none.verdict, none.reasons) == (
        "cannot be joined",
        ("our best epoch was not recorded",),
    )


def test_a_sources_own_use_of_a_name_is_another_protocol():
    cell = one(cells("kd", [74.4, 74.5], "resnet32x4 → resnet8x4"), "chen2022simkd", teacher=79.42)
    assert cell.verdict == "another protocol" and "1:1" in cell.reasons[0]


# ---- the join ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (cells("kd", [None, None]), "ours is not trained yet"),
        (cells("kd", [70.6, None]), "ours is incomplete: 1 of 2 trials"),
        (cells("kd", [70.6, None], state=FAILED), "ours is incomplete: of 2 trials 1 failed"),
        (cells("kd", [None], state=BLOCKED), "ours is incomplete: of 1 trials 1 blocked"),
        (cells("wttm", [70.6]), "no such row of theirs"),
        (cells("kd", [70.6], "vgg13 → resnet20"), "no such row of theirs"),
    ],
)
def test_what_cannot_be_joined_says_why(made, reason):
    cell = one(made)
    assert (cell.verdict, cell.reasons) == ("cannot be joined", (reason,))
    assert cell.difference != cell.difference  # NaN


def test_an_impossible_cell_says_why():
    spec = {"method": "kd", "student": "resnet20", "teacher": {"name": "resnet56"}}
    cell = one([Cell(PAIR, "KD", 0, reason="no such layer", spec=spec)])
    assert cell.reasons == ("ours is n/a: no such layer",)


def test_a_reprint_is_no_evidence():
    cell = one(cells("kd", [70.6, 70.7]), "zhao2022dkd")
    assert cell.reasons == ("theirs is a reprint of tian2020crd",) and cell.theirs is None
    compared = beside(cells("kd", [70.6, 70.7]), "zhao2022dkd")
    assert compared.reprints == 11 and len(compared.lacking) == 11  # the rows of DKD


def test_networks_that_only_look_alike_are_not_joined():
    """IRG's ResNet20 is no resnet20, although the same paper's IRG is our method."""
    compared = beside(cells("irg", [70.0], "resnet20 → resnet20"), "liu2019irg")
    assert compared.cells[0].theirs is None


def test_sources_are_compared_one_by_one():
    made = cells("kd", [73.3, 73.4], "resnet32x4 → resnet8x4")
    values = [one(made, source, teacher=79.42).theirs for source in ("tian2020crd", "xu2020sskd")]
    assert values[0] is not None and values[0].value == 73.33
    assert values[1] is None  # a reprint there


# ---- in every format -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shown() -> Leaderboard:
    made = [
        *cells("vanilla", [69.0, 69.1]),
        *cells("kd", [70.6, 70.7]),
        *cells("dkd", [71.6, 71.7]),
        *cells("irg", [70.0, 70.1]),
    ]
    whole = board(made, teacher=71.59)
    sources = ("tian2020crd", "zhao2022dkd")
    compared = [compare(s, "cifar100", whole.frame, whole.cells, model) for s in sources]
    return replace(whole, published=tuple(compared))


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_printed_formats_have_a_table_per_source(shown, form):
    text = formats.to_text(shown, form)
    for expected in ("tian2020crd", "zhao2022dkd", "another protocol", "70.66", "best"):
        assert expected in text
    assert "other teacher (theirs 72.34, ours 71.59)" in text
    assert "published" not in formats.to_text(replace(shown, published=()), form).lower()


# A bare tabular cannot go on to another page.
@pytest.mark.parametrize("style", [s for s in STYLES if not s.only_tabular], ids=lambda s: s.layout)
def test_a_papers_whole_table_fits_the_page(tex, tmp_path, style):  # noqa: F811
    """13 pairs × 14 methods as rows: too many to be scaled down to one page."""
    rows = [row for row in published_rows.rows("tian2020crd") if row.method != "teacher"]
    made = []
    for row in rows:
        spec = {"method": row.method, "student": row.student, "teacher": {"name": row.teacher}}
        spec["method"] = published_rows.method_alias("", row.method).ours
        pair = f"{row.teacher} → {row.student}"
        made.append(Cell(pair, f"{row.method} %_#", 0, record(row.value, str(row)), spec=spec))
    whole = board(made)
    compared = compare("tian2020crd", "cifar100", whole.frame, whole.cells, lambda n, _: n)
    shown = replace(whole, published=(compared,))
    assert len(published_table.tables(shown.published)[0].rows) == 13 * 14 - 7  # without FSP
    assert compiled(tex, tmp_path, formats.to_text(shown, "latex", style=style)) <= 3.0


def test_csv_and_json_have_every_cell(shown):
    rows = list(csv.DictReader(io.StringIO(formats.to_text(shown, "csv"))))
    assert [row["tian2020crd_verdict"] for row in rows] == [
        "within noise", "another protocol", "cannot be joined", "cannot be joined",
    ]  # fmt: skip
    assert [row["tian2020crd_theirs_n"] for row in rows] == ["", "5", "", ""]
    assert rows[1]["tian2020crd_theirs"] == "70.66" and rows[2]["zhao2022dkd_ours_epoch"] == "best"
    content = json.loads(formats.to_text(shown, "json"))["published"]
    assert [entry["source"] for entry in content] == ["tian2020crd", "zhao2022dkd"]
    assert content[0]["rows"][0]["difference"] == pytest.approx(69.05 - 69.06)
    assert content[0]["rows"][2]["difference"] is None


def test_without_sources_csv_and_json_are_as_before(shown):
    plain = replace(shown, published=())
    assert formats.to_text(plain, "csv") == plain.frame.to_csv(index=False, lineterminator="\n")
    assert "published" not in json.loads(formats.to_text(plain, "json"))


def test_notes_say_what_was_assumed_and_what_chance_does(shown):
    crd, dkd = published_table.tables(shown.published)
    text = "\n".join(crd.notes)
    assert "2 cells that both have: 1 within noise, 1 another protocol." in text
    assert (
        "0 of 1 cell under one protocol outside; if nothing differed, about 0.1 would be by" in text
    )
    assert "0.25 points between trials where no spread is known: no std of theirs (2)" in text
    assert "no such row of theirs: DKD (1 cell), IRG (1 cell)" in text
    assert all(row[crd.header.index("SE")].endswith("*") for row in crd.rows)
    assert "Ours (best epoch)" in dkd.header and "Ours (best epoch)" not in crd.header
    assert "picked on the test set" in "\n".join(dkd.notes)


def test_a_measured_spread_is_not_called_assumed():
    compared = beside(cells("wttm", [71.8, 72.0, 71.9]), "zheng2024wttm")
    (cell,) = compared.cells
    assert not cell.assumed and cell.theirs.std is not None
    assert not any("assumed" in note for note in published_table.tables([compared])[0].notes)


def test_what_a_source_does_not_state_is_said():
    made = cells("kd", [72.9, 73.0], "vgg13 → vgg8")
    (table,) = published_table.tables([beside(made, "taid_page")])
    assert (
        "Not stated by the source, so not compared: the teacher's accuracy (1 cell), "
        "the number of epochs (1 cell)."
    ) in table.notes
    assert "Reprinted or re-implemented by others." in table.notes[0]
    (stated,) = published_table.tables([beside(made, teacher=74.64)])
    assert not any("Not stated" in note for note in stated.notes)


def test_a_source_without_a_common_cell_says_so():
    (table,) = published_table.tables([beside(cells("irg", [70.0]))])
    assert (
        table.rows == [] and "Cannot be joined: no pair and method that both have." in table.notes
    )


def test_every_recipe_of_a_row_is_summarized():
    assert all(recipe.summary() for recipe in published_rows.recipes().values())
