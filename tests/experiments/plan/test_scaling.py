"""What grows with the number of runs, counted: nothing is timed here."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

import distillers
from experiments import slurm
from experiments.matrix import run_spec
from experiments.matrix.run_spec import DataSpec, RunSpec
from experiments.rundir import status
from experiments.rundir.status import State, read_status, read_statuses
from results import records
from tests.experiments import cli
from tests.experiments.cli import expansion
from tests.results.example import document

SWEEP = [{"name": "kd", "label": f"{w}", "options": {"ce": w}} for w in (1.0, 0.5)]
METHODS = ["vanilla", "fitnet", "crd+kd", *SWEEP]
VERBS = [["status"], ["table"], ["plan", "--no-timing"], ["submit", "--dry-run", "--no-timing"]]

_opened: list[str] | None = None  # what the audit hook hears while somebody listens


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _opened is not None and event in ("open", "os.listdir", "os.scandir"):
        _opened.append(f"{event} {Path(str(arguments[0])).name}")


sys.addaudithook(_hear)  # there is no way to take one away again


def requests(run: RunSpec, runs: Path) -> list[str]:
    """What is asked of the disk to know a run's state."""
    global _opened
    run.directory(runs)
    _opened = []
    try:
        read_status(run, runs)
        return _opened
    finally:
        _opened = None


@pytest.fixture
def run() -> RunSpec:
    return expansion(methods=["kd"], trials=1).entries[0].spec


@pytest.fixture
def here(run, tmp_path) -> Path:
    """The run's directory, with its spec."""
    directory = run.directory(tmp_path)
    directory.mkdir(parents=True)
    (directory / "spec.yaml").write_text(yaml.safe_dump(run.dump(), sort_keys=False))
    return directory


def finish(directory: Path, run: RunSpec) -> None:
    result = document(70.5, run=run.id, spec=run.dump())
    (directory / records.RESULT).write_text(json.dumps(result))


# ---- the disk ------------------------------------------------------------------------------------


def test_of_a_finished_run_nothing_but_its_result_is_looked_at(run, here, tmp_path):
    finish(here, run)
    (here / "error.txt").write_text("once\n")
    assert requests(run, tmp_path) == ["open result.json"]


def test_of_a_run_that_never_was_two_requests_tell(run, tmp_path):
    assert requests(run, tmp_path) == ["open result.json", f"os.listdir 0-{run.id}"]


def test_of_a_failed_run_only_what_is_there_is_read(run, here, tmp_path):
    (here / "error.txt").write_text("Diverged\n")
    files = ["open spec.yaml", "open error.txt"]
    asked = ["open result.json", f"os.listdir 0-{run.id}", *files]
    assert requests(run, tmp_path) == asked


def test_a_result_that_is_published_meanwhile_is_seen(run, here, tmp_path, monkeypatch):
    look = records.read

    def read_too_early(directory):
        found = look(directory)
        if found is None:
            finish(directory, run)
        return found

    monkeypatch.setattr(records, "read", read_too_early)
    assert read_status(run, tmp_path).state == State.DONE


def test_a_file_that_vanishes_meanwhile_is_no_fault(run, here, tmp_path, monkeypatch):
    monkeypatch.setattr(status.os, "listdir", lambda path: ["error.txt", "spec.yaml"])
    (here / "spec.yaml").unlink()
    found = read_status(run, tmp_path)
    assert (found.state, found.detail) == (State.FAILED, "")


# ---- YAML ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", distillers.names())
def test_the_text_of_a_spec_is_yaml_s(method):
    for found in expansion(methods=[method], trials=2).runs:
        assert found.as_yaml() == yaml.safe_dump(found.dump(), sort_keys=False)


def test_the_text_of_odd_values_is_yaml_s(run):
    odd = {"a": "no", "b": "1e3", "c": [1, [2.5, None]], "d": {}, "e": "two\nlines: é", "f": True}
    found = run.model_copy(update={"options": odd, "dataset": DataSpec(name="x", options=odd)})
    assert found.as_yaml() == yaml.safe_dump(found.dump(), sort_keys=False)


def test_yaml_is_only_read_where_it_is_not_today_s(run, here, tmp_path, monkeypatch):
    read = []
    load = yaml.load
    monkeypatch.setattr(yaml, "load", lambda text, loader: read.append(text) or load(text, loader))
    assert read_status(run, tmp_path).state == State.TODO
    assert read == []
    older = {key: value for key, value in run.dump().items() if key != "plugins"}
    (here / "spec.yaml").write_text(yaml.safe_dump(older))
    assert read_status(run, tmp_path).state == State.TODO
    assert len(read) == 1


# ---- runs ----------------------------------------------------------------------------------------


def test_an_id_is_worked_out_once(tmp_path, monkeypatch):
    asked: Counter[str] = Counter()
    identity = run_spec.identity

    def counted(run):
        asked[str(run)] += 1
        return identity(run)

    monkeypatch.setattr(run_spec, "identity", counted)
    found = expansion(methods=["vanilla", "kd"], trials=3)
    for _ in range(2):
        read_statuses(found.runs, tmp_path)
    assert set(asked.values()) == {1}


def test_a_copy_has_an_identity_of_its_own(run):
    data = run.dataset.model_copy(update={"subset": 32})
    changed = run.model_copy(update={"dataset": data})
    assert changed.id != run.id
    assert changed.id == RunSpec.model_validate(changed.dump()).id
    assert run.model_copy() == run
    assert run.model_copy(deep=True).id == run.id


def test_the_registry_is_asked_per_cell_not_per_trial(monkeypatch):
    def asked(trials: int) -> Counter[str]:
        calls: Counter[str] = Counter()
        for name in ("find", "resolve"):
            original = getattr(distillers, name)

            def counted(*arguments, name=name, original=original, **named):
                calls[name] += 1
                return original(*arguments, **named)

            monkeypatch.setattr(distillers, name, counted)
        expansion(methods=METHODS, trials=trials)
        monkeypatch.undo()
        return calls

    assert asked(trials=2) == asked(trials=20)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_work_grows_like_the_number_of_runs(verb, tmp_path, monkeypatch):
    """From 10 to 20 trials as many function calls are added as from 20 to 30, whatever they take.

    (A loop over all runs for each run shows in this; one inside a library call does not.)
    """
    monkeypatch.setattr(slurm, "is_here", lambda: False)
    calls = []
    for trials in (1, 10, 20, 30):  # the first only fills what is remembered for the process
        cli.write(tmp_path, trials=trials, methods=METHODS)
        calls.append(_calls(verb, tmp_path / "matrix.yaml"))
    _, few, more, most = calls
    assert 0 < most - more <= 1.1 * (more - few)


def _calls(verb: list[str], matrix: Path) -> int:
    count = 0

    def heard(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(heard)
    try:
        called = cli.command(verb[0], matrix, "--device", "cpu", *verb[1:])
    finally:
        sys.setprofile(None)
    assert called.code == 0, called.err
    return count
