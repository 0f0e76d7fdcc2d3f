"""Rows of other people's finished runs: which join, under which label, and what is left out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import distillers
from experiments.commands import reference
from experiments.commands.reference import Joined, Source
from experiments.matrix.expansion import Expansion, Facts
from experiments.rundir.status import State, Status
from results.cells import Cell
from results.leaderboard import leaderboard
from results.records import RecordError
from results.schema import Record
from tests.experiments import cli
from tests.results.example import document
from tests.results.test_gathering import finish

FACTS = Facts(teacher_sha256={"resnet14": "a" * 64, "resnet20": "b" * 64})
PAIRS = ["resnet14 -> resnet8", "resnet20 -> resnet8"]
FIRST, SECOND = "resnet14 → resnet8", "resnet20 → resnet8"


def made(facts: Facts = FACTS, **changes: Any) -> Expansion:
    """Runs with given teachers; a teacher's file decides, not its name or where it is."""
    pairs = changes.setdefault("pairs", PAIRS)
    given = {pair.partition(" -> ")[0]: {"file": "x.pth"} for pair in pairs}
    return cli.expansion(facts, teachers=given, **changes)


def record(spec, /, top1: float = 70.0, **changes: Any) -> Record:
    used = spec.teacher and {"name": spec.teacher.name, "sha256": spec.teacher.sha256}
    content = {"spec": spec.dump(), "teacher": used, "run": spec.id, **changes}
    return Record.model_validate(document(top1, **content))


def source(expansion: Expansion, name: str = "theirs", **changes: Any) -> Source:
    """A reference with all runs of an expansion, at 70 + trial."""
    found = {spec.id: record(spec, 70.0 + spec.trial, **changes) for spec in expansion.runs}
    return Source(Path(f"boards/{name}"), name, tuple(found.values()))


def statuses_of(expansion: Expansion, done: Iterable[str] = (), state: str = State.TODO):
    """Mine: the methods in ``done`` are finished at 60 + trial."""
    return {
        spec.id: Status(spec, State.DONE, record=record(spec, 60.0 + spec.trial))
        if spec.method in done
        else Status(spec, state)
        for spec in expansion.runs
    }


def join(mine: Expansion, *sources: Source, done: Iterable[str] = ("vanilla", "kd"), **more: str):
    statuses = statuses_of(mine, done, **more)
    cells = [
        Cell(
            entry.pair.replace("->", "→"),
            entry.label,
            entry.spec.trial,
            statuses[entry.spec.id].record,
            state=statuses[entry.spec.id].state,
        )
        for entry in mine.entries
    ]
    return reference.join(mine.entries, cells, statuses, sources)


def rows(joined: Joined) -> dict[str, list[float | None]]:
    """Label -> top-1 of its cells."""
    found: dict[str, list[float | None]] = {}
    for cell in joined.cells:
        found.setdefault(cell.method, []).append(cell.record.top1 if cell.record else None)
    return found


def left_out(joined: Joined) -> list[str]:
    return [note for note in joined.notes if note.startswith("left out")]


MINE = made(methods=["vanilla", "kd"])


# ---- what joins ----------------------------------------------------------------------------------


def test_other_methods_become_rows_paired_by_trial():
    joined = join(MINE, source(made(methods=["at", "fitnet"])))
    assert rows(joined) == {
        "Student alone": [60, 61, 60, 61],
        "KD": [60, 61, 60, 61],
        "AT [theirs]": [70, 71, 70, 71],
        "FitNet [theirs]": [70, 71, 70, 71],
    }
    places = [(c.pair, c.trial) for c in joined.cells if c.method == "AT [theirs]"]
    assert places == [(FIRST, 0), (FIRST, 1), (SECOND, 0), (SECOND, 1)]
    (caption,) = joined.notes
    assert caption.startswith("[theirs]: finished runs of boards/theirs with the same data")
    assert "paired by trial: equal initial weights and batches" in caption


def test_rows_are_used_like_others():
    joined = join(MINE, source(made(methods=["at"])))
    board = leaderboard(joined.cells, {}, dataset="fake", baseline="Student alone")
    assert board.average("AT [theirs]") == 70.5
    assert board.delta("AT [theirs]") == 10


def test_a_student_alone_joins_by_student_and_may_be_the_baseline():
    mine = made(methods=["kd"])
    joined = join(mine, source(made(methods=["vanilla"])))
    assert rows(joined)["Student alone [theirs]"] == [70, 71, 70, 71]
    assert joined.baseline == "Student alone [theirs]"
    assert join(MINE, source(made(methods=["at"]))).baseline is None


