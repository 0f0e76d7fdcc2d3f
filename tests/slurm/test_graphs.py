"""Chains of teachers, and runs that wait for the end of others, on a real SLURM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments import slurm
from experiments.cluster import queue_status
from experiments.cluster.submitted import SubmittedArray
from experiments.local import queue as local_queue
from experiments.local.progress import Progress
from experiments.plan import jobs
from experiments.plan.plan import Plan
from experiments.rundir.status import ACTIVE, State
from results import records
from tests.experiments import sending
from tests.experiments.sending import Place
from tests.slurm.dev_cluster import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]
SECONDS = 240  # for a few jobs of a busy machine


def place_in(folder: Path) -> Place:
    folder.mkdir()
    return Place(folder).write()


def states(plan: Plan) -> list[str]:
    return [status.state for status in queue_status.survey(plan)[0].values()]


def wait_for_the_end(plan: Plan) -> None:
    wait_until(lambda: not set(states(plan)) & {*ACTIVE}, SECONDS, "jobs that have not ended")


def ends(sent: Sequence[SubmittedArray]) -> dict[str, slurm.Ended]:
    return slurm.accounted([str(array.job) for array in sent])


def is_running(task: str) -> bool:
    found = slurm.queue([task.partition("_")[0]]).get(task)
    return found is not None and slurm.is_running(found.state)


def numbers(plan: Plan) -> dict[str, object]:
    """Run id -> everything that its numbers are."""
    found = [record for _, record in records.scan(plan.workspace.runs)]
    return {r.run: (r.accuracy, r.weights, r.parameters, r.steps) for r in found}


def test_a_chain_is_what_it_is_on_this_machine(tmp_path: Path) -> None:
    there, here = place_in(tmp_path / "there"), place_in(tmp_path / "here")
    plan = sending.with_chain(there.plan())
    sent = sending.send(there, plan=plan)
    assert [array.after for array in sent] == [
        (),
        (f"{sent[0].job}_0",),
        (f"{sent[1].job}_0",),
    ]
    wait_for_the_end(plan)
    assert states(plan) == [State.DONE] * 3
    local = sending.with_chain(here.plan())
    todo = list(local.statuses().values())
    tasks = jobs.tasks(todo, local.template(10.0), {}, None)
    assert local_queue.run(tasks, ["cpu"] * 2, Progress(todo))
    assert numbers(plan) == numbers(local)
    assert len(numbers(local)) == 3


def test_a_chain_whose_first_job_is_cancelled_is_dropped_and_sent_again(tmp_path: Path) -> None:
    place = place_in(tmp_path / "a place")
    plan = sending.with_chain(place.plan())
    sent = sending.send(place, plan=plan)
    slurm.cancel([f"{sent[0].job}_0"])
    wait_for_the_end(plan)
    assert states(plan) == [State.LOST] * 3
    sending.send(place, plan=plan)
    wait_for_the_end(plan)
    assert states(plan) == [State.DONE] * 3


def test_a_choice_starts_when_what_it_is_made_from_has_ended(tmp_path: Path) -> None:
    """Well or not: of two jobs of the search one is cancelled."""
    place = place_in(tmp_path / "a place")
    plan = sending.with_choice(place.plan())
    first, search, final = sent = sending.send(place, plan=plan)
    assert (final.after, final.after_end) == ((f"{first.job}_0",), (search.job,))
    lost = f"{search.job}_1"
    wait_until(lambda: is_running(lost), SECONDS, f"{lost} has not started", every=0.2)
    slurm.cancel([lost])
    wait_for_the_end(plan)
    tasks = [f"{array.job}_{i}" for array in sent for i in range(len(array.tasks))]
    wait_until(lambda: {*tasks} <= {*ends(sent)}, SECONDS, "accounts")
    found = ends(sent)
    assert [found[task].state.split()[0] for task in tasks[:3]] == [
        "COMPLETED",
        "COMPLETED",
        "CANCELLED",
    ]
    assert found[tasks[3]].state in ("COMPLETED", "FAILED")  # it was started, and not before
    assert found[tasks[3]].start >= max(found[task].end for task in tasks[:3])
