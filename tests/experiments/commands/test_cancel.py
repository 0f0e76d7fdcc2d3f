"""`cancel` and `status` of what is no longer in the matrix, and `cancel` by id, on a fake SLURM."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from experiments import slurm
from tests.experiments import cli, sending
from tests.experiments.sending import FIRST, SECOND, TEACHER_TASK, Place

DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


@pytest.fixture
def edited(fake, place) -> Place:
    """Sent, and then the methods that need a teacher were taken out of the matrix."""
    sending.send(place)
    fake.move(TEACHER_TASK, "RUNNING", "n1")
    return place.write(methods=["vanilla"])


def last_line(called: cli.Called) -> str:
    return called.out.splitlines()[-1]


REMOVED = [TEACHER_TASK, f"{SECOND}_0", f"{SECOND}_1"]  # nobody needs the teacher any more


def test_status_shows_jobs_of_runs_that_are_no_longer_in_the_matrix(edited):
    line = last_line(edited.call("status"))
    assert line.startswith(
        f"3 jobs of runs no longer in the matrix: 1 RUNNING, 2 PENDING ({', '.join(REMOVED)}); "
        "to cancel: python "
    )
    words = shlex.split(line.partition("to cancel: ")[2])
    assert words[2:4] == ["cancel", str(edited.matrix)] and words[-1] == "--removed"
    assert "no longer in" not in edited.call("status", "--methods", "vanilla").out
    assert "no longer in" not in edited.call("status", "--quiet").out


def test_cancel_names_them_and_removed_reaches_them(fake, edited):
    said = edited.call("cancel", "--yes")
    assert said.out.startswith("not cancelled: 3 jobs of runs no longer in the matrix: ")
    assert set(fake.queue) == set(REMOVED)
    said = edited.call("cancel", "--yes", "--removed")
    assert (said.code, fake.queue) == (0, {})
    assert said.out.startswith(f"3 jobs: {', '.join(REMOVED)}\n")
    assert "their runs are no longer in the matrix; results stay" in said.out
    assert "no longer in the matrix" not in edited.call("status").out
    said = edited.call("cancel", "--yes", "--removed")
    assert said.out == "no job of a run that is no longer in the matrix is in the queue\n"


def test_removed_spares_the_matrix_as_it_is(fake, edited):
    edited.call("cancel", "--yes", "--removed")
    assert set(fake.queue) == set() or set(fake.queue) == {f"{FIRST}_1", f"{FIRST}_2"}
    assert f"{FIRST}_1" in fake.queue


def test_an_edited_option_makes_other_runs(fake, place):
    sending.send(place)
    place.write(recipe__lr=0.2)
    assert "5 jobs of runs no longer in the matrix" in place.call("status").out
    assert "7 runs: 7 to do" in place.call("status").out


def test_a_job_that_some_run_of_the_matrix_needs_is_not_one_of_them(fake, place):
    """Cohorts of two methods, of which one is taken out."""
    sending.send(place)
    place.write(methods=["vanilla", "kd"])
    assert "no longer in the matrix" not in place.call("status").out


def test_probes_of_students_are_of_the_matrix(fake, done):
    """Sent with --transfer: other runs, from the same file."""
    probes = {"datasets": [{"name": "fake", "num_classes": 3, "image_size": 16}]}
    done.write(transfer=probes)
    sent = done.call("submit", "--yes", "--no-timing", "--transfer", "fake")
    assert sent.code == 0, sent.err
    assert fake.queue
    assert "no longer in the matrix" not in done.call("status").out
    done.write(methods=["vanilla"], transfer=probes)
    assert "no longer in the matrix" in done.call("status").out


def test_another_persons_are_shown_and_not_cancelled(fake, edited):
    for sent in edited.sent:
        replace(sent, user="ada").write()
    fake.set(user="ada")
    line = last_line(edited.call("status"))
    assert ", 3 of them are ada's; to cancel" in line
    edited.call("cancel", "--yes", "--removed")
    assert set(REMOVED) <= set(fake.queue)


def test_a_matrix_that_was_renamed_finds_its_jobs_and_names_the_others(fake, edited):
    """By their runs; jobs of runs that were removed, too, are reached by their ids."""
    renamed = edited.folder / "renamed.yaml"
    edited.matrix.rename(renamed)
    said = cli.command("status", renamed)
    assert "2 runs: 2 pending" in said.out
    line = last_line(said)
    assert line.startswith(
        f"3 jobs of a matrix file that is not there any more ({edited.matrix}): 1 RUNNING, "
    )
    assert line.endswith(f" --jobs {FIRST} {SECOND}") is False  # FIRST has jobs of the matrix, too
    assert line.endswith(f" --jobs {' '.join(REMOVED)}")
    said = cli.command("cancel", renamed, "--yes", "--jobs", *REMOVED)
    assert said.code == 0 and set(fake.queue) == {f"{FIRST}_1", f"{FIRST}_2"}


def test_another_matrix_that_is_there_is_none_of_its_business(fake, edited):
    other = edited.folder / "other.yaml"
    other.write_text(edited.matrix.read_text())
    assert "no longer in the matrix" not in cli.command("status", other).out


# ---- by id ---------------------------------------------------------------------------------------


def by_id(place: Place, *ids: str) -> cli.Called:
    return cli.call("cancel", "--yes", "--runs", str(place.runs), "--jobs", *ids)


def test_jobs_are_cancelled_by_their_ids_without_a_matrix(fake, place):
    sending.send(place)
    place.matrix.unlink()
    said = by_id(place, f"{FIRST}_1", SECOND)
    assert (said.code, set(fake.queue)) == (0, {TEACHER_TASK, f"{FIRST}_2"})
    assert said.out.startswith(f"3 jobs: {FIRST}_1, {SECOND}_0, {SECOND}_1\n")
    assert by_id(place, SECOND).out == "none of these jobs is in the queue\n"


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("99", f"no job of RUNS; sent were {FIRST}, {SECOND}"),
        (f"{FIRST}_9", f"no job of RUNS; sent were {FIRST}, {SECOND}"),
        ("matrix.yaml", "expected an array's id (123) or a task's (123_4)"),
        ("", "expected an array's id (123) or a task's (123_4)"),
    ],
)
def test_other_jobs_are_not_ours_to_cancel(fake, place, job, said):
    sending.send(place)
    called = by_id(place, SECOND, job)
    assert called.code == 2 and len(fake.queue) == 5
    assert called.err == f"error: cancel --jobs {job}: {said}\n".replace("RUNS", str(place.runs))


@pytest.mark.parametrize(
    "flags",
    [
        ("--jobs", FIRST, "--removed"),
        ("--jobs", FIRST, "--methods", "kd"),
        ("--removed", "--trials", "0"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(fake, place, flags):
    sending.send(place)
    called = place.call("cancel", "--yes", *flags)
    assert called.code == 2 and called.err.startswith("error: cancel: --")
    assert len(fake.queue) == 5


def test_a_matrix_or_jobs_are_needed(fake):
    called = cli.call("cancel", "--yes")
    assert (called.code, called.err) == (2, "error: cancel: expected a matrix, or --jobs ID …\n")


@pytest.mark.parametrize("flags", [("--removed",), ("--jobs", SECOND)])
def test_nothing_is_called_cancelled_where_slurm_does_not_answer(fake, edited, flags):
    fake.refuse("squeue", DOWN)
    fake.set(accounting=False)
    called = edited.call("cancel", "--yes", *flags)
    assert (called.code, called.err) == (2, f"error: nothing was cancelled: squeue: {DOWN}\n")
    slurm.config.cache_clear()


def test_accounts_that_do_not_answer_keep_nobody_from_cancelling(fake, place):
    """The controller knows its queue; only how other jobs ended is unknown."""
    sending.send(place)
    fake.purge(FIRST)
    fake.refuse("sacct", "sacct: error: Problem talking to the database: Connection refused")
    called = place.call("cancel", "--yes")
    assert called.code == 0, called.err
    assert not [task for task in fake.queue if task.startswith(f"{SECOND}_")]