def test_a_row_that_lacks_a_trial_or_a_pair_is_incomplete():
    """Its missing trials are missing, so that it is in no average."""
    joined = join(MINE, source(made(methods=["at"], trials=1, pairs=PAIRS[:1])))
    assert rows(joined)["AT [theirs]"] == [70, None, None, None]
    board = leaderboard(joined.cells, {}, dataset="fake", baseline="Student alone")
    assert str(board.average("AT [theirs]")) == "nan"
    (row,) = board.frame[
        (board.frame.method == "AT [theirs]") & (board.frame.pair == FIRST)
    ].to_dict("records")
    assert (row["n"], row["expected"], row["complete"]) == (1, 2, False)


def test_an_older_record_without_keys_at_their_default_joins():
    theirs = made(methods=["at"])
    specs = []
    for spec in theirs.runs:
        stored = spec.dump()
        del stored["recipe"]["ema_decay"], stored["options"]["kd_temperature"], stored["source"]
        specs.append(record(spec, spec=stored))
    joined = join(MINE, Source(Path("old"), "old", tuple(specs)))
    assert list(rows(joined)) == ["Student alone", "KD", "AT [old]"]


def test_a_trained_teacher_is_known_by_its_weights():
    """The same run may have been trained twice, with other weights."""
    mine = cli.expansion(methods=["kd"])
    statuses = statuses_of(mine, ("vanilla",))
    (teacher,) = mine.teachers
    weights = {"sha256": "c" * 64}
    trained = record(teacher, weights=weights)
    statuses[teacher.id] = Status(teacher, State.DONE, record=trained)
    theirs = cli.expansion(methods=["at"])
    cells = [Cell("p", e.label, e.spec.trial) for e in mine.entries]
    for sha256, fits in (("c" * 64, True), ("d" * 64, False)):
        used = {"name": "resnet14", "sha256": sha256, "run": teacher.id}
        joined = reference.join(mine.entries, cells, statuses, [source(theirs, teacher=used)])
        assert ("AT [theirs]" in rows(joined)) == fits
    assert left_out(joined) == [
        "left out of theirs: 2 runs: weights of teacher resnet14 dddddddd, here cccccccc"
    ]
    untrained = reference.join(
        mine.entries, cells, statuses_of(mine), [source(theirs, teacher=used)]
    )
    assert left_out(untrained)[0].endswith("dddddddd, here unknown: not trained yet")


# ---- labels --------------------------------------------------------------------------------------


def test_options_tell_rows_apart():
    theirs = made(
        methods=[
            "dkd",
            {"name": "dkd", "label": "x", "options": {"beta": 2.0, "alpha": 3}},
            {"name": "gk_dfd", "preset": "signed"},
        ]
    )
    shown = list(rows(join(MINE, source(theirs))))[2:]
    assert shown == [
        "DKD [theirs]",
        "DKD (alpha 3.0, beta 2.0) [theirs]",
        "GK-DFD (signed) [theirs]",
    ]


def test_options_that_differ_between_pairs_only_are_one_row():
    method = {"name": "dkd", "pairs": {PAIRS[0]: {"beta": 2.0}}}
    joined = join(MINE, source(made(methods=[method])))
    label = "DKD (options by pair) [theirs]"
    assert rows(joined)[label] == [70, 71, 70, 71]
    assert joined.exceptions == [f"{label}, {FIRST}: beta 2.0", f"{label}, {SECOND}: defaults"]


def test_a_method_that_is_not_known_here_keeps_its_name():
    theirs = source(made(methods=["at"]))
    renamed = [
        record.model_copy(
            update={"spec": {**record.spec, "method": "new", "options": {"ce": 1.0, "x": [2]}}}
        )
        for record in theirs.records
    ]
    joined = join(MINE, Source(theirs.path, "theirs", tuple(renamed)))
    assert "new (x [2]) [theirs]" in rows(joined)


def test_names_of_references_are_as_short_as_they_can_be():
    paths = [Path("/a/x/board.jsonl"), Path("/a/y/board.jsonl"), Path("/a/runs")]
    assert reference._names(paths) == ["x/board.jsonl", "y/board.jsonl", "runs"]


# ---- runs of the table's own ---------------------------------------------------------------------


def test_a_run_of_ones_own_never_counts_twice():
    """Done here: it stays, and an equal copy is not worth a word."""
    copy = Source(
        Path("copy"), "copy", tuple(s.record for s in statuses_of(MINE, ("vanilla", "kd")).values())
    )
    joined = join(MINE, copy)
    assert rows(joined) == {"Student alone": [60, 61, 60, 61], "KD": [60, 61, 60, 61]}
    assert joined.notes == []


