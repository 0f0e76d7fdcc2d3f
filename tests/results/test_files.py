"""Reading what lies under a file's name; and what a record may not be."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from results import files, predictions_beside, records, schema
from results.gathering import Finished
from results.records import RecordError
from results.schema import Record
from tests.results.example import document


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\r\nb\xff")
    assert files.read_bytes(tmp_path / "file") == b"a\r\nb\xff"
    assert files.text(tmp_path / "file", "replace") == "a\nb\ufffd"


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket", "loop", "long"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "result.json"
    bound = socket.socket(socket.AF_UNIX)
    make = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "socket": lambda: bound.bind(str(path)),
        "loop": lambda: path.symlink_to(path),
        "long": lambda: path.write_bytes(b"x" * 11),
    }
    make[kind]()
    with pytest.raises(files.OddFile):
        files.read_bytes(path, most=10)
    bound.close()
    if kind != "long":
        assert records.read(tmp_path) is None
        assert records.problem(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher": True}, "teacher: input should be an object, not True"),
        ({"warnings": 1.0}, "warnings: input should be a valid array, not 1.0"),
        ({"starts": [None]}, "starts.0: input should be an object, not None"),
        ({"accuracy": {"last": {"top1": 1}, "best": "x"}}, "accuracy.best: "),
        ({"schedule": {"views": None}}, "schedule.views: "),
        ({"steps": 10**400}, "steps: input should be less than or equal to"),
        ({"spec": {"recipe": 3}}, "spec.recipe: expected a mapping, not 3"),
        ({"spec": {"recipe": {"epochs": True}}}, "spec.recipe.epochs: expected a whole number"),
        ({"spec": {"recipe": {"precision": 5}}}, "spec.recipe.precision: expected a text"),
        ({"spec": {"dataset": {"x": 1}}}, "spec.dataset.name: missing"),
        ({"spec": {"teacher": {"name": 3}}}, "spec.teacher.name: expected a text, not 3"),
        ({"spec": {"trial": -1}}, "spec.trial: expected a whole number, not -1"),
        ({"spec": {"student": ["a"]}}, "spec.student: expected a text"),
        ({"spec": {"source": {"method": "kd"}}}, "spec.source.dataset: missing"),
    ],
)
def test_a_record_of_another_form_is_none(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    (tmp_path / records.RESULT).write_text(json.dumps(document(70.0, **changes)))
    assert records.read(tmp_path) is None
    assert said in records.problem(tmp_path)


def test_what_old_records_hold_is_read() -> None:
    for spec in (
        {},
        {"dataset": "cifar100"},
        {"dataset": {"name": "a"}, "teacher": None, "new": 1},
    ):
        assert schema.parse(json.dumps(document(70.0, spec=spec)).encode()).spec == spec


def test_a_number_that_no_float_holds_is_null() -> None:
    text = json.dumps(document(70.0, seconds=1.5)).replace("1.5", "1e400")
    assert schema.parse(text.encode()).seconds is None


@pytest.mark.parametrize("depth", [150, 500, 100_000])
def test_a_nested_record_is_refused(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    text = json.dumps(document(70.0, odd="<>")).encode().replace(b'"<>"', nested)
    if depth == 150:
        assert isinstance(schema.parse(text), Record)
    else:
        with pytest.raises(ValueError, match="nested too deeply"):
            schema.parse(text)


@pytest.mark.parametrize("run", ["../../etc/x", "", "..", "a\nb", "x" * 101])
def test_an_id_that_leads_elsewhere_names_no_file(tmp_path: Path, run: str) -> None:
    record = Record.model_validate(document(70.0, run=run))
    board = tmp_path / "a.jsonl"
    with pytest.raises(RecordError, match="expected an id of letters and digits"):
        predictions_beside.copy([Finished(record, board, False, number=1)], board)
    assert list(tmp_path.iterdir()) == []
