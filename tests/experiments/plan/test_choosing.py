"""A matrix that tunes, on the disk: what waits, what is chosen, what a worker makes of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datasets import memory
from experiments.cluster import queue_status
from experiments.local import queue as local_queue
from experiments.plan import choosing, jobs, needs, stages
from experiments.plan.plan import Plan
from experiments.rundir.status import State
from experiments.worker import choosing as disk_choosing
from experiments.worker.job import Job
from results import records
from tests.experiments import cli, sending
from tests.experiments.sending import Place, titles

CHANGES = {
    "methods": [{"name": "vanilla", "tune": False}, "kd"],
    "tune": {"configs": 3},
    "trials": 1,
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a matrix that tunes, all of whose runs are done."""
    folder = tmp_path_factory.mktemp("searched")
    plan = Place(folder).write(**CHANGES).plan()
    cli.run_inline(tasks_of(plan), ["cpu"], None)
    assert {status.state for status in plan.statuses().values()} == {State.DONE}
    return folder


@pytest.fixture
def tuned(searched: Path, tmp_path: Path) -> Place:
    """A copy of it; a test may spoil it."""
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path)


@pytest.fixture
def fresh(tmp_path: Path) -> Place:
    return Place(tmp_path).write(**CHANGES)


def state(plan: Plan, label: str = "KD (tuned)") -> tuple[str, str]:
    statuses = plan.statuses()
    (entry,) = [entry for entry in plan.expansion.entries if entry.label == label]
    return statuses[entry.spec.id].state, statuses[entry.spec.id].detail


def tasks_of(plan: Plan) -> list[jobs.Task]:
    statuses = list(plan.statuses().values())
    needs_end = needs.of_choices(plan.expansion.choices)
    return jobs.tasks(statuses, plan.template(10.0), {}, None, needs_end=needs_end)


def rewrite(directory: Path, top1: float) -> None:
    """Another accuracy in a result."""
    result = directory / records.RESULT
    record = json.loads(result.read_text())
    record["accuracy"]["last"]["top1"] = top1
    result.write_text(json.dumps(record))


def score(place: Place, *accuracies: float) -> None:
    """Give the configurations these accuracies, by number; the final run is forgotten."""
    plan = place.plan()
    plan.statuses()
    for entry in plan.expansion.entries:
        if entry.label == "KD (tuned)" and entry.spec.id not in _own(plan):
            shutil.rmtree(entry.spec.directory(place.runs))
    for candidate, top1 in zip(plan.expansion.candidates, accuracies, strict=True):
        rewrite(candidate.spec.directory(place.runs), top1)


def _own(plan: Plan) -> set[str]:
    return {entry.spec.id for entry in plan.expansion.entries if entry.label == "KD"}


# ---- to the end ----------------------------------------------------------------------------------


def test_a_search_never_has_test_accuracies(searched):
    plan = Place(searched).plan()
    statuses = plan.statuses()
    for name, specs in stages.stages(plan.expansion).items():
        for spec in specs:
            record = statuses[spec.id].record
            header = (spec.directory(plan.workspace.runs) / "history.csv").read_text()
            part = "validation" if "search" in name else "test"
            assert record.accuracy.samples == (6 if part == "validation" else 32)
            assert record.accuracy.best.split == part
            assert f"{part}_top1" in header
            assert (part == "test") == ("test_" in header)


def test_the_best_on_the_held_out_part_is_what_is_trained(searched):
    plan = Place(searched).plan()
    statuses = plan.statuses()
    scores = [statuses[c.spec.id].record.top1 for c in plan.expansion.candidates]
    (choice,) = plan.expansion.choices
    number = scores.index(max(scores))
    assert choosing.chosen_number(choice, statuses) == number
    (final,) = [e.spec for e in plan.expansion.entries if e.label == "KD (tuned)"]
    assert (final.options, final.choice) == (choice.options[number], None)
    assert final.dataset.validation is None
    assert statuses[final.id].state == State.DONE
    assert state(plan)[0] == State.DONE


