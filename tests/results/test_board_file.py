"""Records of finished runs in one file, and what a matrix is told of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.matrix.run_spec import SourceSpec
from experiments.rundir.status import State, read_statuses
from results import board_file, records
from results.records import RecordError
from results.schema import Record
from tests.experiments import cli
from tests.experiments.cli import expansion
from tests.results.example import document, record


def finish(spec, runs: Path, **changes) -> Path:
    directory = spec.directory(runs)
    directory.mkdir(parents=True)
    stored = {**spec.dump(), **changes}
    records.publish(directory, record(70.5, run=spec.id, spec=stored))
    return directory


def line(run: str) -> str:
    return json.dumps(document(70.0, run=run)) + "\n"


@pytest.fixture
def board(tmp_path) -> Path:
    return tmp_path / "board.jsonl"


def measure(directory: Path, run: str) -> dict[str, object]:
    """Give a finished run measures as long as real ones are short."""
    content: dict[str, object] = {"format": 1, "run": run, "samples": 2, "top1": 50.0, "nll": 0.5}
    content |= {"per_class": [1.0, None], "a": {"b": {}}}
    (directory / board_file.MEASURES).write_text(json.dumps(content, indent=1))
    return content


def test_lines_are_sorted_by_directory_with_trials_as_numbers(tmp_path):
    specs = expansion(methods=["kd", "at"], trials=11).runs
    directories = [finish(spec, tmp_path) for spec in specs]
    places = [board_file.place(records.read(directory)) for directory in directories]
    for spec, place in zip(specs, places, strict=True):
        *cell, trial, run = place
        directory = spec.directory(tmp_path)
        assert (tmp_path / "/".join(cell), f"{int(trial)}-{run}") == (
            directory.parent,
            directory.name,
        )
    found = [place for place in sorted(places) if place[2] != "vanilla"]
    numbers = [(place[2], int(place[3])) for place in found]
    assert numbers == [(method, trial) for method in ("at", "kd") for trial in range(11)]


def test_a_probe_is_sorted_as_its_directory(tmp_path):
    source = SourceSpec(run="a", dataset="c/d", method="kd")
    spec = expansion().runs[0].model_copy(update={"source": source})
    directory = finish(spec, tmp_path)
    place = board_file.place(records.read(directory))
    assert "/".join(place[:3]) == str(directory.parent.relative_to(tmp_path))


def test_nothing_is_lost(tmp_path, board):
    odd = {"future": {"é": [1, 1.0, 1e-08, None]}, "warnings": ["caf\udce9"]}
    directory = tmp_path / "d/p/m/0-x"
    directory.mkdir(parents=True)
    text = json.dumps(document(70, run="x", **odd))
    (directory / records.RESULT).write_text(text)
    board_file.write(board, [board_file.line_of(directory)])
    assert json.dumps(json.loads(board.read_bytes())) == text
    assert board_file.read(board) == {"x": records.read(directory)}


# ---- measures ------------------------------------------------------------------------------------


def test_measures_are_the_last_key_and_read_on_request(tmp_path, board):
    spec = expansion().runs[0]
    directory = finish(spec, tmp_path)
    bare = json.loads(board_file.line_of(directory))
    content = measure(directory, spec.id)
    line = board_file.line_of(directory)
    assert list(json.loads(line).items()) == [*bare.items(), ("measures", content)]
    board_file.write(board, [line])
    assert board_file.read(board) == {spec.id: records.read(directory)}
    (record,) = board_file.read(board, measures=True).values()
    assert json.loads(record.model_dump_json(exclude_unset=True))["measures"] == content


@pytest.mark.parametrize(
    "line",
    [
        '{"measures":{<M>},%s}',  # not the last key
        '{%s, "measures" : {<M> } }',  # with white space
        '{"other":{"measures":{"x":1}},%s,"measures":{<M>,"measures":{"y":2}}}',  # inside others
        '{%s,"warnings":["\\",\\"measures\\":{"],"measures":{<M>}}',  # inside a text
    ],
)
def test_measures_are_found_wherever_they_stand(board, line):
    inside = json.dumps(document(70.0, run="a", warnings=[]), separators=(",", ":"))[1:-1]
    least = '"format":1,"run":"a","samples":2,"top1":50.0'
    board.write_text(line.replace("<M>", least) % inside + "\n")
    whole = json.loads(board.read_text())
    (found,) = board_file.read(board, measures=True).values()
    assert found.model_dump(exclude_unset=True)["measures"] == whole.pop("measures")
    (without,) = board_file.read(board).values()
    assert without == Record.model_validate(whole)
    assert board_file.split(board.read_bytes(), "board") == (without, True, False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "measures.json: not JSON"),
        ("[1]", r"measures.json: expected an object, got \[1\]"),
        ('{"run": "b"}', "measures.json: run: expected a, got 'b'"),
    ],
)
def test_measures_that_are_none_are_named(tmp_path, text, problem):
    (tmp_path / records.RESULT).write_text(json.dumps(document(70.0, run="a")))
    (tmp_path / board_file.MEASURES).write_text(text)
    with pytest.raises(RecordError, match=problem):
        board_file.line_of(tmp_path)


# ---- histories -----------------------------------------------------------------------------------

ODD = 'epoch,"a ""b"",c"\n1,"x,""measures"":{""y"":1}},\\"\n","measures":{"z":1}}\n\\'


def test_a_history_stands_before_the_measures_and_is_read_alone(tmp_path, board):
    one, other = (e.spec for e in expansion(methods=["kd"], trials=2).entries)
    directory, bare = finish(one, tmp_path), finish(other, tmp_path)
    content = measure(directory, one.id)
    for place in (directory, bare):
        (place / board_file.HISTORY).write_bytes(ODD.encode() + b"caf\xe9")
    lines = [board_file.line_of(directory, history=True), board_file.line_of(bare)]
    assert list(json.loads(lines[0]))[-2:] == ["history", "measures"]
    board_file.write(board, lines)
    assert board_file.histories(board) == {one.id: ODD + "caf\udce9"}
    records_there = {spec.id: records.read(spec.directory(tmp_path)) for spec in (one, other)}
    assert board_file.read(board) == records_there
    measured = board_file.read(board, measures=True)[one.id]
    assert json.loads(measured.model_dump_json(exclude_unset=True))["measures"] == content
    assert "history" not in measured.model_dump()
    assert board_file.split(lines[0], "board") == (records_there[one.id], True, True)
    assert board_file.without_history(lines[0]) == board_file.line_of(directory)
    assert board_file.without_history(lines[1]) == lines[1]


@pytest.mark.parametrize(
    "line",
    [
        '{"history":<H>,%s}',  # not where it is written
        '{%s, "history" : <H>, "measures": {<M>} }',  # with white space
        '{%s,"measures":{<M>},"history":<H>}',  # after the measures
        '{%s,"history":<H>,"measures":{<M>}}',
        '{"other":{"x":1,"history":"no"},%s,"history":<H>}',  # inside another object, too
    ],
)
def test_histories_are_found_wherever_they_stand(board, line):
    inside = json.dumps(document(70.0, run="a", warnings=[]), separators=(",", ":"))[1:-1]
    least = '"format":1,"run":"a","samples":2,"top1":50.0'
    board.write_text(line.replace("<M>", least).replace("<H>", json.dumps(ODD)) % inside + "\n")
    whole = json.loads(board.read_text())
    assert board_file.histories(board) == {"a": whole.pop("history")}
    measured = whole.pop("measures", None) is not None
    (without,) = board_file.read(board).values()
    assert without == Record.model_validate(whole)
    assert board_file.split(board.read_bytes(), "board") == (without, measured, True)
    assert "history" not in json.loads(board_file.without_history(board.read_bytes()))


def test_a_history_is_not_kept_with_the_record(tmp_path, board):
    spec = expansion().runs[0]
    directory = finish(spec, tmp_path)
    (directory / board_file.HISTORY).write_text("epoch\n1\n")
    board_file.write(board, [board_file.line_of(directory, history=True)])
    for measures in (False, True):
        (found,) = board_file.read(board, measures=measures).values()
        assert (found.model_extra, "history" in found.model_fields_set) == ({}, False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"run": "a", "history": 3}', "board.jsonl:2: history: expected a text, got 3"),
        ('{"history": ', "board.jsonl:2: not the record of a run: not JSON"),
        ('[1, "history"]', "board.jsonl:2: not the record of a run: expected an object"),
    ],
)
def test_a_history_that_is_none_is_named(board, text, problem):
    board.write_text(line("a") + text)
    with pytest.raises(RecordError, match=problem):
        board_file.histories(board)


def test_equal_parts_are_kept_once(tmp_path, board):
    specs = expansion(methods=["kd"], trials=2).entries
    board_file.write(board, [board_file.line_of(finish(e.spec, tmp_path)) for e in specs])
    first, second = board_file.read(board).values()
    assert first.spec["recipe"] is second.spec["recipe"]
    assert first.model_fields_set is second.model_fields_set
    for found, entry in zip((first, second), specs, strict=True):
        assert found == records.read(entry.spec.directory(tmp_path))


# ---- in place of a directory ---------------------------------------------------------------------


def test_a_board_stands_for_a_directory_of_runs(tmp_path, board):
    found = expansion(methods=["vanilla", "kd"], trials=2)
    done, stale = found.entries[0].spec, found.entries[1].spec
    old = {**stale.recipe.model_dump(mode="json"), "lr": 9.0}
    made = [finish(done, tmp_path / "runs"), finish(stale, tmp_path / "runs", recipe=old)]
    board_file.write(board, map(board_file.line_of, made))
    statuses = read_statuses(found.runs, board)
    assert statuses == read_statuses(found.runs, tmp_path / "runs")
    assert statuses[done.id].state == State.DONE
    assert statuses[stale.id].detail.startswith("recipe.lr was 9.0, is ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"format": 1, "ru', "board.jsonl:2: not the record of a run: not JSON"),
        ("\n", "board.jsonl:2: not the record of a run: not JSON"),
        ('{"format": 1}', "board.jsonl:2: not the record of a run: run: field required"),
        (
            line("a")[:-2] + ',"measures":{"x":1}',
            "board.jsonl:2: not the record of a run: not JSON",
        ),
        (line("a"), "board.jsonl:2: run a is in an earlier line"),
    ],
)
def test_a_wrong_line_is_named(board, text, problem):
    board.write_text(line("a") + text)
    with pytest.raises(RecordError, match=problem):
        board_file.read(board)


def test_no_file(board):
    with pytest.raises(RecordError, match=r"board\.jsonl: cannot be read: No such file"):
        board_file.read(board)


@pytest.mark.parametrize("verb", ["status", "table"])
def test_commands_read_a_board(tmp_path, board, verb):
    cli.write(tmp_path)
    board.write_text("")
    flags = ("--device", "cpu", "--runs", str(board))
    called = cli.call(verb, str(tmp_path / "matrix.yaml"), *flags)
    assert called.code == 0, called.err
    board.write_text("{}\n")
    called = cli.call(verb, str(tmp_path / "matrix.yaml"), *flags)
    assert called.code == 2
    assert called.err.startswith(f"error: {board}:1: ") and called.err.count("\n") == 1
