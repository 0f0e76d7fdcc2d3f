"""clean: what can go, and what never does."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import slurm
from experiments.cluster import removal, snapshot, submission, submitted
from experiments.rundir.status import State, count_states
from tests.experiments import cli, sending
from tests.experiments.sending import FIRST, SECOND, TEACHER_TASK, Place, claimed, settings

KEPT = {"spec.yaml", "history.csv", "weights.safetensors", "result.json", "error.txt", "checkpoint"}
KEPT |= {"predictions.safetensors", "measures.json"}


def clutter(directory: Path) -> set[Path]:
    """What crashes and retries leave in a run's directory."""
    directory.mkdir(parents=True, exist_ok=True)
    names = ("error.txt.broken", "result.json.broken-2", ".history.csv.1a2b.tmp")
    for name in names:
        (directory / name).write_text("old")
    return {directory / name for name in names}


def files(place: Place) -> set[Path]:
    claims_of_submit = place.runs / ".slurm"
    return {
        path for path in place.runs.rglob("*") if path.is_file() and path.parent != claims_of_submit
    }


def listed(called: cli.Called) -> set[Path]:
    return {Path(path) for path in re.findall(r"^ *[\d.]+ MB  (/.*)$", called.out, re.MULTILINE)}


def test_nothing_to_remove(fake, done):
    before = cli.listing(done.runs)
    assert done.call("clean", "--yes").out == "nothing to remove\n"
    assert cli.listing(done.runs) == before


def test_what_nobody_needs_is_said_and_removed(fake, done):
    run, other = done.specs("kd")
    directory = run.directory(done.runs)
    left = clutter(directory)
    for name in ("claim-0001", "checkpoint", "starts.json"):  # killed right after publishing
        (directory / name).write_text(json.dumps({"released": True}))
        left.add(directory / name)
    aside = directory.with_name(f"{other.directory(done.runs).name}.stale-1")
    shutil.copytree(other.directory(done.runs), aside)
    before = files(done)
    said = done.call("clean", "--yes")
    assert said.code == 0
    assert listed(said) == {*left, aside}
    assert said.out.endswith(f"removed {len(left) + 1} files and folders\n")
    assert files(done) == {path for path in before - left if aside not in path.parents}
    assert {path.name for path in directory.iterdir()} <= KEPT
    assert count_states(done.plan().statuses().values()) == {State.DONE: 7}


def test_without_a_yes_nothing_is_removed(fake, done, monkeypatch):
    clutter(done.specs("kd")[0].directory(done.runs))
    before = cli.listing(done.runs)
    said = done.call("clean")  # there is no terminal to ask at
    assert said.code == 1
    assert "no terminal to ask at; pass --yes" in said.err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert done.call("clean").code == 1
    assert cli.listing(done.runs) == before


def test_runs_that_are_not_done_keep_what_they_go_on_from(fake, place):
    """And of one that somebody works on nothing is touched."""
    idle, busy = place.specs("vanilla")
    left = {run.id: clutter(place.directory(run)) for run in (idle, busy)}
    for run in (idle, busy):
        for name in KEPT - {"result.json"}:
            (place.directory(run) / name).write_text("text")
    claimed(place.directory(busy))
    before = files(place)
    said = place.call("clean", "--yes")
    assert listed(said) == left[idle.id] == before - files(place)


def test_only_the_named_part_is_looked_at(fake, done):
    for method in ("kd", "fitnet"):
        clutter(done.specs(method)[0].directory(done.runs))
    said = done.call("clean", "--yes", "--methods", "kd")
    assert {path.parents[1].name for path in listed(said)} == {"kd"}


# ---- clean: what was sent ------------------------------------------------------------------------


def test_folders_of_jobs_go_when_the_queue_has_them_no_more(fake, place):
    first, second = sending.send(place)
    assert place.call("clean", "--yes").out == "nothing to remove\n"
    fake.move(SECOND, "CANCELLED")
    assert listed(place.call("clean", "--yes")) == {second.folder}
    assert first.folder.exists() and not second.folder.exists()
    assert place.sent == [first]


def test_one_task_in_the_queue_keeps_the_whole_folder(fake, place):
    first, second = sending.send(place)
    for task in (f"{FIRST}_1", f"{FIRST}_2", SECOND):
        fake.move(task, "TIMEOUT")
    assert listed(place.call("clean", "--yes")) == {second.folder}
    assert first.folder.exists()


