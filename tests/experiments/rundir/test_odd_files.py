"""A run's directory in which anything may lie: what is no claim, spec or log says nothing."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from experiments.cluster import submitted
from experiments.errors import InputError
from experiments.rundir import claims, processes, start_log, stored_spec
from experiments.rundir.status import State, read_status
from experiments.worker.job import Job
from tests.experiments import cli

STRAYS = ["claim-0001x", "claim-", "claim-0x", "claim-1e5", "claim-²", "claim-" + "9" * 30]


@pytest.mark.parametrize("name", STRAYS)
def test_a_stray_name_is_no_claim(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert claims.newest(tmp_path) is None
    claim = claims.take(tmp_path)
    assert claim is not None and claim.path.name == "claim-0001"


@pytest.mark.parametrize(
    "text",
    ["[]", "", "{", "[" * 5000, '{"pid": "x"}', '{"slurm": 3}', '{"slurm": {"job": 1}}', "\ufeff{}"]
    + [json.dumps({"host": processes.host(), "pid": pid}) for pid in (10**30, -1, None, "x", True)],
)
def test_an_odd_claim_holds_until_it_is_stale(tmp_path: Path, text: str) -> None:
    path = tmp_path / "claim-0001"
    path.write_text(text)
    assert claims.is_alive(path)
    assert claims.job_of(path) is None
    assert claims.take(tmp_path) is None
    past = time.time() - claims.STALE_SECONDS - 60
    os.utime(path, (past, past))
    assert not claims.is_alive(path)


def test_a_claim_that_leads_to_itself_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "claim-0001").symlink_to(tmp_path / "claim-0001")
    assert claims.is_alive(tmp_path / "claim-0001")


@pytest.mark.parametrize(
    "text",
    [
        "a: 2001-99-99",
        "a: 2001-01-01",
        "a: &a [x]\nb: [*a, *a]",
        "a: &a [*a]",
        "a: !!bool x",
        "a: !!python/object:os.system x",
        "? [a]\n: 1",
        "[" * 2000,
        "- a",
        "",
        "a: !!binary aGk=",
    ],
)
def test_what_no_run_has_written_is_no_spec(text: str) -> None:
    assert stored_spec.parsed(text) is None


def test_a_spec_is_read(tmp_path: Path) -> None:
    spec = cli.expansion().runs[0]
    (tmp_path / stored_spec.FILE).write_text(spec.as_yaml())
    text = stored_spec.text(tmp_path)
    assert text is not None and stored_spec.parsed(text) == spec.dump()


def test_a_result_that_links_to_nothing(tmp_path: Path) -> None:
    spec = cli.expansion().runs[0]
    directory = spec.directory(tmp_path)
    directory.mkdir(parents=True)
    (directory / "result.json").symlink_to("nowhere")
    found = read_status(spec, tmp_path)
    assert found.state == State.TODO
    assert found.problem == f"{directory / 'result.json'}: is a link to nothing"


@pytest.mark.parametrize("name", ["result.json", "spec.yaml", "error.txt", "starts.json"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "bytes"])
def test_a_state_is_always_known(tmp_path: Path, name: str, kind: str) -> None:
    spec = cli.expansion().runs[0]
    directory = spec.directory(tmp_path)
    directory.mkdir(parents=True)
    path = directory / name
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"\xff\xfe[[")
    found = read_status(spec, tmp_path)
    assert found.state == (State.FAILED if name == "error.txt" else State.TODO)
    assert bool(found.problem) == (name == "result.json")
    assert start_log.read(directory) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": 3},
        {"tasks": [[1]]},
        {"time": "x"},
        {"time": None},
        {"job": 7},
        {"name": []},
        {"code": 3},
        {"minutes": "5"},
        {"odd": 1},
    ],
)
def test_a_submitted_array_of_other_types_is_left_out(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    folder = tmp_path / submitted.FOLDER / "kd-x"
    folder.mkdir(parents=True)
    plain = {"name": "kd-x", "matrix": "m", "user": "me", "time": 1.0, "tasks": [["a"]]}
    (folder / submitted.ENTRY).write_text(json.dumps(plain))
    assert [array.tasks for array in submitted.load(tmp_path)] == [(("a",),)]
    (folder / submitted.ENTRY).write_text(json.dumps({**plain, **changes}))
    assert submitted.load(tmp_path) == []


@pytest.mark.parametrize("number", ["", "1x", "²", "9" * 30])
def test_a_folder_without_a_task_is_refused(
    tmp_path: Path, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", number)
    called = cli.call("work", str(tmp_path))
    assert called.code == 2 and "SLURM_ARRAY_TASK_ID is " in called.err
    assert called.err.count("\n") == 1


@pytest.mark.parametrize("text", ["", "{}", "[" * 5000, "3", '{"specs": []}', '{"odd": 1}'])
def test_what_is_no_job_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(InputError, match=r"job\.json: no job: ") as raised:
        Job.read(tmp_path / "job.json")
    assert "\n" not in str(raised.value)