def test_another_result_of_a_run_of_ones_own_is_left_out_by_name():
    joined = join(MINE, source(made(methods=["kd"])))
    assert rows(joined)["KD"] == [60, 61, 60, 61]
    assert left_out(joined) == [
        "left out of theirs: 4 runs: done here, too, with another accuracy.last.top1"
    ]


def test_a_missing_run_of_ones_own_is_taken_from_the_reference():
    joined = join(MINE, source(made(methods=["kd"])), done=("vanilla",))
    assert rows(joined) == {"Student alone": [60, 61, 60, 61], "KD": [70, 71, 70, 71]}
    assert joined.notes == ["4 runs of rows without mark are taken from theirs: KD (4)"]
    assert joined.teachers == {}  # these records do not say how good their teachers are


def test_a_run_that_fills_two_pairs_is_one_run():
    joined = join(MINE, source(made(methods=["vanilla"])), done=("kd",))
    assert rows(joined)["Student alone"] == [70, 71, 70, 71]
    assert joined.notes == ["2 runs of rows without mark are taken from theirs: Student alone (2)"]


@pytest.mark.parametrize("state", [State.FAILED, State.STALE])
def test_a_failed_or_stale_run_stays_one(state):
    joined = join(MINE, source(made(methods=["kd"])), done=("vanilla",), state=state)
    assert rows(joined)["KD"] == [None] * 4
    assert {c.state for c in joined.cells if c.method == "KD"} == {state}
    assert left_out(joined) == [f"left out of theirs: 4 runs: kd of that trial is {state} here"]


def test_a_second_run_of_one_trial_is_left_out():
    """Another id, but the same in all that counts: its teacher may be a file in one of them."""
    theirs = source(made(methods=["at"]))
    first = theirs.records[0]
    again = first.model_copy(update={"run": "0123456789"})
    joined = join(MINE, Source(theirs.path, "theirs", (*theirs.records, again)))
    assert rows(joined)["AT [theirs]"] == [70, 71, 70, 71]
    assert left_out(joined) == ["left out of theirs: 1 run: a second run of a trial that is shown"]


def test_a_teacher_that_only_the_reference_measured():
    used = {"name": "resnet14", "sha256": "a" * 64, "accuracy": 75.5}
    theirs = source(made(methods=["at"], pairs=PAIRS[:1]), teacher=used)
    joined = join(MINE, theirs)
    assert [joined.teachers[FIRST].accuracies, list(joined.teachers)] == [(75.5,), [FIRST]]


# ---- what is left out ----------------------------------------------------------------------------

OTHER = Facts(teacher_sha256={**FACTS.teacher_sha256, "resnet20": "c" * 64})


@pytest.mark.parametrize(
    ("theirs", "reasons"),
    [
        (made(recipe__epochs=3), ["4 runs: recipe.epochs 3, here 2"]),
        (made(recipe__precision="bf16"), ["4 runs: recipe.precision bf16, here fp32"]),
        (made(recipe__channels_last=True), ["4 runs: recipe.channels_last true, here false"]),
        (made(dataset__subset=32), ["4 runs: dataset.subset 32, here none"]),
        (made(dataset__train_size=32), ["4 runs: dataset.options.train_size 32, here 64"]),
        (made(dataset={"name": "digits"}), ["4 runs: dataset digits, here fake"]),
        (made(FACTS, trials=3), ["2 runs: trial 2, here 0, 1"]),
        (made(OTHER), ["2 runs: weights of teacher resnet20 cccccccc, here bbbbbbbb"]),
        (
            made(pairs=["resnet14 -> resnet20", "resnet14 -> resnet8"]),
            ["2 runs: student resnet20, in no pair here"],
        ),
        (
            made(Facts(teacher_sha256={"vgg8": "d"}), pairs=["vgg8 -> resnet8"]),
            ["2 runs: teacher vgg8, of no run of resnet8 here"],
        ),
        (made(Facts(FACTS.teacher_sha256, content="e" * 64)), ["4 runs: dataset.content "]),
    ],
)  # fmt: skip
def test_another_protocol_is_left_out_by_its_first_difference(theirs, reasons):
    at = [entry for entry in theirs.entries if entry.spec.method == "fitnet"]
    joined = join(MINE, source(Expansion(tuple(at), ())))
    found = left_out(joined)
    assert len(found) == len(reasons)
    for note, reason in zip(found, reasons, strict=True):
        assert note.startswith(f"left out of theirs: {reason}")