@pytest.mark.parametrize("why", ["no answer", "no slurm", "another person's, hidden"])
def test_where_slurm_does_not_say_no_jobs_folder_is_removed(fake, place, monkeypatch, why):
    """A pending job would find nothing to do, and a running one no code."""
    first, second = sending.send(place, settings(snapshot=True))
    if why == "no answer":
        fake.refuse("squeue", "slurm_load_jobs error: Unable to contact slurm controller")
    elif why == "no slurm":
        monkeypatch.setenv("PATH", str(place.folder))
    else:
        fake.set(hidden=[first.user])
        for sent in (first, second):
            replace(sent, user="ada").write()
    said = place.call("clean", "--yes")
    assert said.out == "nothing to remove\n"
    assert first.folder.exists() and second.folder.exists() and Path(str(first.snapshot)).exists()


def test_a_controller_that_is_down_is_asked_once(fake, place):
    """It lets every question wait for many seconds."""
    sending.send(place)
    slurm.config.cache_clear()
    for command in ("scontrol", "squeue", "sacct"):
        fake.refuse(command, "Unable to contact slurm controller")
    before = len(fake.calls())
    said = place.call("clean", "--yes")
    assert said.out == "nothing to remove\n" and "SLURM did not answer" in said.err
    assert len(fake.calls()) == before + 1


def test_folders_of_finished_runs_go_also_where_slurm_does_not_say(fake, done, monkeypatch):
    sent = sent_for_all(done)
    monkeypatch.setenv("PATH", str(done.folder))
    assert listed(done.call("clean", "--yes")) == {sent.folder}


def sent_for_all(done: Place) -> submitted.SubmittedArray:
    """As if an array had made all runs."""
    specs = done.plan().expansion.runs
    entry = submitted.new(done.runs, "matrix.yaml", [[spec.id] for spec in specs])
    entry.folder.mkdir(parents=True)
    return entry.with_job("17")


def test_jobs_of_another_matrix_are_not_ours(fake, place):
    place.write(trials=3)
    sending.send(place)
    for task in (FIRST, SECOND):
        fake.move(task, "CANCELLED")
    place.matrix.rename(place.folder / "another.yaml")
    place.write(trials=2)
    for sent in place.sent:
        replace(sent, matrix=str(place.folder / "another.yaml")).write()
    assert place.call("clean", "--yes").out == "nothing to remove\n"


def test_folders_of_jobs_of_an_edited_matrix_go_and_are_named(fake, place):
    place.write(trials=3)
    first, second = sending.send(place)
    fake.move(str(second.job), "CANCELLED")
    place.write(trials=1)
    assert place.call("clean", "--yes", "--methods", "kd").out == "nothing to remove\n"
    said = place.call("clean", "--yes")
    assert listed(said) == {second.folder}
    assert "1 folder of jobs of runs no longer in the matrix\n" in said.out
    assert first.folder.exists()  # its jobs are in the queue
    fake.move(FIRST, "CANCELLED")
    assert listed(place.call("clean", "--yes")) == {first.folder}


def test_copies_of_the_code_go_with_the_last_job_that_runs_from_them(fake, place):
    first, second = sending.send(place, settings(snapshot=True))
    copy = Path(str(first.snapshot))
    fake.move(SECOND, "CANCELLED")
    assert listed(place.call("clean", "--yes")) == {second.folder}
    assert (copy / "benchmark.py").exists()
    fake.move(FIRST, "CANCELLED")
    assert listed(place.call("clean", "--yes")) == {first.folder, copy}
    assert not copy.exists()


def test_what_a_killed_submit_left_half_made_goes(fake, place):
    folder = place.runs / ".slurm"
    for name in (".code-1234567890-abcd", "kd-matrix-0123abcd"):
        (folder / name).mkdir(parents=True)
    assert listed(place.call("clean", "--yes")) == {
        folder / ".code-1234567890-abcd",
        folder / "kd-matrix-0123abcd",
    }


def test_a_token_that_may_be_on_its_way_stays(fake, place):
    (first, _) = sending.send(place)
    replace(first, job=None).write()
    fake.move(SECOND, "CANCELLED")
    place.call("clean", "--yes")
    assert first.folder.exists()