def test_status_has_a_row_for_the_search(tuned):
    shown = tuned.call("status").out
    rows = [line.rsplit("  ", 1)[-1] for line in shown.splitlines() if "(search)" in line]
    assert rows == ["1/1 done", "3/3 done"]


def test_a_search_does_not_depend_on_the_test_labels(tuned, tmp_path_factory, monkeypatch):
    """Bit for bit; the final runs' accuracies do."""
    init = memory.MemoryData.__init__

    def shuffled(self, settings, images):
        test = replace(images.test, labels=images.test.labels.roll(1))
        init(self, settings, replace(images, test=test))

    monkeypatch.setattr(memory.MemoryData, "__init__", shuffled)
    other = Place(tmp_path_factory.mktemp("shuffled")).write(**CHANGES)
    for task in tasks_of(other.plan())[:3]:
        if task.job.specs[0].dataset.scored_on == "validation":
            cli.run_inline([task], ["cpu"], None)
    before, after = tuned.plan(), other.plan()
    old, new = before.statuses(), after.statuses()
    for one in before.expansion.candidates:
        assert new[one.spec.id].record.weights == old[one.spec.id].record.weights
        assert new[one.spec.id].record.accuracy == old[one.spec.id].record.accuracy
    assert before.expansion.entries == after.expansion.entries


# ---- states --------------------------------------------------------------------------------------


def test_a_final_run_waits_for_its_choice(tuned):
    score(tuned, 50, 60, 40)
    plan = tuned.plan()
    shutil.rmtree(plan.expansion.candidates[2].spec.directory(tuned.runs))
    assert state(plan) == (State.TODO, "waits for its choice: 2 of 3 configurations done")
    assert "waits for its choice: 2 of 3" in tuned.call("status").out
    assert "waits for its choice: 2 of 3" in tuned.call("status", "--each").out


def test_a_failure_blocks_the_choice_and_a_divergence_loses_it(tuned):
    score(tuned, 50, 60, 40)
    plan = tuned.plan()
    best = plan.expansion.candidates[1].spec
    shutil.rmtree(best.directory(tuned.runs))
    tuned.fail(best)
    where = f"its choice: run {best.id} of the search is failed: ValueError: no such thing"
    assert state(plan) == (State.BLOCKED, where)
    error = best.directory(tuned.runs) / "error.txt"
    error.write_text("Diverged: loss not finite at epoch 1, step 3\n\nTraceback")
    assert state(plan)[0] == State.DONE  # number 0: the run of the entry's own options
    assert plan.expansion.entries[2].spec.id in _own(plan)
    ended = tuned.call("run", "--workers", "1")
    assert (ended.code, "1 failed" in ended.out) == (0, True)
    assert tuned.call("status", "--exit-code").code == 0


def test_what_is_chosen_stays_while_a_plan_lives(tuned):
    score(tuned, 50, 60, 40)
    plan = tuned.plan()
    assert state(plan)[0] == State.TODO
    chosen = plan.expansion.entries
    rewrite(plan.expansion.candidates[2].spec.directory(tuned.runs), 99.0)
    assert state(plan)[0] == State.TODO
    assert plan.expansion.entries == chosen
    assert tuned.plan().statuses() != plan.statuses()


# ---- jobs ----------------------------------------------------------------------------------------


def test_a_job_carries_its_choice_and_is_settled_by_what_is_on_the_disk(tuned, tmp_path):
    plan = tuned.plan()
    before = plan.expansion  # with the placeholder
    score(tuned, 50, 60, 40)
    (placeholder,) = [e.spec for e in before.entries if e.spec.choice]
    template = plan.template(10.0)
    job = replace(template, specs=(placeholder,), choices=before.choices)
    job.write(tmp_path / "job.json")
    again = Job.read(tmp_path / "job.json")
    found = disk_choosing.settled(again, disk_choosing.chosen(again))
    (choice,) = before.choices
    (spec,) = found.job.specs
    assert spec.options == choice.options[1]
    assert found.job.ids == (spec.id,) and found.refused == ()
    assert found.stood_for[spec.id].id == placeholder.id
    shutil.rmtree(before.candidates[0].spec.directory(tuned.runs))
    lost = disk_choosing.settled(again, disk_choosing.chosen(again))
    assert lost.job.specs == ()
    (refused,) = lost.refused
    assert f"run {before.candidates[0].spec.id} of the search has no result" in refused[1]


