"""Finished runs whose weights were purged, cut or overwritten, and what learns from them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.commands.board import board_of
from experiments.plan import weights
from experiments.rundir.layout import weights_of
from experiments.rundir.status import State, Status, count_states
from tests.experiments import cli
from tests.experiments.matrix.test_transfer import BLOCK
from tests.experiments.sending import Place

pytestmark = pytest.mark.usefixtures("inline")


def purge(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILERS = [purge, cut, empty, overwrite, replace_by_folder]


@pytest.fixture
def half(done: Place) -> Place:
    """The teacher is done, and the student alone; of `kd` the first trial."""
    shutil.rmtree(done.specs("kd")[1].directory(done.runs))
    for spec in done.specs("fitnet"):
        shutil.rmtree(spec.directory(done.runs))
    return done


def teacher_weights(place: Place) -> Path:
    return weights_of(place.teacher.directory(place.runs))


def statuses(place: Place) -> dict[str, Status]:
    return place.plan().statuses()


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_damaged_teacher_is_stale_and_its_students_are_blocked(
    half: Place, spoil: Callable[[Path], None]
):
    assert count_states(statuses(half).values()) == {State.DONE: 4, State.TODO: 3}
    path = teacher_weights(half)
    spoil(path)
    found = statuses(half)
    assert count_states(found.values()) == {State.DONE: 3, State.BLOCKED: 3, State.STALE: 1}
    teacher = found[half.teacher.id]
    assert teacher.detail == f"its weights {teacher.damage}" and str(path) in teacher.damage
    assert teacher.record is not None  # its accuracy is known still
    said = {s.detail for s in found.values() if s.state == State.BLOCKED}
    assert said == {f"its teacher's weights {teacher.damage}"}


@pytest.mark.parametrize("verb", ["plan", "status", "submit", "run"])
def test_every_command_says_it(fake, half: Place, verb: str):
    teacher_weights(half).unlink()
    called = half.call(verb, *(["--yes"] if verb == "submit" else []))
    assert called.code == (1 if verb == "run" else 0)
    assert "1 stale" in called.out and "3 blocked" in called.out
    assert "resnet14, vanilla, trial 0: its weights are gone: " in called.err
    assert "(3 blocked)\nto train what is damaged again: python " in called.err
    assert called.err.count("--redo-teacher") == 1
    assert fake.jobs == []


def test_what_nobody_needs_any_more_is_not_looked_at(done: Place, monkeypatch):
    teacher_weights(done).unlink()
    monkeypatch.setattr(weights, "_problem", None)
    assert count_states(statuses(done).values()) == {State.DONE: 7}


def test_a_table_counts_the_result_of_a_damaged_teacher(half: Place):
    """It is a baseline, too."""
    half.write(pairs=["resnet14 -> resnet8", "resnet14 -> resnet14"], methods=["vanilla", "kd"])
    before = rows(half)
    assert len(before) == 2
    teacher_weights(half).unlink()
    assert rows(half) == before


def rows(place: Place) -> dict[str, set[float]]:
    """By pair, the accuracies of the student alone that the table counts."""
    cells = [cell for cell in board_of(place.plan()).cells if cell.method == "Student alone"]
    found: dict[str, set[float]] = {}
    for cell in cells:
        if cell.record is not None:
            found.setdefault(cell.pair, set()).add(cell.record.top1)
    return found


def test_a_file_is_hashed_once(half: Place, monkeypatch):
    read: list[Path] = []
    sha256 = weights.sha256
    monkeypatch.setattr(weights, "sha256", lambda path: read.append(path) or sha256(path))
    (half.folder / "data").mkdir(exist_ok=True)
    for _ in range(3):
        assert statuses(half)[half.teacher.id].state == State.DONE
    assert len(read) <= 1
    overwrite(teacher_weights(half))
    assert statuses(half)[half.teacher.id].state == State.STALE
    assert statuses(half)[half.teacher.id].state == State.STALE
    assert len(read) <= 2


# ---- in one command ------------------------------------------------------------------------------


def test_retry_alone_names_the_flag_and_moves_nothing(half: Place):
    teacher_weights(half).unlink()
    called = half.call("retry")
    assert called.out == "0 runs will be tried again by the next `run` or `submit`\n"
    assert "--redo-teacher" in called.err
    assert statuses(half)[half.teacher.id].state == State.STALE


def test_a_teacher_that_comes_out_as_it_was_keeps_its_students(half: Place):
    before = teacher_weights(half).read_bytes()
    cut(teacher_weights(half))
    called = half.call("retry", "--redo-teacher")
    assert called.code == 0
    assert "resnet14, vanilla, trial 0: set aside as 0-" in called.out
    assert "its 1 finished reader will be stale" in called.out
    assert called.out.endswith("1 run will be tried again by the next `run` or `submit`\n")
    assert count_states(statuses(half).values()) == {State.DONE: 3, State.TODO: 4}
    assert half.call("run", "--workers", "1").code == 0
    assert teacher_weights(half).read_bytes() == before
    assert count_states(statuses(half).values()) == {State.DONE: 7}


def test_other_weights_make_the_finished_students_stale(half: Place):
    result = half.teacher.directory(half.runs) / "result.json"
    record = json.loads(result.read_text())
    half.call("retry")
    purge(teacher_weights(half))
    assert half.call("retry", "--redo-teacher").code == 0
    directory = result.parent
    kept = directory.with_name(f"{directory.name}.stale-1")
    assert (kept / "result.json").exists() and not directory.exists()
    shutil.copytree(kept, directory)  # as if it had been trained, on another device
    overwritten = directory / "weights.safetensors"
    overwritten.write_bytes(b"other")
    record["weights"]["sha256"] = weights.sha256(overwritten)
    result.write_text(json.dumps(record))
    found = statuses(half)[half.specs("kd")[0].id]
    assert found.state == State.STALE
    assert found.detail == "its teacher has been trained again since"


def test_with_nothing_damaged_nothing_is_set_aside(half: Place):
    called = half.call("retry", "--redo-teacher")
    assert called.out.startswith("no weights that unfinished runs need are missing or damaged\n")
    assert count_states(statuses(half).values()) == {State.DONE: 4, State.TODO: 3}


# ---- students that probes read -------------------------------------------------------------------


def test_a_probe_whose_student_is_damaged_is_blocked_until_that_is_trained_again(tmp_path: Path):
    path = cli.write(tmp_path, transfer=BLOCK, methods=["vanilla"], trials=1)
    assert cli.command("run", path).code == 0
    place = Place(tmp_path)
    (student,) = place.specs("vanilla")
    weights_of(student.directory(place.runs)).unlink()
    assert count_states(statuses(place).values()) == {State.DONE: 1}  # nobody learns from it
    probes = ("--transfer", "fake")
    said = cli.command("status", path, *probes)
    assert "blocked: its student's weights are gone: " in " ".join(said.out.split())
    assert "(1 blocked)" in said.err and "--transfer fake --redo-teacher" in said.err
    called = cli.command("retry", path, *probes, "--redo-teacher")
    assert called.out.startswith(f"{student}: set aside as ")
    assert "without --transfer first" in called.out
    assert cli.command("run", path).code == 0
    assert cli.command("run", path, *probes).code == 0