def test_what_was_needed_again_before_the_yes_stays(fake, place, monkeypatch):
    """Somebody submits while the question stands there."""
    first, _ = sending.send(place, settings(snapshot=True))
    copy = Path(str(first.snapshot))
    for task in (FIRST, SECOND):
        fake.move(task, "CANCELLED")

    def answer(question: str) -> str:
        sending.send(place, settings(snapshot=True))
        return "yes"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", answer)
    said = place.call("clean")
    assert copy in listed(said)
    assert copy.exists()
    assert not first.folder.exists()
    assert said.out.endswith("removed 2 files and folders\n")


def test_clean_waits_for_a_submit_that_is_at_work(fake, place, monkeypatch):
    sending.send(place)
    fake.move(SECOND, "CANCELLED")
    monkeypatch.setattr(submission, "WAIT_SECONDS", -1.0)
    with submission.submit_lock(place.runs, print):
        said = place.call("clean", "--yes")
    assert said.code == 2
    assert re.search(r"another submit \(pid .*\) still holds the lock", said.err)
    assert len(place.sent) == 2
    assert TEACHER_TASK in fake.queue


# ---- clean: what cannot be removed ---------------------------------------------------------------


@pytest.fixture
def refusing(monkeypatch):
    """Call it with a name and an error number: such files cannot be removed any more."""
    refusals: dict[str, int] = {}
    unlink = os.unlink

    def refuse(path, *args, **more):
        number = refusals.get(os.path.basename(path))
        if number:
            raise OSError(number, os.strerror(number), path)
        unlink(path, *args, **more)

    monkeypatch.setattr(os, "unlink", refuse)
    return refusals.__setitem__


def code_copies(place: Place, *names: str) -> list[Path]:
    copies = [place.runs / ".slurm" / f"code-{name}" for name in names]
    for copy in copies:
        (copy / "models" / "deep").mkdir(parents=True)
        for name in ("models/a.py", "models/deep/.nfs0001", "models/deep/b.py"):
            (copy / name).write_text("x")
    return copies


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EBUSY, r"busy \(a process has it open, or it is mounted\)"),
        (errno.EPERM, r"Operation not permitted \(immutable, or another user's\)"),
        (errno.EACCES, r"Permission denied \(no permission to write into its folder\)"),
        (errno.EIO, r"Input/output error$"),
    ],
)
def test_clean_goes_on_past_what_stays_and_names_it(fake, done, refusing, number, words):
    first, second, third = code_copies(done, "aaa", "bbb", "ccc")
    for copy in (second, third):
        (copy / "models/deep/.nfs0001").unlink()
    refusing(".nfs0001", number)
    said = done.call("clean", "--yes")
    assert said.code == 1
    assert said.out.endswith("removed 2 files and folders\n")
    stays = [line for line in said.err.splitlines() if " stays: " in line]
    assert len(stays) == 1
    assert re.search(rf"^{re.escape(str(first))}/models/deep/.nfs0001 stays: .*{words}", stays[0])
    assert [p for p in first.rglob("*") if p.is_file()] == [first / "models/deep/.nfs0001"]
    assert not second.exists() and not third.exists()


def test_a_single_file_that_stays_does_not_keep_the_others(fake, done, refusing):
    directory = done.specs("kd")[0].directory(done.runs)
    left = clutter(directory)
    refusing("error.txt.broken", errno.EPERM)
    said = done.call("clean", "--yes")
    assert (said.code, said.err.count(" stays: ")) == (1, 1)
    assert {path for path in left if path.exists()} == {directory / "error.txt.broken"}


def test_a_link_is_removed_and_not_what_it_points_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("x")
    (tmp_path / "code-link").symlink_to(tmp_path / "kept")
    assert removal.remove(tmp_path / "code-link") == []
    assert removal.remove(tmp_path / "gone") == []
    assert (tmp_path / "kept/file").exists() and not (tmp_path / "code-link").is_symlink()


def test_a_code_copy_that_could_not_be_removed_whole_is_replaced(tmp_path, refusing):
    """An incomplete copy is moved out of the way of a new one, though a file of it is busy."""
    target, _ = snapshot.make(tmp_path, ())
    (target / snapshot.MARKER).unlink()
    (target / ".nfs0001").write_text("x")
    refusing(".nfs0001", errno.EBUSY)
    again, _ = snapshot.make(tmp_path, ())
    assert again == target
    assert (target / snapshot.MARKER).exists() and not (target / ".nfs0001").exists()
    assert [path.name for path in tmp_path.glob(".code-*/*")] == [".nfs0001"]
