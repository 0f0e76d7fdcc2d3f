"""Finished runs of several places: each once, and none that is not finished."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from experiments.rundir.layout import CHECKPOINT, ERROR
from results import board_file, caveats, gathering, predictions_beside, records
from results.records import RecordError
from results.schema import Record
from tests.experiments.cli import expansion
from tests.results.example import document

WEIGHTS = {"file": "weights.safetensors", "sha256": "aa" * 32}


def finish(spec, /, runs: Path, top1: float = 70.5, **changes: Any) -> Path:
    """A finished run's directory with a made-up record."""
    directory = spec.directory(runs)
    directory.mkdir(parents=True)
    content = document(top1, run=spec.id, **{"spec": spec.dump(), "weights": WEIGHTS, **changes})
    records.publish(directory, Record.model_validate(content))
    (directory / "spec.yaml").write_text(spec.as_yaml())
    return directory


@pytest.fixture
def specs():
    return [entry.spec for entry in expansion(methods=["kd", "at"], trials=2).entries]


@pytest.fixture
def two(tmp_path, specs) -> tuple[Path, Path]:
    """Two runs directories that share one run, of which the second is a copy."""
    here, there = tmp_path / "here", tmp_path / "there"
    for spec in specs[:3]:
        finish(spec, here)
    shutil.copytree(specs[2].directory(here), specs[2].directory(there))
    finish(specs[3], there)
    return here, there


def board_of(*paths: Path, to: Path) -> Path:
    board_file.write(to, gathering.lines(gathering.gather(paths).runs.values()))
    return to


# ---- each once -----------------------------------------------------------------------------------


def test_a_copied_run_counts_once(two, specs):
    gathered = gathering.gather(two)
    assert set(gathered.runs) == {spec.id for spec in specs}
    assert [(p.finished, p.again) for p in gathered.places] == [(3, 0), (2, 1)]


def test_the_order_of_places_changes_nothing(two, tmp_path):
    a = board_of(*two, to=tmp_path / "a.jsonl").read_bytes()
    b = board_of(*reversed(two), to=tmp_path / "b.jsonl").read_bytes()
    assert a == b
    both = board_of(tmp_path / "a.jsonl", *two, tmp_path / "b.jsonl", to=tmp_path / "c.jsonl")
    assert both.read_bytes() == a


def test_a_board_can_be_written_over_itself(two, tmp_path):
    board = board_of(two[0], to=tmp_path / "a.jsonl")
    board_of(board, two[1], to=board)
    assert len(board_file.read(board)) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"top1": 70.6}, "accuracy.last.top1: 70.5 and 70.6"),
        ({"weights": {"sha256": "bb" * 32}}, "weights.sha256: aaaaaaaaaa… and bbbbbbbbbb…"),
        ({"teacher": {"name": "resnet14", "sha256": "b"}}, "teacher.sha256: a and b"),
        ({"data": {"sha256": "e5"}}, "data.sha256: d4 and e5"),
    ],
)
def test_another_result_of_a_run_is_an_error(tmp_path, specs, changes, said):
    teacher = {"name": "resnet14", "sha256": "a"}
    finish(specs[0], tmp_path / "here", teacher=teacher)
    finish(specs[0], tmp_path / "there", **{"teacher": teacher, **changes})
    with pytest.raises(RecordError) as caught:
        gathering.gather([tmp_path / "here", tmp_path / "there"])
    places = [specs[0].directory(tmp_path / name) / records.RESULT for name in ("here", "there")]
    assert str(caught.value) == (f"run {specs[0].id}: {places[0]} and {places[1]} differ in {said}")


def test_a_spec_of_the_same_id_that_differs_is_an_error_too(tmp_path, specs):
    other = {**specs[0].dump(), "student": "resnet20"}
    finish(specs[0], tmp_path / "here")
    finish(specs[0], tmp_path / "there", spec=other)
    with pytest.raises(RecordError, match=r"spec\.student: resnet8 and resnet20"):
        gathering.gather([tmp_path / "here", tmp_path / "there"])


def test_more_conflicts_are_counted(tmp_path, specs):
    for spec in specs:
        finish(spec, tmp_path / "here")
        finish(spec, tmp_path / "there", 71)
    with pytest.raises(RecordError, match=r"70\.5 and 71.* \(and 3 more runs differ\)$"):
        gathering.gather([tmp_path / "here", tmp_path / "there"])


def test_what_says_nothing_about_the_result_may_differ(tmp_path, specs):
    """Seconds, starts, and keys that another version's spec does not have."""
    lacking = {k: v for k, v in specs[0].dump().items() if k != "source"}
    started = {"time": "2025-01-01T00:00:00+00:00", "device": "cpu"}
    finish(specs[0], tmp_path / "here")
    finish(specs[0], tmp_path / "there", seconds=1.0, starts=[started], spec=lacking)
    for paths in (("here", "there"), ("there", "here")):
        (one,) = gathering.gather([tmp_path / path for path in paths]).runs.values()
        assert one.record.starts[0].device == "cpu"  # it was started first


def test_the_copy_with_measures_stays(two, specs, tmp_path):
    shared = specs[2]
    path = shared.directory(two[1]) / board_file.MEASURES
    path.write_text(json.dumps({"run": shared.id, "nll": 1.5}))
    for places in (two, two[::-1]):
        assert gathering.gather(places).runs[shared.id].measured
    board = board_of(two[0], two[1], to=tmp_path / "a.jsonl")
    assert gathering.gather([two[0], board]).runs[shared.id].file == board
    assert '"measures":{"run"' in board.read_text()


def with_history(*paths: Path, to: Path) -> Path:
    board_file.write(to, gathering.lines(gathering.gather(paths).runs.values(), history=True))
    return to