def test_final_runs_wait_for_the_whole_search_and_the_others_do_not(fresh):
    made = tasks_of(fresh.plan())
    waiting = [task for task in made if task.after_end]
    (task,) = waiting
    plan = fresh.plan()
    assert task.after_end == tuple(c.spec.id for c in plan.expansion.candidates)
    assert [choice.id for choice in task.job.choices] == [plan.expansion.choices[0].id]
    assert all(other.job.choices == () for other in made if other is not task)


def test_the_local_queue_settles_a_job_before_it_starts(tuned, monkeypatch):
    score(tuned, 50, 60, 40)
    plan = tuned.plan()
    placeholder = next(entry.spec for entry in plan.expansion.entries if entry.spec.choice)
    job = replace(plan.template(10.0), specs=(placeholder,), choices=plan.expansion.choices)
    ended: list[str] = []

    class Reporter:
        def ended(self, spec, event):
            ended.append(f"{spec.id} {event['state']}")

    queue = local_queue.LocalQueue([jobs.Task(job)], ["cpu"], Reporter())
    settled = queue._settled(queue.waiting[0])
    (spec,) = settled.job.specs
    assert spec.choice is None and queue.specs == {spec.id: placeholder}
    rewrite(plan.expansion.candidates[0].spec.directory(tuned.runs), 90.0)
    own = next(entry.spec for entry in plan.expansion.entries if entry.label == "KD")
    both = [jobs.Task(replace(job, specs=(own,), choices=())), jobs.Task(job)]
    queue = local_queue.LocalQueue(both, ["cpu"], Reporter())
    assert queue._settled(both[1]).job.specs == ()  # it is a run of another job
    assert ended == [f"{placeholder.id} held"]
    shutil.rmtree(plan.expansion.candidates[0].spec.directory(tuned.runs))
    queue = local_queue.LocalQueue([jobs.Task(job)], ["cpu"], Reporter())
    assert queue._settled(queue.waiting[0]).job.specs == ()
    assert ended[1:] == [f"{placeholder.id} blocked"]


# ---- on a cluster --------------------------------------------------------------------------------


def test_on_slurm_the_last_array_waits_for_the_search_and_is_found_by_either_id(fake, tuned):
    score(tuned, 50, 60, 40)
    plan = tuned.plan()
    for candidate in plan.expansion.candidates:
        shutil.rmtree(candidate.spec.directory(tuned.runs))
    sending.send(tuned)
    assert titles(fake) == ["0-0", "0-0 after the end of 100"]
    assert fake.run("100_0").code == 0
    plan = tuned.plan()
    statuses, queue = queue_status.survey(plan)
    final = plan.expansion.entries[2].spec
    assert final.choice is None
    assert (statuses[final.id].state, queue[final.id].task) == (State.PENDING, "102_0")
    assert sending.send(tuned) == []
    assert fake.run("102_0").code == 0
    assert tuned.plan().statuses()[final.id].state == State.DONE


def test_a_task_whose_search_has_failed_is_blocked(fake, tuned):
    score(tuned, 50, 60, 40)
    plan = tuned.plan()
    best = plan.expansion.candidates[1].spec
    for candidate in plan.expansion.candidates:
        shutil.rmtree(candidate.spec.directory(tuned.runs))
    sending.send(tuned)
    tuned.fail(best)
    fake.run("100_0")
    assert fake.run("102_0").code == 4
    assert state(tuned.plan())[0] == State.BLOCKED
    torch.set_num_threads(1)
