"""The published results as data: whole, joined with sources, recipes and names, never averaged."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

import distillers
from results import published_rows
from results.published_rows import PublishedError

ROWS = published_rows.all_rows()


def test_every_row_is_there_once():
    keys = Counter((r.source, r.dataset, r.teacher, r.student, r.method, r.metric) for r in ROWS)
    assert len(ROWS) == 2509 and max(keys.values()) == 1
    assert Counter(row.metric for row in ROWS) == {"top1": 2477, "top5": 32}
    assert sum(row.std is not None for row in ROWS) == 405


def test_numbers_are_in_range():
    assert all(10 < row.value < 100 for row in ROWS)
    assert all(row.std is None or 0 < row.std < 2 for row in ROWS)
    assert {row.n for row in ROWS} == {None, 1, 2, 3, 5}
    assert {row.epoch for row in ROWS} == {"last", "best", "unknown"}


def test_reprints_are_equal_to_their_originals():
    reprints = [row for row in ROWS if row.reprint_of]
    assert len(reprints) == 337 and {row.reprint_of for row in reprints} == {"tian2020crd"}
    originals = published_rows.rows("tian2020crd")
    for row in reprints:
        first = published_rows.pick(originals, row.dataset, row.teacher, row.student, row.method)
        assert first is not None and first.value == row.value, row


def test_every_source_and_recipe_has_an_entry():
    assert {row.source for row in ROWS} == set(published_rows.sources())
    assert {row.recipe for row in ROWS} - {""} == set(published_rows.recipes())
    known = published_rows.sources().values()
    assert len(known) == 37 and all(source.title and source.trials for source in known)
    assert {s.teachers for s in known} <= {"", *published_rows.sources()}
    assert all(source.epoch in ("last", "best", "unknown") for source in known)


def test_sources_that_pick_the_best_epoch_are_known():
    """As published_sources says: mdistiller and its heirs, not RepDistiller."""
    best = {key for key, source in published_rows.sources().items() if source.epoch == "best"}
    assert {"zhao2022dkd", "sun2024lskd", "sun2024lskd_log", "wei2024sdd", "zhao2023dot"} <= best
    assert not {"tian2020crd", "zheng2024wttm"} & best
    assert {row.epoch for row in published_rows.rows("zhao2022dkd", "cifar100")} == {"best"}
    assert {row.epoch for row in published_rows.rows("tian2020crd")} == {"last"}


def test_reprints_are_left_out_unless_asked_for():
    own = published_rows.rows("zhao2022dkd", "cifar100")
    every = published_rows.rows("zhao2022dkd", "cifar100", reprints=True)
    assert {row.method for row in own} == {"dkd"} and len(own) == 11
    assert {row.method for row in every} == {"kd", "dkd"} and len(every) == 22


def test_one_cell_of_many_sources_stays_one_number_per_source():
    cell = ("cifar100", "resnet32x4", "resnet8x4", "kd")
    values = {
        key: row.value
        for key in published_rows.sources()
        if (row := published_rows.pick(published_rows.rows(key), *cell))
    }
    assert values["tian2020crd"] == 73.33 and values["chen2022simkd"] == 74.42
    assert len(set(values.values())) > 2 and "zhao2022dkd" not in values


def test_an_unknown_source_is_one_line_with_the_nearest_match():
    with pytest.raises(PublishedError, match=r"^unknown source 'tian2020': did you mean tian2020"):
        published_rows.rows("tian2020")
    with pytest.raises(PublishedError, match=r"'xx': `benchmark.py list published` lists them"):
        published_rows.check(["tian2020crd", "xx"])


# ---- names ---------------------------------------------------------------------------------------


def test_every_published_method_has_an_alias_or_a_reason():
    for source, method in {(row.source, row.method) for row in ROWS}:
        alias = published_rows.method_alias(source, method)
        if alias.ours is None:
            assert alias.reason, method
        else:
            distillers.find(alias.ours)  # raises for an unknown name


def test_names_that_look_alike_stay_apart():
    for method in ("hkd_passalis+kd", "irg_mtk", "tf_kd", "sdd", "hsakd_star", "simkd_f4"):
        assert published_rows.method_alias("", method).ours is None
    assert published_rows.method_alias("zhou2021hkd", "hkd_holistic").ours == "hkd"
    assert published_rows.method_alias("tian2020crd", "student").ours == "vanilla"


def test_a_source_may_use_a_name_in_its_own_way():
    assert published_rows.method_alias("tian2020crd", "kd").protocol == ""
    assert "1:1" in published_rows.method_alias("chen2022simkd", "kd").protocol
    assert "target class" in published_rows.method_alias("wei2024sdd", "nkd").protocol


# ---- teachers and recipes ------------------------------------------------------------------------


def test_a_source_without_teachers_uses_those_whose_weights_it_has():
    (row,) = (r for r in published_rows.rows("zhao2022dkd", "cifar100") if r.student == "wrn_16_2")
    assert published_rows.teacher_accuracy(row) == 75.61
    other = dataclasses.replace(row, source="li2023ctkd")
    assert published_rows.teacher_accuracy(other) is None


def test_small_students_have_their_learning_rate():
    recipe = published_rows.recipes()["crd"]
    assert recipe.lr_of("resnet20") == 0.05
    assert {recipe.lr_of(name) for name in ("mobilenet_v2", "shuffle_v1")} == {0.01}


# ---- as pair means -------------------------------------------------------------------------------


def test_pair_means_are_the_printed_ones():
    frame = published_rows.as_pair_means("tian2020crd", "cifar100")
    assert frame.shape == (13, 14) and "teacher" not in frame
    assert frame.loc["resnet32x4 > resnet8x4", "crd"] == 75.51
    assert frame["crd"].mean() == pytest.approx(73.47, abs=0.005)
    assert frame["fsp"].count() == 6 and frame.drop(columns="fsp").notna().all(axis=None)


def test_pair_means_are_selected_in_the_given_order():
    pairs = ["vgg13 > vgg8", "resnet56 > resnet20"]
    frame = published_rows.as_pair_means("tian2020crd", "cifar100", ["crd", "kd"], pairs)
    assert list(frame.index) == pairs and list(frame) == ["crd", "kd"]
    assert frame.to_numpy().tolist() == [[73.94, 72.98], [71.16, 70.66]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifar10",), "tian2020crd: nothing on data set 'cifar10': it has cifar100"),
        (("cifar100", ["cdr"]), "unknown method 'cdr' on cifar100: did you mean crd"),
        (("cifar100", None, ["vgg13 > vgg9"]), "unknown pair 'vgg13 > vgg9'"),
    ],
)
def test_pair_means_of_what_is_not_there(arguments, message):
    with pytest.raises(PublishedError, match=message):
        published_rows.as_pair_means("tian2020crd", *arguments)


def test_a_learning_rate_that_is_not_stated_is_compared_with_nothing():
    """Papers that do not print one for small students must not be held to 0.05."""
    small = ("mobilenet", "shuffle")
    for source in ("xu2020sskd", "zhou2021hkd", "chen2021semckd", "li2023ctkd"):
        for row in published_rows.rows(source, "cifar100"):
            if row.recipe and row.recipe != "sskd":
                rate = published_rows.recipes()[row.recipe].lr_of(row.student)
                assert rate == (None if row.student.startswith(small) else 0.05), row
