"""What was sent to SLURM, as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments import slurm
from experiments.cluster import submitted
from tests.experiments import tiny

KD, AT, CE = (tiny.spec(method) for method in ("kd", "at", "vanilla"))


def new(runs: Path, matrix: str = "some/digits.yaml", **more) -> submitted.SubmittedArray:
    return submitted.new(runs, matrix, [[KD.id, AT.id], [CE.id]], **more)


def write(entry: submitted.SubmittedArray, job: str | None = None) -> submitted.SubmittedArray:
    entry.folder.mkdir(parents=True)
    entry.write()
    return entry.with_job(job) if job else entry


def test_the_token_is_there_before_the_id(tmp_path):
    entry = new(tmp_path)
    assert not (tmp_path / ".slurm").exists()
    write(entry)
    assert submitted.load(tmp_path) == [entry]
    assert entry.job is None
    known = entry.with_job("17")
    assert submitted.load(tmp_path) == [known]
    assert known.job == "17"
    assert [path.name for path in entry.folder.iterdir()] == ["array.json"]


def test_everything_comes_back(tmp_path):
    code = {"commit": "abc", "dirty": True, "changes": "1234"}
    more = {"after": ("12_3",), "minutes": 90, "code": code, "snapshot": "/runs/.slurm/code-1"}
    entry = write(new(tmp_path, **more), "17")
    (found,) = submitted.load(tmp_path)
    assert found == entry
    assert vars(found).items() >= more.items()
    assert found.tasks == ((KD.id, AT.id), (CE.id,))
    assert (found.user, found.matrix) == (slurm.user(), "some/digits.yaml")


@pytest.mark.parametrize(
    ("after", "after_end", "written"),
    [
        ((), (), {"after": None}),
        (("12_3",), (), {"after": "12_3"}),
        (("12_3", "13_0"), (), {"after": ["12_3", "13_0"]}),
        ((), ("12", "13"), {"after": None, "after_end": ["12", "13"]}),
    ],
    ids=range(4),
)
def test_what_it_waits_for_is_written_as_earlier_code_reads_it(tmp_path, after, after_end, written):
    """As far as earlier code could wait: for one task."""
    entry = write(new(tmp_path, after=after, after_end=after_end), "17")
    plain = json.loads((entry.folder / "array.json").read_text())
    assert {key: value for key, value in plain.items() if key.startswith("after")} == written
    assert submitted.load(tmp_path) == [entry]


@pytest.mark.parametrize(("run", "task"), [(KD.id, 0), (AT.id, 0), (CE.id, 1), ("other", None)])
def test_the_task_of_a_run(tmp_path, run, task):
    assert new(tmp_path).task_of(run) == task


def test_the_log_is_where_the_script_writes_it(tmp_path):
    entry = write(new(tmp_path), "17")
    assert entry.log(1) == entry.folder / "17_1_0_log.out"


@pytest.mark.parametrize(
    ("matrix", "stem"),
    [
        ("/a place/my digits (2).yaml", "my-digits--2-"),
        ("digits.yaml", "digits"),
        ("x" * 300, "x" * 40),
        ('../it\'s "quoted".yaml', "it-s--quoted-"),
        ("über.yaml", "über"),
    ],
)
def test_names_are_words_for_slurm(tmp_path, matrix, stem):
    name = new(tmp_path, matrix).name
    assert name[:-9] == f"kd-{stem}"
    assert not set(name) & set(" '\"/%,;$\\")


def test_no_two_arrays_have_one_name(tmp_path):
    assert len({new(tmp_path).name for _ in range(200)}) == 200


def test_oldest_first_whatever_they_are_called(tmp_path):
    for job, age in (("1", 3.0), ("2", 1.0), ("3", 2.0)):
        entry = write(new(tmp_path), job)
        content = json.loads((entry.folder / "array.json").read_text())
        (entry.folder / "array.json").write_text(json.dumps({**content, "time": age}))
    assert [sent.job for sent in submitted.load(tmp_path)] == ["2", "3", "1"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"name": "kd-x", "tas',
        b"[]",
        b"null",
        b"{}",
        b'{"tasks": null}',
        b'{"tasks": [["a"]]}',
        b'{"tasks": [], "name": "x", "matrix": "m", "user": "u", "time": 1, "colour": "red"}',
        b'{"tasks": [], "name": "x", "matrix": "m", "user": "u", "time": "yesterday"}',
        b"\xff\xfe",
    ],
    ids=range(10),
)
def test_what_cannot_be_understood_is_passed_over(tmp_path, content):
    entry = write(new(tmp_path), "17")
    foreign = tmp_path / ".slurm" / "kd-foreign"
    foreign.mkdir()
    (foreign / "array.json").write_bytes(content)
    assert submitted.load(tmp_path) == [entry]


def test_other_things_in_the_folder_are_no_entries(tmp_path):
    entry = write(new(tmp_path), "17")
    for name in ("code-1234567890/experiments", "kd-sent-to-nobody", ".code-draft"):
        (tmp_path / ".slurm" / name).mkdir(parents=True)
    (tmp_path / ".slurm" / "claim-0001").write_text("{}")
    assert submitted.load(tmp_path) == [entry]


def test_nothing_was_sent(tmp_path):
    assert submitted.load(tmp_path / "not there yet") == []