def test_histories_are_kept_on_request_and_dropped_without(two, specs, tmp_path):
    for number, spec in enumerate(specs):
        runs = two[number == 3]
        (spec.directory(runs) / board_file.HISTORY).write_text(f"epoch\n{number}\n")
    plain = board_of(*two, to=tmp_path / "plain.jsonl").read_bytes()
    board = with_history(*two, to=tmp_path / "a.jsonl")
    found = {spec.id: f"epoch\n{number}\n" for number, spec in enumerate(specs)}
    assert board_file.histories(board) == found
    assert board_file.read(board) == board_file.read(tmp_path / "plain.jsonl")
    again = with_history(tmp_path / "plain.jsonl", board, to=tmp_path / "b.jsonl")
    assert again.read_bytes() == board.read_bytes()  # the lines with a history win
    assert board_of(board, to=tmp_path / "c.jsonl").read_bytes() == plain


def test_measures_count_more_than_a_history(two, specs, tmp_path):
    shared = specs[2]
    (shared.directory(two[0]) / board_file.HISTORY).write_text("epoch\n1\n")
    for places in (two, two[::-1]):
        assert gathering.gather(places).runs[shared.id].file.is_relative_to(two[0])
    (shared.directory(two[1]) / board_file.MEASURES).write_text(json.dumps({"run": shared.id}))
    for places in (two, two[::-1]):
        assert gathering.gather(places).runs[shared.id].file.is_relative_to(two[1])


def test_the_same_line_twice_on_one_board_is_an_error(two, tmp_path):
    board = board_of(two[0], to=tmp_path / "a.jsonl")
    board.write_bytes(board.read_bytes() * 2)
    with pytest.raises(RecordError, match=r"a\.jsonl:4: run \w+ is in an earlier line"):
        gathering.gather([board])


# ---- only what is finished -----------------------------------------------------------------------


def test_unfinished_failed_broken_and_set_aside_runs_do_not_count(tmp_path, specs):
    """A result with NaN as its accuracy is a broken one."""
    runs = tmp_path / "runs"
    done, failed, begun, broken = (spec.directory(runs) for spec in specs)
    finish(specs[0], runs)
    shutil.copytree(done, done.with_name(f"{done.name}.stale-1"))
    for directory in (failed, begun, broken):
        directory.mkdir(parents=True)
        (directory / "spec.yaml").write_text("")
    (failed / ERROR).write_text("Diverged")
    (begun / CHECKPOINT).write_text("")
    nan = json.dumps(document(float("nan"), run=specs[3].id, spec=specs[3].dump()))
    (broken / records.RESULT).write_text(nan)
    gathered = gathering.gather([runs])
    assert list(gathered.runs) == [specs[0].id]
    (place,) = gathered.places
    assert (place.finished, place.unfinished, place.again) == (1, 3, 0)


def test_what_is_not_asked_for_is_counted(two, specs):
    gathered = gathering.gather(two, lambda record: record.spec["method"] == "kd")
    assert set(gathered.runs) == {spec.id for spec in specs if spec.method == "kd"}
    assert [(p.finished, p.unwanted) for p in gathered.places] == [(2, 1), (0, 2)]


# ---- predictions ---------------------------------------------------------------------------------


def test_predictions_travel_with_their_board(two, specs, tmp_path):
    data = {spec.id: spec.id.encode() for spec in specs[:2]}
    for spec in specs[:2]:
        (spec.directory(two[0]) / predictions_beside.PREDICTIONS).write_bytes(data[spec.id])
    runs = list(gathering.gather(two).runs.values())
    board, again = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for target in (board, again):
        assert predictions_beside.copy(runs, target) == 2
        board_file.write(target, gathering.lines(runs))
        runs = list(gathering.gather([board]).runs.values())
        found = {
            path.stem: path.read_bytes() for path in target.with_suffix(".predictions").iterdir()
        }
        assert found == data
    assert predictions_beside.copy(runs, board) == 2  # onto themselves


def test_predictions_that_were_not_measured_are_refused(two, specs, tmp_path):
    directory = specs[0].directory(two[0])
    (directory / predictions_beside.PREDICTIONS).write_bytes(b"others")
    measures = {"run": specs[0].id, "predictions": {"sha256": "00" * 32}}
    (directory / board_file.MEASURES).write_text(json.dumps(measures))
    runs = list(gathering.gather(two).runs.values())
    with pytest.raises(RecordError, match=r"predictions\.safetensors: sha256 is .* of 0000000000…"):
        predictions_beside.copy(runs, tmp_path / "a.jsonl")


# ---- mixtures ------------------------------------------------------------------------------------


def made(run: str, device: str, precision: str, weights: str) -> Record:
    start = {**document(1)["starts"][0], "device": device}
    teacher = {"name": "resnet14", "run": "t", "sha256": weights}
    spec = {"recipe": {"precision": precision, "tf32": precision == "bf16"}}
    return Record.model_validate(document(70, run=run, starts=[start], teacher=teacher, spec=spec))


def test_mixtures_of_a_collection():
    same = [("kd", made("a", "A100", "fp32", "w1")), ("at", made("b", "A100", "fp32", "w1"))]
    assert caveats.of_a_collection(same) == []
    other = [*same, ("dkd", made("c", "H100", "bf16", "w2"))]
    assert caveats.of_a_collection(other) == [
        "mixed devices: A100 (2 runs), H100 (1 run of dkd)",
        "mixed numerics: fp32 (2 runs), bf16, tf32 (1 run of dkd)",
        "mixed weights of teacher t: w1 (2 runs), w2 (1 run of dkd)",
    ]