def test_runs_of_both_kinds_are_counted_by_reason():
    theirs = made(methods=["at"]), made(methods=["fitnet"], recipe__epochs=3, trials=1)
    runs = Expansion(tuple(e for one in theirs for e in one.entries), ())
    joined = join(MINE, source(runs))
    assert list(rows(joined)) == ["Student alone", "KD", "AT [theirs]"]
    assert left_out(joined) == ["left out of theirs: 2 runs: recipe.epochs 3, here 2"]


def test_many_reasons_are_summed_up():
    runs = [e for n in range(3, 18) for e in made(recipe__epochs=n, methods=["at"]).entries]
    notes = left_out(join(MINE, source(Expansion(tuple(runs), ()))))
    assert len(notes) == 11
    assert notes[-1] == "left out of theirs: 20 runs for 5 other reasons"


def test_another_version_or_other_code_of_a_method():
    theirs = source(made(methods=["at"]))
    for key, value, reason in (
        ("method_version", 9, f"method_version of at 9, here {distillers.find('at').version}"),
        ("recipe_version", 9, "recipe_version 9, here 1"),
        ("plugins", ["0123456789"], "plugins 0123456789, here none"),
    ):
        changed = [r.model_copy(update={"spec": {**r.spec, key: value}}) for r in theirs.records]
        joined = join(MINE, Source(theirs.path, "theirs", tuple(changed)))
        assert left_out(joined) == [f"left out of theirs: 4 runs: {reason}"]


def test_a_teachers_own_run_is_no_row_and_not_missed():
    mine = cli.expansion(methods=["kd"])
    theirs = cli.expansion(methods=["at"])
    assert theirs.teachers
    joined = join(mine, source(theirs, teacher=None), done=())
    assert not any("student resnet14" in note for note in joined.notes)


# ---- the command ---------------------------------------------------------------------------------


def test_the_table_shows_them(tmp_path):
    mine = cli.write(tmp_path, methods=["vanilla"], pairs=["resnet14 -> resnet8"])
    for spec in cli.expansion(methods=["vanilla"]).runs:
        finish(spec, tmp_path / "runs", 60)
    theirs = [e.spec for e in cli.expansion(methods=["tf_nkd", "vanilla"]).entries]
    for spec in [*theirs, *(e.spec for e in cli.expansion(recipe__epochs=3).entries)]:
        finish(spec, tmp_path / "ref", 71)
    called = cli.command("table", mine, "--reference", str(tmp_path / "ref"), "--device", "cpu")
    assert called.code == 0, called.err
    lines = called.out.splitlines()
    row = next(line for line in lines if line.startswith("| tf-NKD"))
    assert [cell.strip() for cell in row.split("|")[1:4]] == [
        "tf-NKD \\[ref]", "**71.00 ± 0.00**", "+11.00",
    ]  # fmt: skip
    assert "- left out of ref: 6 runs: recipe.epochs 3, here 2" in lines
    assert "- left out of ref: 2 runs: done here, too, with another accuracy.last.top1" in lines
    assert any(line.startswith("- \\[ref]: finished runs of ") for line in lines)


def test_two_references_with_different_results_are_refused(tmp_path):
    mine = cli.write(tmp_path)
    spec = cli.expansion(methods=["vanilla"]).entries[0].spec
    for number, name in enumerate("ab"):
        finish(spec, tmp_path / name, 70 + number)
    called = cli.command("table", mine, "--reference", str(tmp_path / "a"), str(tmp_path / "b"))
    assert (called.code, called.err.count("\n")) == (2, 1)
    assert "differ in accuracy.last.top1: 70 and 71" in called.err
    with pytest.raises(RecordError):
        reference.read([tmp_path / "a", tmp_path / "b"])


def test_a_reference_that_is_none(tmp_path):
    mine = cli.write(tmp_path)
    called = cli.command("table", mine, "--reference", str(tmp_path / "none"))
    assert (called.code, called.err.count("\n")) == (2, 1)
    assert "--reference " in called.err and "no such file or directory" in called.err
    (tmp_path / "ref").mkdir()
    called = cli.command("table", mine, "--reference", str(tmp_path / "ref"))
    assert (called.code, called.err) == (
        2,
        f"error: --reference {tmp_path}/ref: no finished run there\n",
    )
    called = cli.command("table", mine, "--transfer", "x", "--reference", str(tmp_path / "ref"))
    assert called.code == 2


def test_last_and_best_epochs_do_not_mix(tmp_path):
    """A reference's best epoch is its best, beside the best epochs of the table's own."""
    joined = join(MINE, source(made(methods=["at"])))
    board = leaderboard(joined.cells, {}, dataset="fake")
    theirs = board.frame[board.frame.method == "AT [theirs]"]
    assert (theirs["best_mean"] - theirs["mean"]).tolist() == [0.25, 0.25]
